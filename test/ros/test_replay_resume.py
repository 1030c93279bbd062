"""gausstr-replay that is killed and started again, and bags in every storage."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from rosbags.rosbag2 import Reader

pytestmark = pytest.mark.ros
pytest.importorskip('rclpy')

from bag_files import START, messages_of, write_bag_of_drive
from bag_storages import STORAGES
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import OccupancyGrid
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image, PointCloud2

from gausstr_ros.replay import run
from gausstr_ros.replay.command import main
from gausstr_ros.replay.journal import Journal, StoredSet

FRAMES = 4
PARAMETERS = """\
/**:
  ros__parameters:
    preset: tiny
    weights: untrained
    threads: 1
    grid:
      range: [-20.0, -20.0, -1.0, 20.0, 20.0, 5.4]
"""
KINDS = {
    '/gausstr/voxels': PointCloud2,
    '/gausstr/occupancy_grid': OccupancyGrid,
    '/gausstr/CAM_BACK/semantics': Image,
}
# The process is killed when it begins with a set.
KILLED = """\
import os, signal, sys
from gausstr_ros.replay import run
from gausstr_ros.replay import run
from gausstr_ros.replay.command import main
see, calls = run.encode_set, []
def encode_set(*arguments, **options):
    calls.append(1)
    if len(calls) > {sets}:
        os.kill(os.getpid(), signal.SIGKILL)
    return see(*arguments, **options)
run.encode_set = encode_set
main(sys.argv[1:])
"""


@pytest.fixture(scope='module')
def drive(tmp_path_factory):
    folder = tmp_path_factory.mktemp('drive')
    (folder / 'parameters.yaml').write_text(PARAMETERS)
    write_bag_of_drive(folder / 'bag', FRAMES)
    main(arguments(folder, folder / 'whole.mcap'))
    return folder


def arguments(folder, target, bag='bag', parameters='parameters.yaml'):
    given = [str(folder / bag), str(target), '--params-file', str(folder / parameters)]
    return [*given, '--outputs', 'occupancy_grid', 'voxels', 'semantics', 'voxels']


def run_until_killed(given, sets):
    program = KILLED.format(sets=sets)
    command = [sys.executable, '-c', program, *given]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def results(path):
    """Inputs as they are and outputs decoded: the padding of a CDR message may hold anything."""
    with Reader(path) as reader:
        messages = [(c.topic, stamp, bytes(raw)) for c, stamp, raw in reader.messages()]
    inputs = [m for m in messages if not m[0].startswith(('/gausstr/', '/diagnostics'))]
    outputs = [
        (topic, stamp, deserialize_message(raw, KINDS[topic]))
        for topic, stamp, raw in messages
        if topic in KINDS
    ]
    report = deserialize_message(
        [raw for topic, _, raw in messages if topic == '/diagnostics'][-1], DiagnosticArray
    )
    values = {p.key: p.value for p in report.status[0].values if p.key.startswith('sets')}
    return inputs, outputs, values


class Mapped(list):
    """Stamps of the sets that are really mapped, not taken from a journal; may interrupt."""

    def __init__(self):
        self.encode = run.encode_set
        self.interrupt = None  # after how many more sets, and by which signal

    def encode_set(self, pipeline, images, *rest, **options):
        if self.interrupt is not None:
            left, number = self.interrupt
            if not left:
                self.interrupt = None
                os.kill(os.getpid(), number)
            else:
                self.interrupt = (left - 1, number)
        self.append(images.stamp)
        return self.encode(pipeline, images, *rest, **options)

    def run(self, given, sets, number=signal.SIGINT):
        """Start a replay that is interrupted when it begins with one more set than `sets`."""
        self.interrupt = (sets, number)
        with pytest.raises(SystemExit) as ended:
            main(given)
        return str(ended.value)


@pytest.fixture
def mapped(monkeypatch):
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # what a shell starts in the background, these tests for instance, ignores Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
    made = Mapped()
    monkeypatch.setattr(run, 'encode_set', made.encode_set)
    yield made
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_a_killed_run_goes_on_and_ends_with_the_same_bag(drive, mapped, tmp_path):
    target = tmp_path / 'out.mcap'
    done = run_until_killed(arguments(drive, target), 2)
    assert done.returncode == -signal.SIGKILL and not target.exists()
    main(arguments(drive, target))
    assert len(mapped) == FRAMES - 2
    clouds = [topic for topic, *_ in results(target)[1] if topic == '/gausstr/voxels']
    assert len(clouds) == FRAMES
    assert results(target) == results(drive / 'whole.mcap')
    assert [path.name for path in tmp_path.iterdir()] == ['out.mcap']


def test_an_interrupted_run_says_so_and_leaves_nothing_half_written(
    drive, mapped, tmp_path, caplog
):
    target = tmp_path / 'out'
    for number in (signal.SIGINT, signal.SIGTERM):
        said = mapped.run(arguments(drive, target), 1, number)
        assert said == 'gausstr-replay: interrupted; run it again to go on'
        (left,) = tmp_path.iterdir()
        assert left.name.startswith('.out.') and left.suffix == '.journal'
    assert 'going on: 1 sets are mapped already' in caplog.text
    main(arguments(drive, target))
    assert len(mapped) == FRAMES == len(set(mapped))
    assert results(target) == results(drive / 'whole.mcap')
    assert [path.name for path in tmp_path.iterdir()] == ['out']


def test_results_of_other_parameters_are_not_taken_and_not_lost(drive, mapped, tmp_path):
    target = tmp_path / 'out.mcap'
    mapped.run(arguments(drive, target), 3)
    (drive / 'other.yaml').write_text(PARAMETERS + '    map: {max_height: 1.0}\n')
    mapped.run(arguments(drive, target, parameters='other.yaml'), 1)
    assert mapped[3:] == mapped[:1]
    (drive / 'other.yaml').write_text(PARAMETERS + '    base_frame: chassis\n')
    with pytest.raises(SystemExit, match='no set could be mapped'):
        main(arguments(drive, target, parameters='other.yaml'))
    main(arguments(drive, target))
    assert len(mapped) == 3 + 1 + 1
    assert [path.name for path in tmp_path.iterdir()] == ['out.mcap']


def test_a_changed_bag_and_a_damaged_journal_start_afresh(drive, mapped, tmp_path):
    write_bag_of_drive(tmp_path / 'bag', 2)
    (tmp_path / 'parameters.yaml').write_text(PARAMETERS)
    target = tmp_path / 'out.mcap'
    mapped.run(arguments(tmp_path, target), 1)
    (tmp_path / 'bag' / 'bag.mcap').touch()
    mapped.run(arguments(tmp_path, target), 1)
    assert mapped[1:] == mapped[:1]
    journals = sorted(tmp_path.glob('.out.mcap.*.journal'))
    assert len(journals) == 2
    for journal in journals:
        journal.write_bytes(b'no database' * 1000)
    main(arguments(tmp_path, target))
    assert len(mapped) == 1 + 1 + 2


def test_a_target_whose_name_begins_alike_keeps_its_journal(drive, mapped, tmp_path):
    mapped.run(arguments(drive, tmp_path / 'out.mcap'), 1)
    main(arguments(drive, tmp_path / 'out'))
    main(arguments(drive, tmp_path / 'out.mcap'))
    assert len(mapped) == 1 + FRAMES + FRAMES - 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ['out', 'out.mcap']


def test_two_at_once_are_refused(tmp_path):
    target = tmp_path / 'out.mcap'
    with Journal(target, 'f' * 64) as journal:
        journal.add(0, START, StoredSet({'voxels': 0.1}, [('voxels', b'data')]))
        assert journal.find(0, START) == StoredSet({'voxels': 0.1}, [('voxels', b'data')])
        assert journal.find(0, START + 1) is None and journal.find(1, START) is None
        with pytest.raises(OSError, match=r'out\.mcap.*: database is locked'):
            Journal(target, 'f' * 64).__enter__()
        assert len(journal) == 1


@pytest.mark.parametrize('storage', STORAGES)
def test_every_storage_gives_the_same_map(drive, tmp_path, storage):
    bag = STORAGES[storage](tmp_path / 'bag', messages_of(drive / 'bag'))
    target = tmp_path / 'out.mcap'
    main(arguments(drive, target, bag=bag))
    assert results(target) == results(drive / 'whole.mcap')


def test_activation_needs_its_category(drive, tmp_path):
    given = arguments(drive, tmp_path / 'out')
    with pytest.raises(SystemExit, match='set the parameter activation_category'):
        main([*given, 'activation'])


def test_the_first_set_has_as_many_threads_as_the_next(tmp_path):
    """numba's start set OpenMP's number of threads, and with it torch's, to that of the cores."""
    program = """
import torch
from gausstr_ros.cycle.build import build_pipeline, warm_up
from gausstr_ros.settings.settings import read_settings
settings = read_settings({'preset': 'tiny', 'weights': 'untrained', 'threads': 1})
pipeline = build_pipeline(settings)
before = torch.get_num_threads()
warm_up(pipeline, settings, pipeline.load_vocabulary(None))
print(before, torch.get_num_threads())
"""
    environment = os.environ | {'NUMBA_NUM_THREADS': '2'}
    command = [sys.executable, '-c', program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.stdout.split() == ['1', '1'], done.stderr
