"""MarkerArrays as bytes: they must read like those that rclpy makes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip('rclpy')

import torch
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Quaternion, Vector3
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from gausstr_core.contracts import Gaussians, Occupancy, VoxelGrid
from gausstr_core.vocabulary.vocabulary import Category
from gausstr_ros.messages import markers

WORDS = (
    Category('road', role='ground', color=(10, 20, 30)),
    Category('car', color=(200, 100, 50)),
)
GRID = VoxelGrid((-2.0, -1.0, 0.0), (2.0, 1.0, 2.0), 0.5)  # 8 x 4 x 4


def occupancy(occupied=()):
    """Voxels (x, y, z) -> label."""
    labels = torch.full(GRID.shape, -1)
    for place, label in dict(occupied).items():
        labels[place] = label
    confidence = (labels >= 0).float()
    return Occupancy(GRID, confidence, labels, confidence, labels >= 0)


def parsed(message):
    return deserialize_message(message, MarkerArray).markers


def test_an_empty_map_removes_the_old_markers():
    message, left_out = markers.voxel_markers(occupancy(), WORDS, Header(), 10)
    assert [m.action for m in parsed(message)] == [Marker.DELETEALL] and left_out == 0


def test_gaussians_become_ellipsoids_and_old_ones_are_removed():
    """Rviz 631, 790: old markers stay, large arrays lag."""
    turn = torch.tensor([0.5**0.5, 0.0, 0.0, 0.5**0.5])  # wxyz, x to y
    gaussians = Gaussians(
        torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]),
        torch.tensor([[0.1, 0.2, 0.3]] * 3),
        turn.repeat(3, 1),
        torch.tensor([0.9, 0.3, 0.6]),
        torch.zeros(3, 4),
    )
    best = np.array([1, 0, 0])
    message, left_out = markers.gaussian_markers(
        gaussians, best, WORDS, Header(frame_id='base_link'), 2
    )
    first, most, next_ = parsed(message)
    assert left_out == 1 and first.action == Marker.DELETEALL
    assert (most.type, most.header.frame_id) == (Marker.SPHERE, 'base_link')
    assert (most.pose.position.x, next_.pose.position.x) == (1.0, 7.0)
    assert np.allclose([most.scale.x, most.scale.y, most.scale.z], [0.2, 0.4, 0.6])
    assert np.isclose(most.pose.orientation.z, 0.5**0.5) and most.pose.orientation.x == 0
    assert np.isclose(most.color.r, 200 / 255)
    assert len({(m.ns, m.id) for m in parsed(message)[1:]}) == 2
    empty = Gaussians(*(tensor[:0] for tensor in vars(gaussians).values()))
    message, _ = markers.gaussian_markers(empty, best[:0], WORDS, Header(), 2)
    assert [m.action for m in parsed(message)] == [Marker.DELETEALL]


@pytest.mark.parametrize('frame', ['', 'a', 'ab', 'abc', 'map', 'base_link', 'x' * 40])
def test_marker_bytes_read_like_markers_made_one_by_one(frame):
    """Alignment depends on the lengths of the texts."""
    header = Header(frame_id=frame, stamp=Time(sec=7, nanosec=9))
    rng = np.random.default_rng(len(frame))
    numbers = torch.tensor(rng.random((5, 11)), dtype=torch.float32)
    gaussians = Gaussians(
        numbers[:, :3], numbers[:, 3:6], numbers[:, 6:10], numbers[:, 10], numbers
    )
    best = rng.integers(0, len(WORDS), 5)
    order = np.argsort(-gaussians.opacities.numpy())
    expected = [Marker(header=header, action=Marker.DELETEALL)]
    for number, row in enumerate(order):
        x, y, z, *half, turn_w, turn_x, turn_y, turn_z, opacity = numbers[row].tolist()
        red, green, blue = (channel / 255 for channel in WORDS[best[row]].color)
        marker = Marker(header=header, ns='gaussians', id=number, type=Marker.SPHERE)
        marker.pose.position = Point(x=x, y=y, z=z)
        marker.pose.orientation = Quaternion(x=turn_x, y=turn_y, z=turn_z, w=turn_w)
        marker.scale = Vector3(x=2 * half[0], y=2 * half[1], z=2 * half[2])
        marker.color = ColorRGBA(r=red, g=green, b=blue, a=max(opacity, 0.1))
        expected.append(marker)
    message, _ = markers.gaussian_markers(gaussians, best, WORDS, header, 9)
    assert parsed(message) == parsed(serialize_message(MarkerArray(markers=expected)))

    words = tuple(replace(word, name=word.name + frame) for word in WORDS)
    world = occupancy({(4, 2, 0): 0, (7, 3, 3): 0, (3, 1, 0): 1, (0, 0, 0): 1, (0, 1, 0): 1})
    message, _ = markers.voxel_markers(world, words, header, 9)
    _, road, car = parsed(message)
    assert [road.header, road.ns, len(road.points)] == [header, words[0].name, 2]
    assert [car.header, car.ns, len(car.points)] == [header, words[1].name, 3]
    assert [car.colors, car.mesh_resource, car.pose.orientation.w] == [[], '', 1.0]
    assert car.points[1:] == [Point(x=-1.75, y=-0.25, z=0.25), Point(x=-0.25, y=-0.25, z=0.25)]


def test_what_is_remembered_is_paler_than_what_is_seen():
    world = occupancy({(4, 2, 0): 1, (7, 3, 3): 1, (3, 1, 0): 0})
    age = torch.zeros(GRID.shape)
    message, _ = markers.voxel_markers(world, WORDS, Header(), 9, age)
    assert message == markers.voxel_markers(world, WORDS, Header(), 9)[0]
    age[7, 3, 3] = age[3, 1, 0] = 1.5
    message, left_out = markers.voxel_markers(world, WORDS, Header(), 9, age)
    seen, road, car = parsed(message)[1:]
    assert [m.ns for m in (seen, road, car)] == ['car', 'road (remembered)', 'car (remembered)']
    assert [len(m.points) for m in (seen, road, car)] == [1, 1, 1] and not left_out
    assert car.color.a == road.color.a < 0.5 < seen.color.a == 1.0
    assert (car.color.r, car.color.g) == (seen.color.r, seen.color.g)
    assert len({(m.ns, m.id) for m in (seen, road, car)}) == 3


def test_cubes_are_grouped_by_category_and_the_nearest_are_kept():
    """rviz 790, 631: RViz lags on large CUBE_LISTs."""
    world = occupancy({(4, 2, 0): 0, (7, 3, 3): 0, (3, 1, 0): 1})
    message, left_out = markers.voxel_markers(world, WORDS, Header(), 2)
    assert left_out == 1
    assert [(m.ns, m.id, len(m.points)) for m in parsed(message)[1:]] == [
        ('road', 0, 1),
        ('car', 1, 1),
    ]
    cube = parsed(message)[1]
    assert cube.type == Marker.CUBE_LIST and cube.scale.x == 0.5
    assert (cube.points[0].x, cube.points[0].y, cube.points[0].z) == (0.25, 0.25, 0.25)
