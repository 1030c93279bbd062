"""Two cameras that share one topic of calibrations or of depth both get what comes there."""

from __future__ import annotations

import array

import numpy as np
import pytest

pytest.importorskip('rclpy')

from bag_files import T, messages_of, write_bag, write_bag_of_drive
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import OccupancyGrid
from rclpy.serialization import deserialize_message
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import CameraInfo, Image

from gausstr_ros.messages.stamps import header_message
from gausstr_ros.replay.command import main

pytestmark = pytest.mark.ros
GRID = '/gausstr/occupancy_grid'
FRONT, TWIN = '/CAM_FRONT/image_raw/compressed', '/TWIN/image_raw/compressed'
INFO, DEPTH = '/CAM_FRONT/camera_info', '/CAM_FRONT/depth'
PARAMETERS = """\
/**:
  ros__parameters:
    preset: tiny
    weights: untrained
    threads: 1
    grid.range: [-20.0, -20.0, -1.0, 20.0, 20.0, 5.4]
    cameras: [{order}]
    sync.min_cameras: 2
    depth_source: {source}
    cameras.TWIN.camera_info_topic: /CAM_FRONT/camera_info
    cameras.TWIN.depth_topic: /CAM_FRONT/depth
"""


def depth_of(image):
    pixels = np.full((18, 32), 5.0, np.float32)
    return T['sensor_msgs/msg/Image'](
        image.header, 18, 32, '32FC1', 0, 32 * 4, pixels.view(np.uint8).ravel()
    )


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    """A drive in which TWIN sends what CAM_FRONT does, but for its calibration and depth."""
    folder = tmp_path_factory.mktemp('twins')
    write_bag_of_drive(folder / 'drive', 2)
    messages = messages_of(folder / 'drive')
    images = [m for m in messages if m.topic == FRONT]
    messages += [m._replace(topic=TWIN) for m in images]
    kind = 'sensor_msgs/msg/Image'
    messages += [m._replace(topic=DEPTH, kind=kind, message=depth_of(m.message)) for m in images]
    return write_bag(folder / 'bag', messages)


@pytest.mark.parametrize('source', ['model', 'topic'])
@pytest.mark.parametrize('order', ['CAM_FRONT, TWIN', 'TWIN, CAM_FRONT'])
def test_a_replay_gives_it_to_both(bag, tmp_path, order, source):
    """gz-sensors 257: the camera listed first was lost."""
    parameters = tmp_path / 'parameters.yaml'
    parameters.write_text(PARAMETERS.format(order=order, source=source))
    target = tmp_path / 'mapped'
    main([str(bag), str(target), '--params-file', str(parameters)])
    with Reader(target) as reader:
        raws = [raw for c, _, raw in reader.messages() if c.topic == '/diagnostics']
    last = deserialize_message(bytes(raws[-1]), DiagnosticArray).status
    values = {pair.key: pair.value for status in last[:1] for pair in status.values}
    assert values['sets complete'] == '2'
    assert [status.message for status in last[1:]] == ['ok', 'ok']


@pytest.mark.parametrize('order', [('CAM_A', 'CAM_B', 'CAM_C'), ('CAM_C', 'CAM_B', 'CAM_A')])
def test_the_node_gives_calibrations_to_all(start_node, tester, order):
    """gz-sensors 257: three cameras, one CameraInfo topic."""
    tester.listen(GRID, OccupancyGrid)
    shared = {f'cameras.{c}.camera_info_topic': '/CAM_A/camera_info' for c in order}
    start_node(cameras=list(order), **shared)
    silent = tester.publisher(CameraInfo, '/nowhere')
    for camera in ('CAM_B', 'CAM_C'):
        tester.node.destroy_publisher(tester.infos[camera])
        tester.infos[camera] = silent
    tester.wait(
        lambda: all(
            p.get_subscription_count()
            for p in (*tester.images.values(), tester.infos['CAM_A'], tester.tf)
        ),
        what='match',
    )
    tester.play_transforms()
    stamp = tester.play_set(0)
    tester.wait(lambda: stamp in tester.stamps(GRID), what='map')
    tester.wait_for_text('sets complete=1')
    assert {tester.status(camera).message for camera in order} == {'ok'}


def test_the_node_gives_depth_to_both(start_node, tester):
    """gz-sensors 257: one depth camera behind two names."""
    tester.listen(GRID, OccupancyGrid)
    start_node(
        cameras=['CAM_A', 'CAM_B'],
        depth_source='topic',
        **{'cameras.CAM_B.depth_topic': '/CAM_A/depth'},
    )
    depth = tester.publisher(Image, '/CAM_A/depth')
    both = [tester.images['CAM_A'], tester.images['CAM_B'], tester.tf]
    tester.wait(lambda: all(p.get_subscription_count() for p in both), what='match')
    tester.wait(lambda: depth.get_subscription_count() == 2, what='match of depth')
    tester.play_transforms()
    for offset in (-1, 1):
        tester.play_ego(tester.start + offset * 10**8)
    pixels = np.full((45, 80), 5.0, np.float32)
    data = array.array('B', pixels.tobytes())
    depth.publish(
        Image(
            header=header_message(tester.start, 'CAM_A'),
            height=45, width=80, encoding='32FC1', step=320, data=data,
        )
    )  # fmt: skip
    for camera in ('CAM_A', 'CAM_B'):
        header = header_message(tester.start, camera)
        info, image = tester.camera_info(), tester.jpeg(1)
        info.header = image.header = header
        tester.infos[camera].publish(info)
        tester.images[camera].publish(image)
    tester.wait(lambda: tester.start in tester.stamps(GRID), what='map')
    tester.wait_for_text('sets complete=1')
    assert tester.status('CAM_B').level == DiagnosticStatus.OK
