"""Arrays -> messages, tested like maths."""

from __future__ import annotations

import array

import numpy as np
import pytest

pytest.importorskip('rclpy')

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import PointField
from sensor_msgs_py.point_cloud2 import read_points
from std_msgs.msg import Header

from gausstr_core.contracts import Occupancy, VoxelGrid
from gausstr_core.stamps import nanoseconds
from gausstr_core.vocabulary.vocabulary import Category
from gausstr_ros.messages import grids_and_clouds, stamps

WORDS = (
    Category('road', role='ground', color=(10, 20, 30)),
    Category('car', color=(200, 100, 50)),
)
GRID = VoxelGrid((-2.0, -1.0, 0.0), (2.0, 1.0, 2.0), 0.5)  # 8 x 4 x 4


def occupancy(occupied=(), observed=()):
    """Voxels (x, y, z) -> label, and columns (x, y) that were observed."""
    labels = torch.full(GRID.shape, -1)
    seen = torch.zeros(GRID.shape, dtype=torch.bool)
    for x, y in observed:
        seen[x, y] = True
    for (x, y, z), label in dict(occupied).items():
        labels[x, y, z] = label
        seen[x, y, z] = True
    confidence = torch.where(labels >= 0, 0.75, 0.0)
    return Occupancy(GRID, (labels >= 0).float(), labels, confidence, seen)


def test_the_map_from_above_knows_occupied_free_and_unknown():
    world = occupancy(
        {(0, 0, 1): 1, (1, 0, 1): 0, (2, 0, 0): 1, (3, 3, 2): 1},
        observed=[(1, 0), (2, 0), (5, 2)],
    )
    message = grids_and_clouds.occupancy_grid(
        world, WORDS, (0.5, 1.5), Header(frame_id='base_link')
    )
    assert (message.info.width, message.info.height, message.info.resolution) == (8, 4, 0.5)
    assert (message.info.origin.position.x, message.info.origin.position.y) == (-2.0, -1.0)
    cells = np.array(message.data, np.int8).reshape(4, 8)  # rows are y
    expected = np.full((4, 8), -1)
    expected[0, 0] = 100  # a car
    expected[0, 1] = 0  # road is no obstacle
    expected[0, 2] = 0  # a car below the band
    expected[3, 3] = 100
    expected[2, 5] = 0  # seen, and nothing there
    assert np.array_equal(cells, expected)


def cell_by_hand(world, x, y, band):
    """The rule of the 2D map, one voxel after the other."""
    obstacle = observed = heights = 0
    for z in range(GRID.shape[2]):
        if not band[0] <= GRID.lower[2] + (z + 0.5) * GRID.resolution <= band[1]:
            continue
        heights += 1
        observed += int(world.observed[x, y, z])
        label = int(world.labels[x, y, z])
        obstacle += label >= 0 and EVERY_ROLE[label].role == 'object'
    return 100 if obstacle else 0 if 2 * observed >= heights else -1


EVERY_ROLE = (
    Category('road', role='ground'),
    Category('car'),
    Category('sky', role='sky'),
    Category('person'),
)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(0.0, 1.0),
    st.sampled_from([(0.0, 2.0), (0.3, 1.2), (0.25, 0.25), (1.0, 9.0), (-5.0, 0.5)]),
)
def test_the_map_from_above_follows_its_rule_in_every_cell(seed, share, band):
    """Ground and sky are no obstacles, heights outside of the band do not count, and a cell of
    which less than half was seen is free in no case."""
    chance = torch.Generator().manual_seed(seed)
    seen = torch.rand(GRID.shape, generator=chance) < share
    labels = torch.randint(-6, len(EVERY_ROLE), GRID.shape, generator=chance).clamp_min(-1)
    labels[~seen] = -1
    world = Occupancy(GRID, (labels >= 0).float(), labels, (labels >= 0).float(), seen)
    message = grids_and_clouds.occupancy_grid(world, EVERY_ROLE, band, Header())
    cells = np.array(message.data, np.int8).reshape(4, 8)
    expected = [[cell_by_hand(world, x, y, band) for x in range(8)] for y in range(4)]
    assert np.array_equal(cells, expected)


