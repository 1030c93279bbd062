"""What does not come is named with where to look, and with the sibling that does come."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy')

import rclpy
import tf2_ros
from log_lines import logged
from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from gausstr_ros.listening import awaited
from gausstr_ros.listening.transforms import ego_from_camera
from gausstr_ros.sets.waiting import NotReady

pytestmark = pytest.mark.ros
GRID = '/gausstr/occupancy_grid'
RAW, INFO = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CameraInfo'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'


@pytest.fixture
def lines():
    with logged() as found:
        yield found


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(awaited, 'PATIENCE', 1.0)


def test_a_node_that_waits_for_its_cameras_says_so_once(start_node, tester, lines):
    """field_reports N1: the log said nothing for ever."""
    start_node(cameras=['front', 'rear'], **{'cameras.rear.camera_info_topic': '/rear/info'})
    tester.wait(lambda: lines, what='line')
    for _ in range(20):  # two seconds
        tester.wait_for_report()
    (line,) = lines
    for topic in (
        '/front/image_raw/compressed', '/front/camera_info', '/rear/image_raw/compressed',
        '/rear/info',
    ):  # fmt: skip
        assert topic in line
    assert 'ros2 topic list' in line and 'cameras.<name>.*_topic' in line


def test_only_what_does_not_come_is_waited_for(start, tester, lines):
    """field_reports N1: one camera of three, and depth where it comes from topics."""
    start(depth_source='topic')
    depth = {c: tester.publisher(Image, f'/{c}/depth') for c in ('CAM_A', 'CAM_B')}
    tester.wait(lambda: all(p.get_subscription_count() for p in depth.values()), what='match')
    tester.play_set(0, leave_out=['CAM_C'])
    depth['CAM_A'].publish(Image())
    tester.wait(lambda: [line for line in lines if 'waiting for' in line], what='line')
    (line,) = (line for line in lines if 'waiting for' in line)
    assert line.startswith(
        'waiting for /CAM_B/depth, /CAM_C/camera_info, /CAM_C/depth, /CAM_C/image_raw/compressed:'
    )


def test_nothing_is_said_of_cameras_that_come(start, tester, lines):
    """field_reports N1."""
    start()
    for index in range(15):
        tester.play_set(index)
        tester.wait_for_text(f'received={index + 1}')
        tester.wait_for_report()
    assert not [line for line in lines if 'waiting for' in line or 'publisher' in line]


SIBLINGS = [
    (  # the template's default, and a driver without image_transport's plug-ins
        {}, (Image, '/front/image_raw'), f'/front/image_raw has a publisher ({RAW})',
        'set image_transport to raw',
    ),
    (
        {'image_transport': 'raw'}, (CompressedImage, '/front/image_raw/compressed'),
        f'/front/image_raw/compressed has a publisher ({COMPRESSED})',
        'set image_transport to compressed',
    ),
    (
        {'cameras.front.image_topic': '/rig/front/color'}, (Image, '/rig/front/color'),
        f'/rig/front/color has a publisher ({RAW})', 'set image_transport to raw',
    ),
    (
        {}, (CompressedImage, '/front/image_color/compressed'),
        '/front/image_color/compressed has a publisher', 'see cameras.front.image_topic',
    ),
    (
        {}, (CompressedImage, '/robot/front/image_raw/compressed'),
        '/robot/front/image_raw/compressed has a publisher', 'see cameras.front.image_topic',
    ),
    (
        {'image_transport': 'raw'}, (CompressedImage, '/front/image_color/compressed'),
        f'/front/image_color/compressed has a publisher ({COMPRESSED})',
        'see cameras.front.image_topic and image_transport',
    ),
    (
        {}, (Image, '/front/image_raw/compressed'),
        f'/front/image_raw/compressed is published as {RAW}, expected {COMPRESSED}',
        'see cameras.front.image_topic and image_transport',
    ),
    (
        {}, (CameraInfo, '/front/color/camera_info'),
        f'/front/color/camera_info has a publisher ({INFO})',
        'see cameras.front.camera_info_topic',
    ),
    (
        {'depth_source': 'topic'}, (Image, '/front/depth_registered/image_rect'),
        f'/front/depth_registered/image_rect has a publisher ({RAW})',
        'see cameras.front.depth_topic',
    ),
]  # fmt: skip


@pytest.fixture
def driver(ros):
    """A node in a participant of its own: in one, Fast DDS gives a topic one type only."""
    context = rclpy.Context()
    rclpy.init(context=context)
    made = rclpy.create_node('driver', context=context)
    yield made
    made.destroy_node()
    rclpy.shutdown(context=context)


@pytest.mark.parametrize(('parameters', 'published', 'found', 'fix'), SIBLINGS)
def test_the_sibling_that_has_a_publisher_is_named_with_the_parameter(
    start_node, tester, driver, lines, parameters, published, found, fix
):
    """field_reports N5: "no image on .../compressed since the start" was all that was said."""
    kind, topic = published
    driver.create_publisher(kind, topic, 10)
    start_node(cameras=['front'], **parameters)
    tester.wait(lambda: [line for line in lines if found in line and fix in line], what='line')
    if kind is not CameraInfo and 'depth_source' not in parameters:
        tester.wait(
            lambda: (
                found in (text := tester.status('front').message)
                and fix in text
                and 'no image on /' in text
            ),
            what='status',
        )
    assert len([line for line in lines if found in line]) == 1


def test_a_sibling_is_named_beside_what_a_camera_lacks_until_its_topic_comes(start_node, tester):
    """field_reports N5, for CameraInfo under a neighbouring name."""
    hint = '/CAM_B/color/camera_info has a publisher'
    right = tester.infos['CAM_B']
    tester.infos['CAM_B'] = tester.publisher(CameraInfo, '/CAM_B/color/camera_info')
    tester.node.destroy_publisher(right)
    start_node(transform_timeout=0.05)
    heard = [*tester.images.values(), tester.infos['CAM_A'], tester.infos['CAM_C'], tester.tf]
    tester.wait(lambda: all(p.get_subscription_count() for p in heard), what='match')
    tester.play_transforms()

    def play_until(condition, first):
        for index in range(first, first + 60):
            tester.play_set(index)
            tester.wait_for_report()
            if condition(tester.status('CAM_B').message):
                return index + 1
        raise AssertionError(tester.status('CAM_B').message)

    index = play_until(lambda text: 'no CameraInfo' in text and hint in text, 0)
    assert hint not in tester.status('CAM_A').message
    tester.infos['CAM_B'] = tester.publisher(CameraInfo, '/CAM_B/camera_info')
    tester.wait_matched()
    play_until(lambda text: text == 'ok', index)


def test_what_is_heard_already_and_what_nobody_publishes_is_no_sibling(start_node, tester):
    """field_reports N5: another camera's topics, subscribers only, pictures for depth."""
    tester.listen('/CAM_D/image_raw', Image)
    for suffix in ('image_raw', 'image_raw/compressedDepth'):
        tester.publisher(Image if suffix == 'image_raw' else CompressedImage, f'/CAM_A/{suffix}')
    start_node(cameras=['CAM_A', 'CAM_D'], depth_source='topic')
    tester.wait_for_text('no image on /CAM_D/image_raw/compressed since the start')
    for _ in range(10):
        tester.wait_for_report()
    assert not [text for text in tester.texts() if 'has a publisher' in text]


