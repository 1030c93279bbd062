"""A jump of the clock clears what moves, never what is static: rosbag2 1159; geometry2 150, 191.

The player of a bag keeps ten messages for those who subscribe late: whoever subscribes anew at a
jump gets no more of /tf_static than that.
"""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy')

import numpy as np
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from tf2_msgs.msg import TFMessage
from tf2_ros import TransformException

from gausstr_core.stamps import SECOND
from gausstr_ros.listening.transform_buffer import AHEAD, REMEMBERED, TransformBuffer

pytestmark = pytest.mark.ros
GRID = '/gausstr/occupancy_grid'
STEP = 6  # sets from one that is played to the next: 0.6 s
HOUR = 3600 * SECOND


@pytest.fixture
def bag(tester):
    """A bag's player: bag.play_statics(count), bag.map_sets(), and whose maps have come."""

    class Bag:
        def __init__(self):
            tester.listen(GRID, OccupancyGrid)
            latched = QoSProfile(depth=200, durability=DurabilityPolicy.TRANSIENT_LOCAL)
            tester.listen('/tf_static', TFMessage, latched)

        def play_statics(self, count):
            """The cameras' transforms in the first messages, then those of other sensors."""
            sensors = [f'sensor_{number}' for number in range(count - len(tester.cameras))]
            frames = [[name] for name in (*tester.cameras, *sensors)]
            if count < len(tester.cameras):
                frames = [list(tester.cameras)]
            for names in frames:
                heard = len(tester.heard['/tf_static'])
                mounts = [mount(tester, name) for name in names]
                tester.tf_static.publish(TFMessage(transforms=mounts))
                tester.wait(lambda n=heard: len(tester.heard['/tf_static']) > n, what='tf_static')

        def map_sets(self, count=5, first=0):
            """Play some sets, each when the one before has its map; their stamps."""
            stamps = []
            for number in range(count):
                known = len(tester.heard[GRID])
                stamps.append(stamp := tester.play_set(first + number * STEP))
                tester.wait(
                    lambda s=stamp, n=known: s in tester.stamps(GRID)[n:], 20, f'map {number}'
                )
            return stamps

    return Bag()


def mount(tester, frame):
    yaw = {'CAM_B': 2.1, 'CAM_C': -2.1}.get(frame, 0.0)
    return tester.transform('base_link', frame, tester.start, tester.camera_pose(yaw))


def without_drops(tester):
    return not [text for text in tester.texts() if text.startswith('sets dropped')]


@pytest.mark.parametrize('again', [True, False], ids=['sent in each loop', 'sent once'])
@pytest.mark.parametrize('count', [1, 10, 11, 25, 100])
def test_a_bag_that_loops_gives_as_many_maps_in_every_loop(start_node, tester, bag, count, again):
    """rosbag2 1159. Also what moves and came before the first image of a loop is not lost."""
    start_node(**{'sync.min_cameras': 3})
    tester.wait_matched()
    stamps = []
    for loop in range(3):
        if again or not loop:
            bag.play_statics(count)
        stamps += bag.map_sets()
    assert tester.stamps(GRID) == stamps
    tester.wait_for_text('transforms started afresh=2')
    assert without_drops(tester)


@pytest.mark.parametrize(('count', 'first'), [(2, 0), (5, 0), (5, 300), (5, 864_000)])
def test_a_jump_back_of_any_length_keeps_what_is_static(start_node, tester, bag, count, first):
    start_node(**{'sync.min_cameras': 3})
    tester.wait_matched()
    bag.play_statics(25)
    bag.map_sets(count, first)
    bag.map_sets(first=0)
    tester.wait_for_text('clock jumps back=1')
    assert without_drops(tester)


def test_a_transform_far_ahead_costs_nothing_that_is_static(start_node, tester, bag):
    """geometry2 PR 191."""
    start_node(transform_timeout=0.1)
    tester.wait_matched()
    bag.play_statics(25)
    bag.map_sets(1)
    tester.play_ego(tester.start + HOUR)
    for index in range(1, 60):
        tester.play_set(index)
        tester.wait_for_report()
        if len(tester.stamps(GRID)) > 1:
            break
    tester.wait_for_text('transforms started afresh=1')
    bag.map_sets(first=70)


def test_static_transforms_outlive_deactivate_and_activate(start_node, tester, bag):
    start_node(**{'sync.min_cameras': 3})
    tester.wait_matched()
    bag.play_statics(25)
    bag.map_sets(2)
    for label in ('deactivate', 'activate'):
        request = ChangeState.Request()
        request.transition.label = label
        assert tester.call('/gausstr/change_state', ChangeState, request).success
    tester.wait_matched()
    bag.map_sets(2)


def link(tester, stamp, x, child='base_link', parent='odom'):
    pose = np.eye(4)
    pose[0, 3] = x
    return tester.transform(parent, child, stamp, pose)


def x_at(buffer, stamp, child='base_link'):
    return buffer.lookup_transform('odom', child, Time(nanoseconds=stamp)).transform.translation.x


def test_what_came_since_the_jump_stays(tester):
    """Frame by frame: odometry has jumped, the head has not yet."""
    start, buffer = tester.start, TransformBuffer()
    buffer.set_transform_static(link(tester, start, 1.0, 'camera', 'base_link'), 'test')
    for index in range(200):
        buffer.set_transform(link(tester, start + index * SECOND // 10, 100.0), 'test')
        buffer.set_transform(
            link(tester, start + index * SECOND // 10, 7.0, 'head', 'camera'), 'test'
        )
    for index in range(3):
        buffer.set_transform(link(tester, start + index * SECOND // 10, 5.0), 'test')
    buffer.start_afresh(start + SECOND // 10)
    assert x_at(buffer, start + SECOND // 20) == 5
    assert x_at(buffer, start + SECOND // 20, 'camera') == 6
    for frame, stamp in (('base_link', start + SECOND), ('head', start)):
        with pytest.raises(TransformException):
            x_at(buffer, stamp, frame)
    buffer.clear()
    with pytest.raises(TransformException):
        x_at(buffer, start)
    buffer.set_transform(link(tester, start, 9.0), 'test')
    assert x_at(buffer, start, 'camera') == 10


def test_a_true_transform_after_a_false_one_stays(tester):
    start, buffer = tester.start, TransformBuffer()
    buffer.set_transform(link(tester, start, 1.0), 'test')
    buffer.set_transform(link(tester, start + HOUR, 2.0), 'test')
    for stamp in (start + SECOND, start + SECOND + AHEAD):  # the second: localisation, in advance
        buffer.set_transform(link(tester, stamp, 3.0), 'test')
    buffer.start_afresh(start + SECOND)
    assert x_at(buffer, start + 2 * SECOND) == 3
    with pytest.raises(TransformException):
        x_at(buffer, start)


def test_no_more_is_remembered_than_may_be_needed(tester):
    seconds = [0.0]
    start, buffer = tester.start, TransformBuffer(lambda: seconds[0])
    buffer.set_transform(link(tester, start, 1.0), 'test')
    seconds[0] = REMEMBERED + 1
    buffer.set_transform(link(tester, start + SECOND, 2.0), 'test')
    buffer.start_afresh(start)
    assert x_at(buffer, start + SECOND) == 2
    with pytest.raises(TransformException):
        x_at(buffer, start)
