"""The node names what is wrong with its input and goes on with the next set."""

from __future__ import annotations

import array
import contextlib

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage
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


def play_until(tester, condition):
    """Play sets, as no set waits again for what one has waited for in vain."""
    for index in range(1, 60):
        tester.play_set(index)
        tester.wait_for_text(f'received={index + 1}')
        if condition():
            return
    raise AssertionError('59 sets changed nothing')


def faults(tester):
    """(what is wrong, of which camera, words of the reason)."""
    whole = tester.jpeg(1).data
    cut = CompressedImage(format='jpeg', data=array.array('B', whole[: len(whole) // 2]))
    nothing = CompressedImage(format='jpeg')
    noise = CompressedImage(format='png', data=array.array('B', bytes(range(200))))
    large = tester.jpeg(1, size=(120, 200))
    no_focus = tester.camera_info(focal=0.0)
    no_number = tester.camera_info(focal=float('nan'))
    return [
        ({'images': {'CAM_B': cut}}, 'CAM_B', 'truncated JPEG'),
        ({'images': {'CAM_A': nothing}}, 'CAM_A', 'empty'),
        ({'images': {'CAM_C': noise}}, 'CAM_C', 'do not decode'),
        ({'infos': {'CAM_B': no_focus}}, 'CAM_B', 'focal lengths > 0'),
        ({'infos': {'CAM_A': no_number}}, 'CAM_A', 'finite'),
        ({'images': {'CAM_C': large}}, 'CAM_C', '200x120'),
    ]


def test_a_bad_image_or_calibration_costs_its_camera_only(running):
    tester = running
    tester.play_transforms()
    assert_goes_on(tester, 0)
    for number, (fault, camera, reason) in enumerate(faults(tester)):
        stamp = tester.play_set(10 * number + 10, **fault)
        tester.wait(lambda s=stamp: s in tester.stamps(GRID), what=f'map without {camera}')
        tester.wait_for_text(f'a set without {camera}')
        shown = tester.wait(
            lambda c=camera, r=reason: r in (status := tester.status(c)).message and status,
            what=f'{reason} as the status of {camera}',
        )
        assert shown.level == DiagnosticStatus.ERROR and camera in shown.message
        others = set(tester.cameras) - {camera}
        assert all(reason not in tester.status(c).message for c in others)
        assert_goes_on(tester, 10 * number + 15)
        tester.wait(lambda c=camera: tester.status(c).message == 'ok', what=f'{camera} ok again')
        assert any(
            pair.key == 'last error' and reason in pair.value
            for pair in tester.status(camera).values
        )
    assert not [text for text in tester.texts() if text.startswith('sets dropped')]


def test_a_camera_is_missing_until_its_resolution_and_its_calibration_agree_again(running):
    tester = running
    tester.play_transforms()
    assert_goes_on(tester, 0)
    size = (120, 200)
    for index in range(1, 4):
        stamp = tester.play_set(index, images={'CAM_C': tester.jpeg(index, size)})
        tester.wait(lambda s=stamp: s in tester.stamps(GRID), what='map without CAM_C')
        tester.wait(lambda: '200x120' in tester.status('CAM_C').message, what='reason')
    info = {'CAM_C': tester.camera_info(size)}
    for index in range(4, 8):  # the first image may come before its calibration: other topics
        stamp = tester.play_set(index, images={'CAM_C': tester.jpeg(index, size)}, infos=info)
        tester.wait(lambda s=stamp: s in tester.stamps(GRID), what='map of the new size')
    tester.wait(lambda: tester.status('CAM_C').message == 'ok', what='CAM_C ok again')


def test_bad_images_drop_the_set_where_fewer_than_min_cameras_are_left(start_node, tester):
    tester.listen(GRID, OccupancyGrid)
    start_node(**{'sync.min_cameras': 3})
    tester.wait_matched()
    tester.play_transforms()
    stamp = tester.play_set(0, images={'CAM_B': CompressedImage(format='jpeg')})
    tester.wait_for_text('2 cameras can be used, sync.min_cameras is 3', 'CAM_B', 'empty')
    tester.wait_for_text('sets dropped: bad input=1')
    assert_goes_on(tester, 5)
    assert stamp not in tester.stamps(GRID)


def test_an_image_size_that_changes_with_its_calibration_is_taken(running):
    tester = running
    tester.play_transforms()
    assert_goes_on(tester, 0)
    size = (120, 200)
    images = {camera: tester.jpeg(1, size) for camera in tester.cameras}
    infos = {camera: tester.camera_info(size) for camera in tester.cameras}
    stamp = tester.play_set(1, images=images, infos=infos)
    tester.wait(lambda: stamp in tester.stamps(GRID), what='map of the new size')


def test_a_missing_link_costs_its_camera_only_and_is_named_until_it_comes(running):
    """geometry2 438, 327, 797: waiting for a transform must not stop the executor."""
    tester = running
    tester.play_transforms(leave_out=['CAM_C'])
    stamp = tester.play_set(0)
    tester.wait(lambda: stamp in tester.stamps(GRID), what='map without CAM_C')
    tester.wait_for_text('CAM_C', 'base_link', 'odom', 'no transform')
    tester.wait_for_text('a set without CAM_C')
    tester.wait(
        lambda: (
            (status := tester.status('CAM_C')).level == DiagnosticStatus.ERROR
            and 'no transform' in status.message
        ),
        what='no transform as the status of CAM_C',
    )
    pose = tester.transform('base_link', 'CAM_C', tester.start, tester.camera_pose(0.0))
    tester.tf_static.publish(TFMessage(transforms=[pose]))
    play_until(tester, lambda: tester.status('CAM_C').message == 'ok')
    assert not [text for text in tester.texts() if text.startswith('sets dropped')]


def test_missing_links_drop_the_set_where_fewer_than_min_cameras_are_left(start_node, tester):
    tester.listen(GRID, OccupancyGrid)
    start_node(**{'sync.min_cameras': 3})
    tester.wait_matched()
    tester.play_transforms(leave_out=['CAM_C'])
    stamp = tester.play_set(0)
    tester.wait_for_text('CAM_C', 'base_link', 'odom', 'no transform')
    tester.wait_for_text('sets dropped: no transform=1')
    pose = tester.transform('base_link', 'CAM_C', tester.start, tester.camera_pose(0.0))
    tester.tf_static.publish(TFMessage(transforms=[pose]))
    play_until(tester, lambda: tester.stamps(GRID))
    assert stamp not in tester.stamps(GRID)


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
    tester.wait_for_text('clock jumps back=1')


def test_a_missing_calibration_costs_its_camera_only_and_names_the_topic(running):
    tester = running
    tester.play_transforms()
    publisher, tester.infos['CAM_A'] = tester.infos['CAM_A'], tester.infos['CAM_B']
    stamp = tester.play_set(0)
    tester.wait_for_text('CAM_A', '/CAM_A/camera_info')
    tester.wait_for_text('a set without CAM_A')
    tester.wait(lambda: stamp in tester.stamps(GRID), what='map without CAM_A')
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
    tester.wait_matched()
    for index in range(20):  # from a publisher that fits
        tester.play_set(index)
        with contextlib.suppress(AssertionError):
            tester.wait(lambda: tester.status('CAM_B').message == 'ok', 1, 'ok again')
            return
    raise AssertionError(tester.status('CAM_B'))


@pytest.fixture
def unheard(start_node, tester):
    """A node that hears no calibration of CAM_B, and a camera that offers it best effort."""
    fits, tester.infos['CAM_B'] = tester.infos['CAM_B'], None
    tester.node.destroy_publisher(fits)
    driver = rclpy.create_node('driver')
    publisher = driver.create_publisher(
        CameraInfo,
        '/CAM_B/camera_info',
        QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
    )
    start_node(image_reliability='reliable')
    shown = tester.wait(
        lambda: 'incompatible' in (s := tester.status('CAM_B')).message and s, what='fault'
    )
    assert shown.level == DiagnosticStatus.ERROR
    assert '/CAM_B/camera_info: a publisher offers an incompatible reliability' in shown.message
    yield driver, publisher
    driver.destroy_node()


def test_an_incompatible_calibration_is_not_named_once_another_one_is_heard(unheard, tester):
    tester.infos['CAM_B'] = tester.publisher(CameraInfo, '/CAM_B/camera_info')
    tester.wait_matched()
    for index in range(20):
        tester.play_set(index)
        with contextlib.suppress(AssertionError):
            tester.wait(lambda: tester.status('CAM_B').message == 'ok', 1, 'ok again')
            return
    raise AssertionError(tester.status('CAM_B'))


def test_an_incompatible_calibration_is_not_named_once_its_publisher_is_gone(unheard, tester):
    driver, publisher = unheard
    driver.destroy_publisher(publisher)
    tester.wait(lambda: 'incompatible' not in tester.status('CAM_B').message, what='no word of it')
