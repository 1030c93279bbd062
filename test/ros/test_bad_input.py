"""The node names what is wrong with its input and goes on with the next set."""

from __future__ import annotations

import array

import pytest
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage
from tf2_msgs.msg import TFMessage

pytestmark = pytest.mark.ros
GRID = '/gausstr/occupancy_grid'


@pytest.fixture
def running(start_node, tester):
    tester.listen(GRID, OccupancyGrid)
    start_node()
    tester.wait_matched()
    return tester


def assert_goes_on(tester, index):
    stamp = tester.play_set(index)
    tester.wait(lambda: stamp in tester.stamps(GRID), what=f'map of set {index}')


def test_broken_images_and_calibrations(running):
    tester = running
    tester.play_transforms()
    assert_goes_on(tester, 0)
    whole = tester.jpeg(1).data
    cut = CompressedImage(format='jpeg', data=array.array('B', whole[: len(whole) // 2]))
    nothing = CompressedImage(format='jpeg')
    noise = CompressedImage(format='png', data=array.array('B', bytes(range(200))))
    large = tester.jpeg(1, size=(120, 200))
    no_focus = tester.camera_info(focal=0.0)
    no_number = tester.camera_info(focal=float('nan'))
    cases = [
        ({'images': {'CAM_B': cut}}, ('CAM_B', 'truncated JPEG')),
        ({'images': {'CAM_A': nothing}}, ('CAM_A', 'empty')),
        ({'images': {'CAM_C': noise}}, ('CAM_C', 'do not decode')),
        ({'infos': {'CAM_B': no_focus}}, ('CAM_B', 'focal lengths > 0', 'fx=0')),
        ({'infos': {'CAM_A': no_number}}, ('CAM_A', 'finite')),
        ({'images': {'CAM_C': large}}, ('CAM_C', '200x120', '160x90')),
    ]
    for number, (fault, expected) in enumerate(cases):
        stamp = tester.play_set(10 * number + 10, **fault)
        tester.wait_for_text(*expected)
        assert_goes_on(tester, 10 * number + 15)
        assert stamp not in tester.stamps(GRID), expected
    tester.wait_for_text(f'sets dropped: bad input={len(cases)}')


def test_an_image_size_that_changes_with_its_calibration_is_taken(running):
    tester = running
    tester.play_transforms()
    assert_goes_on(tester, 0)
    size = (120, 200)
    images = {camera: tester.jpeg(1, size) for camera in tester.cameras}
    infos = {camera: tester.camera_info(size) for camera in tester.cameras}
    stamp = tester.play_set(1, images=images, infos=infos)
    tester.wait(lambda: stamp in tester.stamps(GRID), what='map of the new size')


def test_a_missing_link_is_named_until_it_comes(running):
    """geometry2 438, 327, 797: waiting for a transform must not stop the executor."""
    tester = running
    tester.play_transforms(leave_out=['CAM_C'])
    tester.play_set(0)
    tester.wait_for_text('CAM_C', 'base_link', 'odom', 'no transform')
    tester.wait_for_text('sets dropped: no transform=1')
    pose = tester.transform('base_link', 'CAM_C', tester.start, tester.camera_pose(0.0))
    tester.tf_static.publish(TFMessage(transforms=[pose]))
    assert_goes_on(tester, 1)


def test_transforms_that_come_after_the_images_are_waited_for(start_node, tester):
    """Polka 25: images are first, odometry is late."""
    tester.listen(GRID, OccupancyGrid)
    start_node(transform_timeout=15.0)  # the diagnostics that are waited for below take a moment
    tester.wait_matched()
    tester.play_transforms()
    ego, tester.play_ego = tester.play_ego, lambda *_, **__: None
    stamp = tester.play_set(0)
    tester.play_ego = ego
    tester.wait_for_text('received=1')
    tester.play_ego(tester.start - 10**9)
    tester.play_ego(tester.start + 10**9)
    tester.wait(lambda: stamp in tester.stamps(GRID), what='map after late transforms')


def test_a_jump_back_of_the_stamps_starts_afresh(running):
    """A bag that is played again from its start, minutes earlier in its own time."""
    tester = running
    tester.play_transforms()
    assert_goes_on(tester, 3000)
    for index in range(6):
        stamp = tester.play_set(index)
        tester.wait_for_text(f'received={index + 2}')
    tester.play_transforms()
    for index in range(6, 60):
        stamp = tester.play_set(index)
        if tester.stamps(GRID)[-1] < tester.start + 10**11:
            break
        tester.wait_for_text(f'received={index + 2}')
    tester.wait(lambda: tester.stamps(GRID)[-1] <= stamp, what='map of the second round')


def test_missing_calibration_names_camera_and_topic(running):
    tester = running
    tester.play_transforms()
    publisher, tester.infos['CAM_A'] = tester.infos['CAM_A'], tester.infos['CAM_B']
    tester.play_set(0)
    tester.wait_for_text('CAM_A', '/CAM_A/camera_info')
    tester.infos['CAM_A'] = publisher
    assert_goes_on(tester, 1)


def test_incompatible_qos_is_named(start_node, tester):
    """message_filters 79: no callback, and no word about it."""
    tester.node.create_publisher(
        CompressedImage,
        '/CAM_B/image_raw/compressed',
        QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
    )
    start_node(image_reliability='reliable')
    tester.wait_for_text('/CAM_B/image_raw/compressed', 'incompatible reliability')