def buffer(tester, *links):
    made = tf2_ros.Buffer()
    for parent, child in links:
        pose = tester.transform(parent, child, tester.start, tester.camera_pose(0.0))
        made.set_transform_static(pose, 'test')
    return made


MOUNT, ODOMETRY = ('base_link', 'camera'), ('odom', 'base_link')
STANDS = "set fixed_frame to a frame that there is, or to '' for a robot that stands still"


@pytest.mark.parametrize(
    ('links', 'fixed_frame', 'expected', 'unexpected'),
    [
        ([MOUNT], 'odom', ['nothing links base_link to odom', STANDS], 'links camera'),
        ([MOUNT, ODOMETRY], 'map', ['nothing links base_link to map', STANDS], 'links camera'),
        (  # both are there, in two trees
            [MOUNT, ('odom', 'base_footprint')], 'odom',
            ['nothing links base_link to odom', STANDS], 'links camera',
        ),
        ([ODOMETRY], 'odom', ['nothing links camera to base_link', '/tf_static'], STANDS),
        ([ODOMETRY], '', ['nothing links camera to base_link', '/tf_static'], STANDS),
        ([], 'odom', ['nothing links camera to base_link', STANDS], 'no such text'),
    ],
)  # fmt: skip
def test_a_link_that_nothing_makes_is_named_with_the_fix(
    tester, links, fixed_frame, expected, unexpected
):
    """field_reports N14."""
    with pytest.raises(NotReady) as caught:
        ego_from_camera(
            buffer(tester, *links), 'base_link', fixed_frame, tester.start, 'A',
            ('camera', tester.start),
        )  # fmt: skip
    assert str(caught.value).startswith('camera A: no transform from camera to base_link')
    assert all(part in str(caught.value) for part in expected)
    assert unexpected not in str(caught.value)


def test_a_link_that_is_late_is_not_called_missing(tester):
    """field_reports N14: odometry that stops, or comes a moment after the image."""
    made = buffer(tester, MOUNT)
    made.set_transform(
        tester.transform('odom', 'base_link', tester.start, tester.camera_pose(0.0)), 'test'
    )
    late = tester.start + 10**9
    with pytest.raises(NotReady) as caught:
        ego_from_camera(made, 'base_link', 'odom', late, 'A', ('camera', late))
    assert 'nothing links' not in str(caught.value)


def test_a_robot_without_odometry_is_told_of_fixed_frame_and_maps_with_it(start_node, tester):
    """field_reports N14: the missing transform was named, but not the fix."""
    tester.listen(GRID, OccupancyGrid)
    tester.play_ego = lambda *_, **__: None
    node = start_node(transform_timeout=0.05)
    tester.wait_matched()
    tester.play_transforms()
    tester.play_set(0)
    tester.wait_for_text('nothing links base_link to odom (fixed_frame)', STANDS)
    node.trigger_deactivate()
    node.trigger_cleanup()
    tester.wait(lambda: not tester.images['CAM_A'].get_subscription_count(), what='end')
    node.set_parameters([type(node.get_parameter('fixed_frame'))('fixed_frame', value='')])
    node.trigger_configure()
    node.trigger_activate()
    assert not node.fault
    tester.wait_matched()
    for index in range(1, 60):
        tester.play_set(index)
        tester.wait_for_report()
        if tester.stamps(GRID):
            return
    raise AssertionError(tester.texts()[-12:])
