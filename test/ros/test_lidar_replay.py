"""gausstr-replay with clouds: remapped, killed, of another type; what is wrong is named."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip('rclpy')

from bag_files import START, Recorded, T, cloud, header, messages_of, write_bag, write_bag_of_drive
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.serialization import deserialize_message
from rosbags.rosbag2 import Reader

from gausstr_ros.replay.command import main
from gausstr_ros.settings.settings import read_settings

FRAMES, SPIN = 3, 50_000_000
CLOUD = 'sensor_msgs/msg/PointCloud2'
PARAMETERS = """\
/**:
  ros__parameters:
    preset: tiny
    weights: untrained
    threads: 1
    depth_source: lidar
    grid: {range: [-20.0, -20.0, -1.0, 20.0, 20.0, 5.4]}
"""
KILLED = """\
import os, signal, sys
from gausstr_ros.replay import run
from gausstr_ros.replay.command import main
encode, calls = run.encode_set, []
def encode_set(*arguments, **options):
    calls.append(1)
    if len(calls) > 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return encode(*arguments, **options)
run.encode_set = encode_set
main(sys.argv[1:])
"""


def street(height=0.0):
    """Points [P, 3] of ground at a height of the ego frame."""
    x, y = np.meshgrid(np.linspace(-20, 20, 80), np.linspace(-20, 20, 80))
    return np.stack([x.ravel(), y.ravel(), np.full(x.size, height)], -1)


def drive_with_clouds(folder, points, topic='/lidar_top/points'):
    """A drive of six cameras with clouds in the ego frame at 20 Hz."""
    write_bag_of_drive(folder / 'cameras', FRAMES)
    made = [
        Recorded(stamp, topic, CLOUD, cloud(stamp, 'base_link', points))
        for stamp in range(START, START + FRAMES * 500_000_000, SPIN)
    ]
    (folder / 'parameters.yaml').write_text(PARAMETERS)
    return write_bag(folder / 'bag', [*messages_of(folder / 'cameras'), *made])


@pytest.fixture(scope='module')
def drive(tmp_path_factory):
    folder = tmp_path_factory.mktemp('drive')
    drive_with_clouds(folder, street())
    main(given(folder, folder / 'whole.mcap'))
    return folder


def given(folder, target, *more):
    files = [str(folder / 'bag'), str(target), '--params-file', str(folder / 'parameters.yaml')]
    return [*files, '--outputs', 'voxels', *more]


def of_topic(path, topic):
    with Reader(path) as reader:
        return [bytes(raw) for c, _, raw in reader.messages() if c.topic == topic]


def statuses(path):
    """Of the last set, by what they are of."""
    report = deserialize_message(of_topic(path, '/diagnostics')[-1], DiagnosticArray)
    return {status.name.partition(': ')[2]: status for status in report.status}


def test_every_set_has_its_clouds_and_the_lidar_its_status(drive):
    assert len(of_topic(drive / 'whole.mcap', '/gausstr/voxels')) == FRAMES
    status = statuses(drive / 'whole.mcap')['lidar /lidar_top/points']
    assert status.message == 'ok' and status.hardware_id == 'gausstr'
    values = {pair.key: pair.value for pair in status.values}
    assert float(values['rate [Hz]']) == pytest.approx(20, rel=0.1)


def test_a_killed_run_ends_with_the_same_bag(drive, tmp_path):
    target = tmp_path / 'out.mcap'
    command = [sys.executable, '-c', KILLED, *given(drive, target)]
    assert subprocess.run(command, capture_output=True, timeout=100).returncode == -signal.SIGKILL
    main(given(drive, target))
    sums = {hashlib.sha256(p.read_bytes()).hexdigest() for p in (target, drive / 'whole.mcap')}
    assert len(sums) == 1


def test_clouds_may_have_another_name_in_the_bag(drive, tmp_path):
    drive_with_clouds(tmp_path, street(), '/robot/points')
    with pytest.raises(SystemExit, match=r'no cloud for its image .* on /lidar_top/points'):
        main(given(tmp_path, tmp_path / 'none.mcap'))
    target = tmp_path / 'out.mcap'
    main(given(tmp_path, target, '--remap', '/lidar_top/points:=/robot/points'))
    topic = '/gausstr/voxels'
    assert of_topic(target, topic) == of_topic(drive / 'whole.mcap', topic)


def test_clouds_of_another_type_are_named(drive, tmp_path):
    scan = T['sensor_msgs/msg/LaserScan'](
        header(START, 'base_link'), 0.0, 1.0, 0.1, 0.0, 0.1, 0.0, 9.0, np.ones(3, np.float32),
        np.ones(3, np.float32),
    )  # fmt: skip
    wrong = Recorded(START, '/lidar_top/points', 'sensor_msgs/msg/LaserScan', scan)
    write_bag(tmp_path / 'bag', [*messages_of(drive / 'cameras'), wrong])
    (tmp_path / 'parameters.yaml').write_text(PARAMETERS)
    said = rf'points is sensor_msgs/msg/LaserScan, expected {CLOUD}: see lidar\.topic'
    with pytest.raises(SystemExit, match=said):
        main(given(tmp_path, tmp_path / 'out'))


def test_a_lidar_mounted_too_low_in_tf_has_the_wrong_scale(tmp_path, caplog):
    """The ground seems to lie half a metre under z = 0; the journal keeps what was said of it."""
    drive_with_clouds(tmp_path, street(-0.8))
    target = tmp_path / 'out.mcap'
    subprocess.run([sys.executable, '-c', KILLED, *given(tmp_path, target)], timeout=100)
    main(given(tmp_path, target))
    text = statuses(target)['CAM_FRONT'].message
    assert 'camera CAM_FRONT: measured depth has the wrong scale: it is 1.' in text
    assert 'camera CAM_FRONT: measured depth has the wrong scale' in caplog.text


@pytest.mark.parametrize('topic', ['', ' , ', '/a /a', '/a,/a'])
def test_lidar_topics_are_at_least_one_and_each_once(topic):
    with pytest.raises(ValueError, match=r'lidar\.topic must be at least one topic, each once'):
        read_settings({'depth_source': 'lidar', 'lidar.topic': topic})
    assert read_settings({'lidar.topic': topic}).lidar_topics == ()


def test_what_contradicts_a_lidar_is_refused():
    lidar = {'depth_source': 'lidar'}
    assert read_settings({**lidar, 'lidar.topic': '/a, /b  /c'}).lidar_topics == ('/a', '/b', '/c')
    with pytest.raises(ValueError, match=r"lidar\.topic: '/a-b' is no topic"):
        read_settings({**lidar, 'lidar.topic': '/a-b'})
    with pytest.raises(ValueError, match="'metric3d', but depth_source is lidar: leave one"):
        read_settings({**lidar, 'depth_network': 'metric3d'})
    with pytest.raises(ValueError, match=r'lidar\.max_age must be from'):
        read_settings({**lidar, 'lidar.max_age': 0.0})
