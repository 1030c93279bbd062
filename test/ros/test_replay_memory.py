"""gausstr-replay with a memory: the same bits in every run, interrupted or not."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip('rclpy')

from bag_files import write_bag_of_drive
from rclpy.serialization import deserialize_message
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import PointCloud2
from sensor_msgs_py.point_cloud2 import read_points

from gausstr_ros.replay import run
from gausstr_ros.replay.command import main

FRAMES = 4
PARAMETERS = """\
/**:
  ros__parameters:
    preset: tiny
    weights: untrained
    threads: 1
    map.occupied_threshold: 0.01
    grid:
      range: [-20.0, -20.0, -1.0, 20.0, 20.0, 5.4]
"""
# words of the shipped vocabulary that can move are remembered as well
MEMORY = '    memory: {seconds: 5.0, movable_seconds: 5.0}\n'


@pytest.fixture(scope='module')
def drive(tmp_path_factory):
    folder = tmp_path_factory.mktemp('drive')
    (folder / 'off.yaml').write_text(PARAMETERS)
    (folder / 'on.yaml').write_text(PARAMETERS + MEMORY)
    write_bag_of_drive(folder / 'bag', FRAMES)
    main(arguments(folder, folder / 'whole.mcap'))
    return folder


def arguments(folder, target, parameters='on.yaml'):
    given = [str(folder / 'bag'), str(target), '--params-file', str(folder / parameters)]
    return [*given, '--outputs', 'occupancy_grid', 'voxels']


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def clouds(path):
    with Reader(path) as reader:
        found = [
            deserialize_message(bytes(raw), PointCloud2)
            for c, _, raw in reader.messages()
            if c.topic == '/gausstr/voxels'
        ]
    return [read_points(cloud) for cloud in found]


@pytest.fixture
def interrupted(monkeypatch):
    """interrupted(given, n): a run that is stopped as it begins with set n; what it mapped."""
    before, encode, left, mapped = signal.getsignal(signal.SIGINT), run.encode_set, [], []
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def encode_set(pipeline, images, *rest, **options):
        if left == [len(mapped)]:
            os.kill(os.getpid(), signal.SIGINT)
        mapped.append(images.stamp)
        return encode(pipeline, images, *rest, **options)

    def stop(given, sets):
        left[:] = [sets]
        with pytest.raises(SystemExit, match='interrupted'):
            main(given)
        left.clear()
        return mapped

    monkeypatch.setattr(run, 'encode_set', encode_set)
    yield stop
    signal.signal(signal.SIGINT, before)


def test_two_runs_give_the_same_bits_and_the_first_map_is_that_without_a_memory(drive, tmp_path):
    again, without = tmp_path / 'again.mcap', tmp_path / 'without.mcap'
    main(arguments(drive, again))
    assert digest(again) == digest(drive / 'whole.mcap')
    main(arguments(drive, without, 'off.yaml'))
    ours, others = clouds(again), clouds(without)
    names = list(others[0].dtype.names)
    assert np.array_equal(ours[0][names], others[0]) and not ours[0]['age'].any()
    assert all((cloud['age'] > 0).any() for cloud in ours[1:])
    assert 'age' not in names


@pytest.mark.parametrize(('every', 'again'), [(0.0, FRAMES - 2), (1e9, FRAMES)])
def test_an_interrupted_run_goes_on_with_the_same_bits(
    drive, tmp_path, interrupted, monkeypatch, every, again
):
    """Where nothing was written down yet, all is mapped again."""
    monkeypatch.setattr(run, 'KEEP_EVERY', every)
    target = tmp_path / 'out.mcap'
    mapped = interrupted(arguments(drive, target), 2)
    assert len(mapped) == 2
    main(arguments(drive, target))
    assert len(mapped) == 2 + again
    assert digest(target) == digest(drive / 'whole.mcap')
    assert [path.name for path in tmp_path.iterdir()] == ['out.mcap']


def test_a_damaged_memory_in_the_journal_is_begun_anew(
    drive, tmp_path, interrupted, monkeypatch, caplog
):
    monkeypatch.setattr(run, 'KEEP_EVERY', 0.0)
    target = tmp_path / 'out.mcap'
    mapped = interrupted(arguments(drive, target), 2)
    (journal,) = tmp_path.iterdir()
    with sqlite3.connect(journal) as database:
        database.execute("update memory set arrays = x'504b0304'")
    database.close()
    main(arguments(drive, target))
    assert 'damaged memory' in caplog.text and len(mapped) == 2 + FRAMES
    assert digest(target) == digest(drive / 'whole.mcap')
