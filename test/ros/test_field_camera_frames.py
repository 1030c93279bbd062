"""Images in a body frame in place of an optical one: gazebo_ros_pkgs 1329; ARIAC 345."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('scipy')

from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.msg import OccupancyGrid
from scipy.spatial.transform import Rotation
from tf2_msgs.msg import TFMessage

from gausstr_ros.listening.mounts import wrong_axis

pytestmark = pytest.mark.ros
GRID = '/gausstr/occupancy_grid'
OPTICAL = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])
YAWS = (0.0, 37.0, 90.0, 180.0, -135.0)


def body(yaw=0.0, pitch=0.0, roll=0.0):
    """base_from_body [4,4], x forward; degrees, a positive pitch looks down."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler('ZYX', [yaw, pitch, roll], degrees=True).as_matrix()
    pose[:3, 3] = 0.5, 0.2, 1.5
    return pose


def doubt(pose):
    return wrong_axis('front', 'camera_link', 'base_link', pose)


@pytest.mark.parametrize('yaw', YAWS)
@pytest.mark.parametrize(
    ('pitch', 'roll'), [(0, 0), (10, 0), (-20, 3), (30, 0), (45, 5), (55, 0), (-55, 0), (0, 25)]
)
def test_a_body_frame_is_doubted_and_its_optical_frame_is_not(yaw, pitch, roll):
    found = doubt(body(yaw, pitch, roll))
    assert found.startswith('camera front: looks along the wrong axis: the z axis of its frame ')
    assert 'camera_link points' in found and '--child-frame-id camera_optical_frame' in found
    assert doubt(body(yaw, pitch, roll) @ OPTICAL) == ''


def test_the_transform_that_the_text_offers_makes_it_right():
    offered = Rotation.from_euler('xyz', [-1.5708, 0.0, -1.5708]).as_matrix()
    np.testing.assert_allclose(offered, OPTICAL[:3, :3], atol=1e-4)
    assert 'static_transform_publisher --roll -1.5708 --yaw -1.5708' in doubt(body())


@pytest.mark.parametrize('yaw', YAWS)
@pytest.mark.parametrize(
    ('pitch', 'roll'),
    [
        *itertools.product((-25, 0, 20, 45, 70), (0, 90, -90, 180, 8)),
        (90, 0),  # a fisheye that looks down
        (80, 180),
        (-40, 0),  # a camera for traffic lights
        (-50, 180),
    ],
)
def test_no_mount_of_a_real_rig_is_doubted(yaw, pitch, roll):
    """Pitched, on edge, upside down, looking down: a drone's, a truck's, a phone's."""
    assert doubt(body(yaw, pitch, roll) @ OPTICAL) == ''


@pytest.mark.parametrize(('rolled', 'pitch', 'roll'), [(180, 90, 0), (90, 0, 180), (-90, 0, 0)])
def test_a_rolled_body_frame_is_the_same_as_a_mount_that_may_be(rolled, pitch, roll):
    """It looks down, to the side upside down, or to the side: what no transform can tell apart."""
    wrong, camera = body(0, 0, rolled), body(0, pitch, roll) @ OPTICAL
    np.testing.assert_allclose(wrong[2, :3], camera[2, :3], atol=1e-12)  # where up is, as it sees
    assert doubt(wrong) == ''


def test_the_node_says_which_camera_looks_along_the_wrong_axis(start_node, tester):
    tester.listen(GRID, OccupancyGrid)
    start_node()
    tester.wait_matched()
    tester.play_transforms(leave_out=['CAM_A'])
    mounts = {'CAM_A': body(), 'a_optical_frame': body() @ OPTICAL}
    tester.tf_static.publish(
        TFMessage(
            transforms=[
                tester.transform('base_link', frame, tester.start, pose)
                for frame, pose in mounts.items()
            ]
        )
    )
    stamp = tester.play_set(0)
    tester.wait(lambda: stamp in tester.stamps(GRID), what='map: the other cameras go on')
    shown = tester.wait(
        lambda: 'wrong axis' in (s := tester.status('CAM_A')).message and s, what='doubt'
    )
    assert shown.level == DiagnosticStatus.WARN
    assert 'its frame CAM_A points 90 degrees above the level of base_link' in shown.message
    assert {tester.status(camera).message for camera in ('CAM_B', 'CAM_C')} == {'ok'}
    stamp = tester.play_set(10, frames={'CAM_A': 'a_optical_frame'})
    tester.wait(lambda: stamp in tester.stamps(GRID), what='map')
    tester.wait(lambda: tester.status('CAM_A').message == 'ok', what='CAM_A ok')
