"""Arrays -> messages, tested like maths."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('rclpy')

import torch
from sensor_msgs_py.point_cloud2 import read_points
from std_msgs.msg import Header

from gausstr_core.contracts import Occupancy, VoxelGrid
from gausstr_core.vocabulary import Category
from gausstr_ros import conversions

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
    message = conversions.occupancy_grid(world, WORDS, (0.5, 1.5), Header(frame_id='base_link'))
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


def test_a_band_without_voxels_is_an_error():
    with pytest.raises(ValueError, match=r'map\.min_height 8'):
        conversions.occupancy_grid(occupancy(), WORDS, (8.0, 9.0), Header())


def test_the_cloud_holds_the_occupied_voxels():
    world = occupancy({(0, 0, 1): 1, (7, 3, 3): 0})
    message = conversions.voxel_cloud(world, WORDS, Header(frame_id='base_link'))
    points = read_points(message)
    assert (message.width, message.height, message.point_step) == (2, 1, 24)
    assert [tuple(p) for p in points[['x', 'y', 'z', 'label', 'confidence']].tolist()] == [
        (-1.75, -0.75, 0.75, 1, 0.75),
        (1.75, 0.75, 1.75, 0, 0.75),
    ]
    packed = points['rgb'].copy().view(np.uint32)
    assert packed.tolist() == [200 << 16 | 100 << 8 | 50, 10 << 16 | 20 << 8 | 30]


def test_an_empty_map_is_a_message_too():
    assert conversions.voxel_cloud(occupancy(), WORDS, Header()).width == 0


def test_stamps_go_out_and_come_back():
    for stamp in (0, 1, -1, 1_700_000_000_123_456_789, (2**31 - 1) * 10**9 + 999_999_999):
        assert conversions.stamp_of(conversions.header_message(stamp, 'odom')) == stamp
    with pytest.raises(ValueError, match='32 bits of seconds, got 2147483648 s'):
        conversions.time_message(2**31 * 10**9)
