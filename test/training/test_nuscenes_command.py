"""gausstr-nuscenes-to-rosbag: scenes in processes, resumed, repaired; errors that name files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from gausstr_training.nuscenes_to_rosbag import LOCK, main

SCENES = ('scene-0001', 'scene-0002')
BAG = ('scene-0002.mcap', 'metadata.yaml')
LATER = 10_000_000  # us: after the end of the scene
PATIENCE = 120  # seconds, of a busy machine
MANY = 10_000  # images in the long scene: enough that a signal comes before the end


@pytest.fixture(scope='module')
def serial(nuscenes_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp('serial') / 'bags'
    main([str(nuscenes_tree), '--output', str(output), '--workers', '1'])
    return output


@pytest.fixture
def bags(serial: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(serial, tmp_path / 'bags'))


@pytest.fixture
def tree(nuscenes_tree: Path, tmp_path: Path) -> Path:
    """A copy that may be spoilt."""
    return Path(shutil.copytree(nuscenes_tree, tmp_path / 'tree'))


def run(tree: Path, output: Path, *options: str) -> None:
    main([str(tree), '--output', str(output), '--workers', '1', *options])


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file() and path.name != LOCK
    }


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def lengthen(tree: Path) -> None:
    """Give the first scene many more images, all of one file."""
    for name in ('sample_data', 'ego_pose'):
        path = tree / 'v1.0-mini' / f'{name}.json'
        rows = json.loads(path.read_text())
        model = rows[1]  # the first camera's; row 0 is the radar's
        for number in range(1, MANY):
            token = f'{model["token"]}{number}'
            own = {'token': token, 'timestamp': model['timestamp'] + LATER + number}
            rows.append({**model, **own, 'ego_pose_token': token})
        path.write_text(json.dumps(rows))


def test_processes_write_the_same_bytes_as_one(nuscenes_tree, serial, tmp_path):
    main([str(nuscenes_tree), '--output', str(tmp_path / 'bags'), '--workers', '2'])
    assert content(tmp_path / 'bags') == content(serial)
    assert sorted(content(serial)) == sorted(
        f'{scene}/{name}'
        for scene in SCENES
        for name in ('metadata.yaml', f'{scene}.mcap', 'conversion.json')
    )


def test_what_is_complete_is_left_alone(nuscenes_tree, bags, capsys):
    before = {path: path.stat().st_mtime_ns for path in bags.glob('*/*')}
    run(nuscenes_tree, bags)
    assert {path: path.stat().st_mtime_ns for path in bags.glob('*/*')} == before
    assert '0 scene(s) converted, 2 complete' in capsys.readouterr().out


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ('name', 'damage'),
    [
        *((name, how) for name in BAG for how in (flip, halve, Path.unlink)),
        ('conversion.json', halve),
    ],
)
def test_a_damaged_bag_is_converted_again(nuscenes_tree, serial, bags, capsys, name, damage):
    path = bags / 'scene-0002' / name
    damage(path)
    kept = (bags / 'scene-0001' / 'scene-0001.mcap').stat().st_mtime_ns
    run(nuscenes_tree, bags)
    said = capsys.readouterr().out
    assert f'scene-0002: {path} ' in said
    assert '1 scene(s) converted, 1 complete' in said
    assert (bags / 'scene-0001' / 'scene-0001.mcap').stat().st_mtime_ns == kept
    assert content(bags) == content(serial)


def test_a_bag_of_another_kind_is_not_replaced_unasked(nuscenes_tree, serial, bags):
    with pytest.raises(SystemExit, match=r'scene-0001 was made .*--keyframes-only.*--overwrite'):
        run(nuscenes_tree, bags, '--keyframes-only')
    assert content(bags) == content(serial)
    run(nuscenes_tree, bags, '--keyframes-only', '--overwrite')
    size = (bags / 'scene-0001' / 'scene-0001.mcap').stat().st_size
    assert size < 0.6 * (serial / 'scene-0001' / 'scene-0001.mcap').stat().st_size
    assert not list(bags.glob('.*.part'))


def test_what_is_not_ours_is_not_replaced_unasked(nuscenes_tree, serial, tmp_path):
    mine = tmp_path / 'bags' / 'scene-0001'
    mine.mkdir(parents=True)
    (mine / 'notes.txt').write_text('mine')
    with pytest.raises(SystemExit, match=r'1 of 2 scene.*\n.*scene-0001 is in the way'):
        run(nuscenes_tree, tmp_path / 'bags')
    assert (mine / 'notes.txt').read_text() == 'mine'
    assert content(tmp_path / 'bags' / 'scene-0002') == content(serial / 'scene-0002')
    run(nuscenes_tree, tmp_path / 'bags', '--overwrite', '--scenes', 'scene-0001')
    assert content(tmp_path / 'bags') == content(serial)


@pytest.mark.parametrize('workers', ['1', '2'])
def test_a_missing_file_is_named_and_the_other_scenes_are_converted(
    tree, serial, tmp_path, workers
):
    path = next((tree / 'sweeps' / 'CAM_BACK').glob('scene-0001*'))
    data = path.read_bytes()
    path.unlink()
    output = tmp_path / 'bags'
    with pytest.raises(SystemExit) as refused:
        run(tree, output, '--workers', workers)
    assert str(path) in str(refused.value)
    assert 'is missing' in str(refused.value)
    assert '1 of 2 scene(s) were not converted' in str(refused.value)
    assert names(output) == [LOCK, 'scene-0002']
    path.write_bytes(data)
    run(tree, output)
    assert content(output) == content(serial)


@pytest.mark.parametrize(
    ('kind', 'damage', 'expected'),
    [
        ('CAM_FRONT', halve, 'cut short'),
        ('CAM_FRONT', lambda path: path.write_bytes(b''), 'expected a JPEG'),
        ('CAM_FRONT', lambda path: path.write_text('<html>'), 'expected a JPEG'),
        ('LIDAR_TOP', lambda path: path.write_bytes(b''), 'expected points of 20 bytes'),
        ('LIDAR_TOP', lambda path: os.truncate(path, 30), 'expected points of 20 bytes'),
    ],
)
def test_a_broken_sensor_file_is_named(tree, tmp_path, kind, damage, expected):
    path = next((tree / 'samples' / kind).glob('scene-0002*'))
    damage(path)
    with pytest.raises(SystemExit, match=expected) as refused:
        run(tree, tmp_path / 'bags', '--scenes', 'scene-0002')
    assert str(path) in str(refused.value)
    assert names(tmp_path / 'bags') == [LOCK]


def test_two_commands_do_not_write_to_one_folder(nuscenes_tree, bags):
    with (
        FileLock(bags / LOCK),
        pytest.raises(SystemExit, match='another process is writing bags to'),
    ):
        run(nuscenes_tree, bags)


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (['--version', 'v1.0-test'], r'expected a folder v1\.0-test, found v1\.0-mini'),
        (['--scenes', 'scene-0003'], 'no scene scene-0003; it has scene-0001, scene-0002'),
    ],
)
def test_wrong_options_are_named(nuscenes_tree, tmp_path, options, expected):
    with pytest.raises(SystemExit, match=f'^gausstr-nuscenes-to-rosbag: .*{expected}'):
        run(nuscenes_tree, tmp_path / 'bags', *options)
    assert not (tmp_path / 'bags').exists()


def test_scenes_may_be_listed_in_a_file(nuscenes_tree, serial, tmp_path):
    listed = tmp_path / 'scenes.txt'
    listed.write_text('scene-0002\n')
    run(nuscenes_tree, tmp_path / 'bags', '--scenes', f'@{listed}')
    assert names(tmp_path / 'bags') == [LOCK, 'scene-0002']


def test_workers_do_without_torch():
    """It would cost every one of them half a gigabyte and seconds to start."""
    code = 'import sys, gausstr_training.nuscenes_to_rosbag; sys.exit("torch" in sys.modules)'
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, '-c', code], env=environment, check=True)


def test_help_has_an_example(capsys):
    with pytest.raises(SystemExit) as done:
        main(['--help'])
    assert done.value.code == 0
    assert 'gausstr-nuscenes-to-rosbag /data/nuscenes --version' in capsys.readouterr().out


def wait_until(true, process) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end and process.poll() is None, process.stderr.read()
        time.sleep(0.005)


def processes_of(group: int) -> list[int]:
    """Processes of a session that have not ended."""
    found = []
    for path in Path('/proc').glob('[0-9]*/stat'):
        try:
            state, _, _, session = path.read_text().rpartition(')')[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(session) == group and state != 'Z':
            found.append(int(path.parent.name))
    return found


@pytest.fixture(scope='module')
def long(nuscenes_tree, tmp_path_factory) -> tuple[Path, dict[str, bytes]]:
    """A tree whose first scene takes a while, and what its bags hold."""
    folder = tmp_path_factory.mktemp('long')
    shutil.copytree(nuscenes_tree, folder / 'tree')
    lengthen(folder / 'tree')
    run(folder / 'tree', folder / 'bags')
    return folder / 'tree', content(folder / 'bags')


def begin(tree: Path, output: Path, workers: str) -> subprocess.Popen:
    """Start the command, in a session of its own, and wait until it writes the long scene."""
    command = [sys.executable, '-m', 'gausstr_training.nuscenes_to_rosbag', str(tree)]
    process = subprocess.Popen(
        [*command, '--output', str(output), '--workers', workers],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
        # what a shell starts in the background, these tests for instance, ignores Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    wait_until((output / '.scene-0001.part').exists, process)
    return process


def finish(process: subprocess.Popen) -> str:
    """Wait until no process of it is left; what it said."""
    _, said = process.communicate(timeout=PATIENCE)
    end = time.monotonic() + PATIENCE
    while processes_of(process.pid):
        assert time.monotonic() < end
        time.sleep(0.01)
    return said


@pytest.mark.parametrize(
    ('ending', 'workers'), [(signal.SIGKILL, '2'), (signal.SIGINT, '2'), (signal.SIGINT, '1')]
)
def test_it_goes_on_after_it_was_ended(long, tmp_path, ending, workers):
    tree, expected = long
    output = tmp_path / 'bags'
    process = begin(tree, output, workers)
    if ending == signal.SIGKILL:
        process.kill()  # alone: its workers must notice by themselves
    else:
        os.killpg(process.pid, ending)  # as a terminal does
    said = finish(process)
    assert not (output / 'scene-0001').exists()
    if ending == signal.SIGINT:
        assert process.returncode == 1
        assert 'interrupted; run it again to go on' in said and 'Traceback' not in said
        assert '.scene-0001.part' not in names(output)
    run(tree, output)
    assert content(output) == expected
    assert '.scene-0001.part' not in names(output)


def test_a_killed_worker_is_said(long, tmp_path):
    tree, expected = long
    output = tmp_path / 'bags'
    process = begin(tree, output, '2')
    for worker in processes_of(process.pid):
        if b'spawn_main' in Path(f'/proc/{worker}/cmdline').read_bytes():
            os.kill(worker, signal.SIGKILL)
    said = finish(process)
    assert process.returncode == 1
    assert 'gausstr-nuscenes-to-rosbag: a worker process was killed' in said
    assert 'Traceback' not in said
    run(tree, output)
    assert content(output) == expected