def test_the_map_is_what_a_static_layer_of_nav2_takes():
    """Trinary: 100, 0 and -1 and nothing else; square cells, no rotation, one byte per cell."""
    world = occupancy({(0, 0, 1): 1}, observed=[(1, 0)])
    message = grids_and_clouds.occupancy_grid(
        world, WORDS, (0.5, 1.5), Header(frame_id='base_link')
    )
    assert set(message.data) == {-1, 0, 100}
    assert len(message.data) == message.info.width * message.info.height
    turn = message.info.origin.orientation
    assert (turn.x, turn.y, turn.z, turn.w) == (0, 0, 0, 1)
    assert message.info.origin.position.z == 0


def test_a_band_without_voxels_is_an_error():
    with pytest.raises(ValueError, match=r'map\.min_height 8'):
        grids_and_clouds.occupancy_grid(occupancy(), WORDS, (8.0, 9.0), Header())


def test_the_cloud_holds_the_occupied_voxels():
    """common_interfaces 175, 177, ros2_numpy 3: rclpy checks bytes and lists one by one."""
    world = occupancy({(0, 0, 1): 1, (7, 3, 3): 0})
    message = grids_and_clouds.voxel_cloud(world, WORDS, Header(frame_id='base_link'))
    points = read_points(message)
    assert (message.width, message.height, message.point_step, message.row_step) == (2, 1, 24, 48)
    assert message.is_dense and message.header.frame_id == 'base_link'
    assert [(field.name, field.offset, field.datatype) for field in message.fields] == [
        ('x', 0, PointField.FLOAT32), ('y', 4, PointField.FLOAT32), ('z', 8, PointField.FLOAT32),
        ('rgb', 12, PointField.FLOAT32), ('label', 16, PointField.UINT32),
        ('confidence', 20, PointField.FLOAT32),
    ]  # fmt: skip
    assert isinstance(message.data, array.array) and message.data.typecode == 'B'
    assert [tuple(p) for p in points[['x', 'y', 'z', 'label', 'confidence']].tolist()] == [
        (-1.75, -0.75, 0.75, 1, 0.75),
        (1.75, 0.75, 1.75, 0, 0.75),
    ]
    packed = points['rgb'].copy().view(np.uint32)
    assert packed.tolist() == [200 << 16 | 100 << 8 | 50, 10 << 16 | 20 << 8 | 30]


def test_with_a_memory_the_cloud_says_how_old_each_voxel_is():
    world = occupancy({(0, 0, 1): 1, (7, 3, 3): 0})
    age = torch.full(world.labels.shape, torch.inf)
    age[0, 0, 1], age[7, 3, 3] = 0.0, 2.5
    message = grids_and_clouds.voxel_cloud(world, WORDS, Header(), age)
    points = read_points(message)
    assert message.point_step == 28 and message.fields[-1].name == 'age'
    assert message.fields[-1].datatype == PointField.FLOAT32
    assert points['age'].tolist() == [0.0, 2.5]
    without = read_points(grids_and_clouds.voxel_cloud(world, WORDS, Header()))
    assert np.array_equal(points[list(without.dtype.names)], without)


def test_an_empty_map_is_a_message_too():
    message = grids_and_clouds.voxel_cloud(occupancy(), WORDS, Header())
    assert (message.width, message.height, message.row_step, len(message.data)) == (0, 1, 0, 0)
    assert message.point_step == 24 and len(message.fields) == 6 and message.is_dense
    assert len(read_points(message)) == 0


def test_stamps_go_out_and_come_back():
    for stamp in (0, 1, 1_700_000_000_123_456_789, (2**31 - 1) * 10**9 + 999_999_999):
        assert nanoseconds(stamps.header_message(stamp, 'odom').stamp) == stamp
    for stamp, shown in ((2**31 * 10**9, r'2147483648\.000 s'), (-1_000_000, r'-0\.001 s')):
        with pytest.raises(ValueError, match=rf'from 0 to 2\*\*31 s, got {shown}'):
            stamps.time_message(stamp)
