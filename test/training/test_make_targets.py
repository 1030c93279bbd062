"""gausstr-make-targets: the same files whoever works, and whoever dies at it."""

from __future__ import annotations

import errno
import os
import pickle
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bag_files import START, messages_of, write_bag, write_bag_of_drive
from lethal_frames import Killer, LethalFrames

from gausstr_training.bags import dataset
from gausstr_training.bags.dataset import open_frames
from gausstr_training.bags.sets import BagSettings
from gausstr_training.make_targets import main
from gausstr_training.targets import cluster, processes
from gausstr_training.targets.filling import FillSpec, Outcome
from gausstr_training.targets.networks import TeacherSpec

BAGS, FRAMES = 2, 3  # three frames to a bag
TEACHER = ('--teacher', 'tiny', '--weights', 'untrained')


@pytest.fixture(scope='module', autouse=True)
def _index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('GAUSSTR_CACHE', str(tmp_path_factory.mktemp('index')))
        yield


@pytest.fixture(scope='module')
def bags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('bags')
    for seed in range(BAGS):
        write_bag_of_drive(folder / f'drive_{seed}', FRAMES, seed)
    return folder


@pytest.fixture(scope='module')
def reference(bags: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes, by the command."""
    cache = tmp_path_factory.mktemp('reference')
    main([*TEACHER, '--data', str(bags), '--cache', str(cache)])
    found = contents(cache)
    assert len(found) == BAGS * FRAMES + 1  # and the teacher's card
    return found


@pytest.fixture
def command(bags: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the command on the bags into `tmp_path`; returns what it prints."""

    def run(*arguments: str, data: Path = bags) -> str:
        main([*TEACHER, '--data', str(data), '--cache', str(tmp_path), *arguments])
        output = capsys.readouterr()
        return output.out + output.err

    return run


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob('*') if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def lethal(bags: Path, tmp_path: Path, deaths: int = 1) -> tuple[LethalFrames, FillSpec]:
    """Frames of which one has to be killed for, and the work on them."""
    victims = tmp_path / 'victims'
    victims.mkdir()
    frames = LethalFrames(
        open_frames([bags], BagSettings(period=0.4)), victims, lethal=2, deaths=deaths
    )
    teacher = TeacherSpec('tiny', weights='untrained')
    return frames, FillSpec(frames, teacher, tmp_path / 'cache')


def assert_all_made(outcomes: list[Outcome], frames: LethalFrames) -> None:
    assert sorted(outcome.key for outcome in outcomes) == sorted(frames.keys)
    # a frame that was lost after it was written is found when its turn comes again
    assert {outcome.how for outcome in outcomes} <= {'made', 'kept'}, outcomes
    assert next(outcome.how for outcome in outcomes if outcome.index == frames.lethal) == 'made'


def alive(process: int) -> bool:
    """Whether it runs: what was killed stays listed until somebody takes note."""
    try:
        return Path(f'/proc/{process}/stat').read_text().rsplit(')', 1)[1].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(0.02)


def test_it_goes_on_where_it_stopped(
    command: Callable[..., str], tmp_path: Path, reference: dict[str, bytes]
):
    """GaussTR 5, 10, 13, 14, 36: terabytes of precomputed files; here a small cache."""
    said = command()
    assert re.search(r'6 made; \d\.\d\d MB to a frame, loss of cosine 0\.000\d\d', said)
    assert 'error of depth at most 0.051%' in said
    assert contents(tmp_path) == reference
    gone, bad, *_ = sorted(tmp_path.rglob('*.targets'))
    gone.unlink()
    bad.write_bytes(bad.read_bytes()[:-1])
    said = command()
    assert '4 kept, 1 made, 1 made again;' in said
    assert f'{bad} is damaged: the checksum does not agree' in said
    assert contents(tmp_path) == reference
    assert '6 kept;' in command('--verify')


def test_changed_images_are_found_when_asked_for(command: Callable[..., str], tmp_path: Path):
    data = tmp_path / 'data'
    write_bag_of_drive(data / 'drive', 2, seed=0)
    assert '2 made;' in command(data=data)
    messages = messages_of(data / 'drive')
    first, second = (m for m in messages if m.topic == '/CAM_BACK/image_raw/compressed')
    first.message.data = second.message.data
    shutil.rmtree(data / 'drive')
    write_bag(data / 'drive', messages)
    assert '2 kept;' in command(data=data)
    said = command('--verify', data=data)
    assert '1 kept, 1 made again;' in said and 'has other images' in said


def test_a_frame_that_cannot_be_read_does_not_stop_the_others(
    command: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    data = tmp_path / 'data'
    write_bag_of_drive(tmp_path / '.good', 3)
    messages = messages_of(tmp_path / '.good')
    image = next(m for m in messages if m.topic == '/CAM_BACK/image_raw/compressed')
    image.message.data = np.zeros(10, np.uint8)
    write_bag(data / 'drive', messages)
    with pytest.raises(SystemExit, match=r'gausstr-make-targets: 1 frames failed:\n.*CAM_BACK'):
        command(data=data)
    assert '1 failed, 2 made;' in capsys.readouterr().out


def test_a_disk_that_fails_at_one_frame_does_not_stop_the_others(
    command: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    write_bag_of_drive(tmp_path / 'data' / 'drive', 3)
    whole = dataset.read_frame

    def failing(bag, row):
        if row == 1:
            raise OSError(errno.EIO, 'Input/output error', str(bag.path))
        return whole(bag, row)

    monkeypatch.setattr(dataset, 'read_frame', failing)
    with pytest.raises(SystemExit, match=r'1 frames failed:\n.*Input/output error'):
        command(data=tmp_path / 'data')
    assert '1 failed, 2 made;' in capsys.readouterr().out


def test_label_maps_are_stored_with_the_frames(
    command: Callable[..., str], tmp_path: Path, bags: Path
):
    frames, labels = open_frames([bags], BagSettings(period=0.4)), tmp_path / 'labels'
    labels.mkdir()
    for frame in (frames[index] for index in range(len(frames))):
        for name, stamp in zip(frame.rig.names, frame.image_stamps, strict=True):
            np.save(labels / f'{name}__{stamp // 1000}.npy', np.full((36, 64), 7, np.uint8))
    assert '6 made;' in command('--cameras', 'CAM_FRONT', 'CAM_BACK')
    said = command('--cameras', 'CAM_FRONT', 'CAM_BACK', '--masks', str(labels))
    assert '6 made again;' in said and 'no masks' in said


def test_two_processes_make_the_same_files_though_one_is_killed(
    bags: Path, tmp_path: Path, reference: dict[str, bytes]
):
    frames, spec = lethal(bags, tmp_path)
    with Killer(frames) as killer:
        outcomes = list(processes.fill(spec, range(len(frames.keys)), 2))
    assert len(killer.killed) == 1
    assert_all_made(outcomes, frames)
    assert contents(spec.root) == reference


def test_a_killed_command_leaves_no_workers_and_goes_on(
    bags: Path, tmp_path: Path, reference: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(sys.path))
    frames, spec = lethal(bags, tmp_path)
    (tmp_path / 'spec').write_bytes(pickle.dumps(spec))
    code = (
        'import pickle, sys; from gausstr_training.targets import processes\n'
        'if __name__ == "__main__":\n'
        '    spec = pickle.load(open(sys.argv[1], "rb"))\n'
        '    list(processes.fill(spec, range(len(spec.frames.keys)), 2))\n'
    )
    (tmp_path / 'fill.py').write_text(code)
    command = subprocess.Popen([sys.executable, tmp_path / 'fill.py', tmp_path / 'spec'])
    wait_until(lambda: frames.victims() or command.poll() is not None)
    command.kill()  # while a worker waits in a frame
    command.wait()
    (worker,) = frames.victims()
    wait_until(lambda: not alive(worker))
    outcomes = list(processes.fill(spec, range(len(frames.keys)), 1))
    assert_all_made(outcomes, frames)
    assert contents(spec.root) == reference


@pytest.mark.slow
def test_a_frame_that_kills_every_worker_is_given_up(bags: Path, tmp_path: Path):
    frames, spec = lethal(bags, tmp_path, deaths=100)
    with Killer(frames) as killer:
        outcomes = list(processes.fill(spec, [frames.lethal, 0, 1], 2))
    assert len(killer.killed) >= processes.MOST_DEATHS
    by_index = {outcome.index: outcome for outcome in outcomes}
    assert by_index[0].how == by_index[1].how == 'made'
    assert by_index[frames.lethal].how == 'failed' and 'died' in by_index[frames.lethal].note


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_ray_makes_the_same_files_though_a_worker_is_killed(
    bags: Path, tmp_path: Path, reference: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip('ray')
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(sys.path))  # of the workers
    frames, spec = lethal(bags, tmp_path)
    with Killer(frames) as killer:
        outcomes = list(cluster.fill(spec, range(len(frames.keys)), workers=2))
    assert len(killer.killed) == 1
    assert_all_made(outcomes, frames)
    assert len({outcome.worker for outcome in outcomes}) >= 2
    assert contents(spec.root) == reference


@pytest.mark.parametrize(('nodes', 'threads', 'gpus'), [
    ([{'CPU': 3.0}, {'CPU': 3.0}], 4, 0),  # six together, but no machine has four
    ([{'CPU': 64.0}], 4, 0.5),
    ([{'CPU': 64.0, 'GPU': 1.0}], 4, 2),
    ([], 1, 0),
])  # fmt: skip
def test_a_cluster_without_room_for_a_worker_is_told(
    bags: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    nodes: list[dict], threads: int, gpus: float,
):  # fmt: skip
    """To wait for such a worker would be to wait for ever; of Ray only the answers are needed."""
    alive = [{'Alive': True, 'Resources': resources} for resources in nodes]
    gone = {'Alive': False, 'Resources': {'CPU': 99.0, 'GPU': 9.0}}
    connected: list[bool] = []
    fake = SimpleNamespace(
        init=lambda **_: connected.append(True),
        nodes=lambda: [*alive, gone],
        cluster_resources=lambda: {},
        shutdown=connected.clear,
    )
    monkeypatch.setitem(sys.modules, 'ray', fake)
    spec = replace(lethal(bags, tmp_path)[1], threads=threads)
    with pytest.raises(ValueError, match=f'a worker takes {threads} CPUs and {gpus:g} GPUs'):
        list(cluster.fill(spec, [0], gpus=gpus))
    assert not connected


@pytest.mark.parametrize(('arguments', 'message'), [
    (('--weights', 'no.safetensors'), 'no.safetensors'),
    (('--folder', 'x'), 'tiny needs no published files'),
    (('--data', 'nowhere'), 'nowhere does not exist'),
    (('--masks', 'nowhere'), 'nowhere holds no label map'),
    (('--cameras', 'CAM_X'), 'CAM_X'),
    (('--device', 'gpu'), '--device: '),
    (('--device', 'cuda:1', '--ray-address'), '--device must be cpu or cuda on Ray'),
    (('--ray-address', '127.0.0.1:1'), "there is no Ray cluster at '127.0.0.1:1'"),
    (('--ray-address', 'nonsense'), "there is no Ray cluster at 'nonsense'"),
])  # fmt: skip
def test_mistakes_are_told_without_a_traceback(
    command: Callable[..., str], arguments: tuple[str, ...], message: str
):
    if 'Ray cluster' in message:
        pytest.importorskip('ray')
    with pytest.raises(SystemExit, match=f'^gausstr-make-targets: .*{re.escape(message)}'):
        command(*arguments)


def test_what_to_install_for_a_cluster(
    command: Callable[..., str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(SystemExit, match=re.escape("pip install 'gausstr_ros[cluster]'")):
        command('--ray-address')


def test_keyframes_are_taken_where_a_bag_names_them(bags: Path):
    frames = open_frames([bags], BagSettings(period=0.9))
    assert len(frames) == BAGS * 2  # of three frames 0.5 s apart, the first and the last
    assert all(int(key.split('/')[1]) >= START for key in frames.keys)
