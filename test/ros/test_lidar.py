"""Clouds over DDS are the depth of the cameras; what is wrong with them is named."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip('rclpy')

from cloud_messages import cloud
from diagnostic_msgs.msg import DiagnosticStatus
from lidar_player import LIDAR, STREET, LidarPlayer
from log_lines import logged
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import PointCloud2
from sensor_msgs_py.point_cloud2 import read_points

from gausstr_core.stamps import nanoseconds
from gausstr_ros.listening import awaited
from gausstr_ros.messages.point_clouds import MOST_POINTS
from gausstr_ros.replay.command import main

GRID, VOXELS = '/gausstr/occupancy_grid', '/gausstr/voxels'
PARAMETERS = """\
/**:
  ros__parameters:
    preset: tiny
    weights: untrained
    threads: 1
    depth_source: lidar
    cameras: [CAM_A, CAM_B, CAM_C]
    sync: {tolerance: 0.03, timeout: 0.15}
    grid: {range: [-20.0, -20.0, -1.0, 20.0, 20.0, 5.4]}
"""


@pytest.fixture
def play(start_node, tester):
    """Start a node with lidars: play(*topics, name=value, ...)."""

    def start(*topics, mounts=True, **parameters):
        topics = topics or (LIDAR,)
        tester.listen(GRID, OccupancyGrid)
        tester.listen(VOXELS, PointCloud2)
        player = LidarPlayer(tester, topics)
        start_node(
            depth_source='lidar', threads=1, **{'lidar.topic': ' '.join(topics), **parameters}
        )
        player.wait_matched()
        if mounts:
            player.play_mounts()
        return player

    return start


def wait_mapped(tester, stamp):
    tester.wait(lambda: stamp in tester.stamps(VOXELS), what='map')


def of_stamp(messages, stamp):
    """Voxels of one set as bytes."""
    (found,) = {
        bytes(m.data) for m in messages if nanoseconds(m.header.stamp) == stamp
    }  # fmt: skip
    return found


def test_a_replay_maps_what_the_node_mapped(play, tester, tmp_path):
    """Which scan an image goes with does not depend on when it is asked for."""
    player = play()
    stamps = []
    for index in range(5):
        stamps.append(player.play(index))
        wait_mapped(tester, stamps[-1])
    status = tester.wait(
        # one before the first report has no values
        lambda: (
            (s := tester.status(f'lidar {LIDAR}')).values and s.level == DiagnosticStatus.OK and s
        ),
        what='lidar ok',
    )
    values = {pair.key: pair.value for pair in status.values}
    assert values['topic'] == LIDAR and 'rate [Hz]' in values
    assert tester.wait_for_text('lidar [ms] p50')
    bag, target = player.write_bag(tmp_path / 'bag'), tmp_path / 'out'
    (tmp_path / 'parameters.yaml').write_text(PARAMETERS)
    main([str(bag), str(target), '--params-file', str(tmp_path / 'parameters.yaml')])
    with Reader(target) as reader:
        replayed = [
            deserialize_message(bytes(raw), PointCloud2)
            for connection, _, raw in reader.messages()
            if connection.topic == VOXELS
        ]
    for stamp in stamps:
        live = of_stamp(tester.heard[VOXELS], stamp)
        assert len(live) > 1000 and live == of_stamp(replayed, stamp)


def test_the_map_lies_where_the_cloud_is(play, tester):
    """Gaussians start at the wall 8 m ahead, and nothing stands before it."""
    player = play(**{'map.rule': 'calibrated'})
    stamp = player.play(0)
    wait_mapped(tester, stamp)
    points = read_points(tester.heard[VOXELS][0])
    centers = np.stack([points['x'], points['y'], points['z']], -1)
    ahead = (np.abs(centers[:, 1]) < 2) & (np.abs(centers[:, 2] - 1) < 0.7) & (centers[:, 0] > 1)
    some = centers[:: len(centers) // 300]
    near = np.linalg.norm(STREET[None] - some[:, None], axis=-1).min(1)
    assert (near < 1.0).mean() > 0.7
    assert ahead.sum() == 0 or np.median(centers[ahead, 0]) == pytest.approx(8, abs=1.5)


FAULTS = [
    (lambda each: None, 'no cloud for its image', 'no cloud'),
    (
        lambda each: cloud(np.full((9, 3), np.nan), stamp=nanoseconds(each.header.stamp)),
        f'lidar {LIDAR}: cloud at', 'bad input',
    ),
    (
        lambda each: cloud(np.ones((9, 3)), names='xyi', stamp=nanoseconds(each.header.stamp)),
        'expected a cloud with the fields x, y and z, got x, y, i', 'no cloud',
    ),
    (
        lambda each: cloud(STREET, frame='loose', stamp=nanoseconds(each.header.stamp)),
        f'cloud on {LIDAR}: no transform from loose to base_link', 'no transform',
    ),
    (
        lambda each: cloud(STREET, stamp=nanoseconds(each.header.stamp) - 700_000_000),
        f'the nearest cloud on {LIDAR} is 0.6', 'cloud too old',
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ('change', 'text', 'reason'), FAULTS, ids=['missing', 'NaN', 'no z', 'no transform', 'old']
)
def test_a_bad_cloud_is_named_and_counted_and_the_next_set_is_mapped(
    play, tester, change, text, reason
):
    player = play(**{'transform_timeout': 0.2})
    index = 0
    for index in range(60):  # no set waits again for what one has waited for in vain
        player.play(index, change)
        tester.wait_for_report()
        if any(f'sets dropped: {reason}=' in each for each in tester.texts()):
            break
    tester.wait_for_text(f'sets dropped: {reason}=')
    tester.wait_for_text('camera CAM_', text)
    wait_mapped(tester, player.play(index + 20))
    tester.wait(lambda: tester.status('CAM_A').message == 'ok', what='camera ok again')


def test_ten_million_points_are_refused_with_the_limit(play, tester):
    """The clouds around it are used; nothing is read of it."""
    player = play()
    huge = cloud(np.zeros((1, 3)), stamp=tester.start)
    huge.width, huge.row_step = 10_000_000, 120_000_000
    player.clouds[LIDAR].publish(huge)
    tester.wait_for_text(f'a cloud of 10000000 points, at most {MOST_POINTS} are read')
    tester.wait_for_text('dropped: cannot be read=1')
    wait_mapped(tester, player.play(1))


def test_a_lidar_that_stops_leaves_the_map_to_the_others(play, tester):
    player = play(LIDAR, '/rear/points')
    wait_mapped(tester, player.play(0))
    rear = player.clouds.pop('/rear/points')
    for index in range(1, 8):
        last = player.play(index)
    tester.wait(
        lambda: last > max(tester.stamps(VOXELS)) > last - 300_000_000, what='map of one lidar'
    )
    tester.wait(
        lambda: 'no cloud on /rear/points for' in tester.status('lidar /rear/points').message,
        what='silence',
    )
    player.clouds['/rear/points'] = rear


def test_a_topic_on_which_nothing_comes_is_named_with_the_one_that_has_a_publisher(
    start_node, tester, monkeypatch
):
    monkeypatch.setattr(awaited, 'PATIENCE', 1.0)
    tester.publisher(PointCloud2, '/lidar/points')
    with logged() as lines:
        start_node(depth_source='lidar')
        tester.wait(lambda: [x for x in lines if 'see lidar.topic' in x], what='advice')
    (line,) = (x for x in lines if 'see lidar.topic' in x)
    assert line == ('/lidar/points has a publisher (sensor_msgs/msg/PointCloud2): see lidar.topic')
    assert any('waiting for' in x and LIDAR in x for x in lines)
    tester.wait(
        lambda: (
            (text := tester.status(f'lidar {LIDAR}').message).startswith(f'no cloud on {LIDAR}')
            and line in text
        ),
        what='status',
    )


def test_a_lidar_whose_qos_does_not_fit_is_named(start_node, tester):
    best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    made = tester.node.create_publisher(PointCloud2, LIDAR, best_effort)
    start_node(depth_source='lidar', image_reliability='reliable')
    status = tester.wait(
        lambda: (
            'offers an incompatible reliability' in (s := tester.status(f'lidar {LIDAR}')).message
            and s
        ),
        what='QoS fault',
    )
    assert status.level == DiagnosticStatus.ERROR and LIDAR in status.message
    tester.node.destroy_publisher(made)
