"""Transforms that are wrong, stop or come from the future cost what they must and no more."""

from __future__ import annotations

import itertools

import pytest

pytest.importorskip('rclpy')

import tf2_ros
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.srv import GetState
from nav_msgs.msg import OccupancyGrid
from rclpy.node import Node
from tf2_msgs.msg import TFMessage

from gausstr_ros.listening.transforms import Outrun

pytestmark = pytest.mark.ros
GRID = '/gausstr/occupancy_grid'
HOUR = 3600 * 10**9


def assert_mapped(tester, index, timeout=20.0, **how):
    stamp = tester.play_set(index, **how)
    tester.wait(lambda: stamp in tester.stamps(GRID), timeout, f'map of set {index}')


def test_a_transform_whose_stamp_is_no_time_ends_nothing(start, tester):
    start()
    assert_mapped(tester, 0)
    wrong = tester.transform('odom', 'base_link', tester.start, tester.camera_pose(0.0))
    for seconds, nanoseconds in ((-1, 0), (2**31 - 1, 2**32 - 1)):
        wrong.header.stamp.sec, wrong.header.stamp.nanosec = seconds, nanoseconds
        tester.tf.publish(TFMessage(transforms=[wrong]))
    assert_mapped(tester, 1)


def test_one_transform_of_the_future_is_forgotten(start, tester):
    """tf2 then leaves out all that is more than ten seconds older, which is all that is true."""
    start(transform_timeout=0.1)
    assert_mapped(tester, 0)
    tester.play_ego(tester.start + HOUR)
    for index in range(1, 60):
        stamp = tester.play_set(index)
        tester.wait_for_report()
        if len(tester.stamps(GRID)) > 1:
            break
    tester.wait(lambda: tester.stamps(GRID)[-1] > tester.start + 10**8, what='map after it')
    assert tester.stamps(GRID)[-1] <= stamp
    tester.wait_for_text('transforms started afresh=1')
    tester.wait_for_text('sets dropped: no transform=')


def test_transforms_that_stay_ahead_are_forgotten_ever_more_seldom():
    """Where the cameras' clock is behind for good, a fresh start does not help."""
    now, starts = [0.0], []
    outrun = Outrun(lambda: now[0])
    for tenth in range(1200):
        now[0] = tenth / 10
        outrun.failed(2 * HOUR, HOUR)
        outrun.failed(HOUR - 1, HOUR)  # late: of no weight
        if outrun.lasts(1.0):
            starts.append(now[0])
            outrun.start_afresh()
    gaps = [round(later - earlier) for earlier, later in itertools.pairwise(starts)]
    assert gaps == [2, 4, 8, 16, 32]
    outrun.succeeded()
    outrun.failed(None, HOUR)
    assert not outrun.lasts(0.0)


def test_a_frame_id_with_a_slash_costs_its_camera_and_no_time(start, tester):
    start(transform_timeout=30.0)
    assert_mapped(tester, 0)
    assert_mapped(tester, 1, frames={'CAM_A': '/CAM_A'})
    shown = tester.wait(
        lambda: '/CAM_A' in (s := tester.status('CAM_A')).message and s, what='reason'
    )
    assert shown.level == DiagnosticStatus.ERROR
    assert_mapped(tester, 2)
    assert not [text for text in tester.texts() if text.startswith('sets dropped')]


def test_a_mount_that_stops_to_send_delays_one_set(start_node, tester):
    """A pan-tilt head that dies: its camera is missing, the others go on at once."""

    def turn(stamp):
        pose = tester.camera_pose(0.0)
        tester.tf.publish(
            TFMessage(transforms=[tester.transform('base_link', 'CAM_A', stamp, pose)])
        )

    patience = 4.0
    tester.listen(GRID, OccupancyGrid)
    start_node(transform_timeout=patience)
    tester.wait_matched()
    tester.play_transforms(leave_out=['CAM_A'])
    turn(tester.start - 10**8)
    turn(tester.start + 10**8)
    assert_mapped(tester, 0)
    assert tester.status('CAM_A').level == DiagnosticStatus.OK
    assert_mapped(tester, 20)  # waits in vain
    for index in range(21, 24):
        assert_mapped(tester, index, timeout=patience / 2)
        tester.wait_for_text('a set without CAM_A')
    tester.wait(lambda: 'no transform' in tester.status('CAM_A').message, what='reason')
    turn(tester.start + 4 * 10**9)
    assert_mapped(tester, 24)
    tester.wait(lambda: tester.status('CAM_A').message == 'ok', what='CAM_A ok again')


def test_the_buffer_offers_no_service_of_its_own(start_node, tester, monkeypatch):
    """The real tf2_ros.Buffer does where it knows the node, and is then never let go."""

    initialise = tf2_ros.Buffer.__init__

    def as_the_real_one(buffer, cache_time=None, node: Node | None = None):
        initialise(buffer, cache_time)
        if node is not None:
            node.create_service(GetState, 'tf2_frames', lambda request, response: response)

    monkeypatch.setattr(tf2_ros.Buffer, '__init__', as_the_real_one)
    node = start_node(activate=False)
    before = sorted(service.srv_name for service in node.services)
    for _ in range(2):
        node.trigger_configure()
        node.trigger_activate()
        assert not node.fault
        assert sorted(service.srv_name for service in node.services) == before
        node.trigger_deactivate()
        node.trigger_cleanup()
