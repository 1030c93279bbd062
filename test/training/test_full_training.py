"""The full-size recipe, small: it trains end to end, stops and goes on exactly, and complains."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import small_training
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gausstr_core.presets import assemble
from gausstr_core.transformer.checkpoints import checkpoint
from gausstr_training import make_targets, train
from gausstr_training.bags.dataset import open_frames
from gausstr_training.bags.sets import BagSettings
from gausstr_training.engine.checkpoints import read
from gausstr_training.full.job import FullJob, Sources
from gausstr_training.recipes import read_recipe


@pytest.fixture(scope='module')
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_training.write_sources(tmp_path_factory.mktemp('sources'))


@pytest.fixture(scope='module')
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_training.write_recipe(tmp_path_factory.mktemp('recipe') / 'small.yaml', ema=0.9)


@pytest.fixture(scope='module')
def finished(sources: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run, with validation."""
    output = tmp_path_factory.mktemp('run')
    train.main(run_arguments(sources, recipe, output))
    return output


def run_arguments(sources: Path, recipe: Path, output: Path) -> list[str]:
    arguments = small_training.arguments(sources, recipe, output)
    return [*arguments, '--validation', str(sources / 'bags' / 'drive1')]


def curve(output: Path, name: str = 'loss') -> list[tuple[int, float]]:
    events = EventAccumulator(str(output / 'curves' / 'splatting')).Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def start(arguments: list[str], processes: int = 1) -> subprocess.Popen:
    command = [*small_training.launcher(processes), '-m', 'gausstr_training.train', *arguments]
    return subprocess.Popen(
        command, env=small_training.environment(), stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def children(process: int) -> list[int]:
    """Its children and theirs, whatever their process group."""
    found = []
    for folder in Path('/proc').glob('[0-9]*'):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if int((folder / 'stat').read_text().rpartition(')')[2].split()[1]) == process:
                found += [int(folder.name), *children(int(folder.name))]
    return found


def wait_for(process: subprocess.Popen, pattern: str) -> str:
    """Read the progress on stderr until it shows the pattern."""
    seen = ''
    while not re.search(pattern, seen):
        piece = os.read(process.stderr.fileno(), 4096).decode(errors='replace')
        assert piece, f'ended early: {seen[-2000:]}'
        seen += piece
    return seen


def test_weights_card_curves_and_pictures(finished: Path, sources: Path) -> None:
    assert [step for step, _ in curve(finished)] == [0, 1, 2, 3]
    assert [step for step, _ in curve(finished, 'validation/loss')] == [1, 3]
    for name in ('cosine/2', 'depth/0', 'mae/1', 'norm', 'learning_rate', 'validation/depth/2'):
        assert curve(finished, name), name
    events = EventAccumulator(str(finished / 'curves' / 'splatting')).Reload()
    assert set(events.Tags()['images']) == {'features', 'depth'}
    card = json.loads((finished / 'talk2dino.json').read_text())
    assert card['recipe'] == 'small' and card['data'] == {'frames': 4, 'bags': 2}
    assert card['steps'] == {'splatting': 4} and card['precision'] == 'fp32'
    kept = sorted(path.name for path in (finished / 'checkpoints').iterdir())
    assert kept == ['0-splatting-00000002.pt', '0-splatting-00000004.pt']
    saved = checkpoint.load(finished / 'talk2dino.safetensors')
    assert saved.config.queries == 12
    assert saved.trained_on == checkpoint.TrainedOn('talk2dino', (28, 56), 'metric3d')


def test_weights_run_in_the_pipeline(finished: Path, sources: Path, tmp_path: Path) -> None:
    """GaussTR 5, 10, 13: inference runs from images alone, its depth network included."""
    import foundation_files

    folder = tmp_path / 'all'
    (folder).mkdir()
    for path in (sources / 'weights').iterdir():
        (folder / path.name).symlink_to(path)
    foundation_files.write_talk2dino(folder)
    found = assemble('talk2dino', finished / 'talk2dino.safetensors', folder)
    assert found.model.transformer.config.queries == 12
    assert found.model.foundation.input_size == (28, 56)


def test_killed_run_goes_on_exactly(
    finished: Path, sources: Path, recipe: Path, tmp_path: Path
) -> None:
    """kill -9 after the first checkpoint: same curve, same weights, bit for bit."""
    arguments = run_arguments(sources, recipe, tmp_path)
    process = start(arguments)
    first = tmp_path / 'checkpoints' / '0-splatting-00000002.pt'
    while not first.exists():
        assert process.poll() is None, process.stderr.read()[-2000:]
        time.sleep(0.002)
    process.kill()
    process.wait()
    process.stderr.close()
    assert not (tmp_path / 'talk2dino.safetensors').exists(), 'it was over before it was killed'
    train.main(arguments)
    assert curve(tmp_path) == curve(finished)
    assert curve(tmp_path, 'validation/loss') == curve(finished, 'validation/loss')
    one, two = (checkpoint.load(run / 'talk2dino.safetensors') for run in (finished, tmp_path))
    for name, value in one.state.items():
        assert torch.equal(value, two.state[name]), name


@pytest.mark.parametrize(
    ('processes', 'number', 'everybody'),
    [
        (1, signal.SIGTERM, False),
        (1, signal.SIGINT, True),  # as a terminal does: the workers get it too
        pytest.param(2, signal.SIGTERM, False, marks=pytest.mark.slow),
        # as a scheduler does: torchrun's agent signals the processes as well
        pytest.param(2, signal.SIGTERM, True, marks=pytest.mark.slow),
    ],
)
def test_signal_saves_and_stops(
    processes: int, number: signal.Signals, everybody: bool, sources: Path, tmp_path: Path
) -> None:
    recipe = small_training.write_recipe(
        tmp_path / 'long.yaml', checkpoint_every=10**6, stage={'steps': 10**6},
        validate_every=10**6, picture_every=10**6,
    )  # fmt: skip
    run = tmp_path / 'run'
    workers = '1' if number == signal.SIGINT else '0'
    arguments = [*small_training.arguments(sources, recipe, run), '--workers', workers]
    process = start(arguments, processes)
    wait_for(process, r'\| [1-9]\d*/1000000')
    others = children(process.pid) if everybody else []
    for each in (process.pid, *others):
        os.kill(each, number)
    _, told = process.communicate(timeout=240)
    assert process.returncode != 0
    if processes == 1:
        assert 'gausstr-train: interrupted' in told and 'Traceback' not in told
    (saved,) = (run / 'checkpoints').iterdir()
    newest = read(saved)
    assert newest.step >= 1 and saved.name == f'0-splatting-{newest.step:08d}.pt'


def test_fewer_than_two_checkpoints_may_be_kept(sources: Path, tmp_path: Path) -> None:
    recipe = small_training.write_recipe(
        tmp_path / 'small.yaml', keep=1, checkpoint_every=1, validate_every=100, picture_every=100,
        stage={'steps': 3},
    )  # fmt: skip
    train.main(small_training.arguments(sources, recipe, tmp_path / 'run'))
    kept = [path.name for path in (tmp_path / 'run' / 'checkpoints').iterdir()]
    assert kept == ['0-splatting-00000003.pt']


def test_another_recipe_or_other_data_is_refused(
    finished: Path, sources: Path, recipe: Path, tmp_path: Path
) -> None:
    changed = small_training.write_recipe(tmp_path / 'small.yaml', ema=0.9, seed=1)
    with pytest.raises(SystemExit, match='seed was 0, is 1; give another --output'):
        train.main(small_training.arguments(sources, changed, finished))
    arguments = small_training.arguments(sources, recipe, finished)
    fewer = [*arguments]
    fewer[fewer.index(str(sources / 'bags'))] = str(sources / 'bags' / 'drive0')
    with pytest.raises(SystemExit, match='other data or networks: frames was 4, is 2; bags was 2'):
        train.main(fewer)
    with pytest.raises(SystemExit, match="precision was 'fp32', is 'bf16'; give another"):
        train.main([*arguments, '--precision', 'bf16'])
    cache = str(tmp_path / 'targets')
    with pytest.raises(SystemExit, match="targets was 'from networks', is 'from a cache'"):
        train.main([*arguments, '--targets', cache])


def test_other_frames_in_the_same_number_are_other_data(
    finished: Path, sources: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Resume knew them by their number only; where the bags lie makes no difference."""
    shutil.copytree(finished, tmp_path / 'run')
    shutil.copytree(sources / 'bags', tmp_path / 'bags')
    moved = small_training.arguments(sources, recipe, tmp_path / 'run')
    moved[moved.index(str(sources / 'bags'))] = str(tmp_path / 'bags')
    train.main(moved)
    assert 'going on from splatting 4' in capsys.readouterr().out
    (tmp_path / 'bags' / 'drive1').rename(tmp_path / 'bags' / 'drive9')
    with pytest.raises(SystemExit, match='digest of the frames was'):
        train.main(moved)


def test_half_precision_learns_with_a_scaled_loss(sources: Path, tmp_path: Path) -> None:
    recipe = small_training.write_recipe(tmp_path / 'small.yaml', stage={'steps': 3, 'frames': 1})
    for precision in ('bf16', 'fp16'):
        output = tmp_path / precision
        arguments = small_training.arguments(sources, recipe, output)
        train.main([*arguments, '--precision', precision])
        assert all(value == value for _, value in curve(output))
    saved = read(max((tmp_path / 'fp16' / 'checkpoints').iterdir()))
    assert saved.scaler['scale'] > 0


@pytest.mark.parametrize('name', ['featup-without-segments', 'maskclip', 'talk2dino-paper'])
def test_other_recipes_train_a_step(name: str, sources: Path, tmp_path: Path) -> None:
    size = [28, 56] if 'dino' in name else [32, 64]
    recipe = small_training.write_recipe(
        tmp_path / 'small.yaml', base=name, input_size=size, stage={'steps': 1, 'frames': 1}
    )
    train.main(small_training.arguments(sources, recipe, tmp_path / 'run'))
    assert len(curve(tmp_path / 'run')) == 1


def test_start_from_weights_of_another_size_is_refused(
    finished: Path, sources: Path, tmp_path: Path
) -> None:
    recipe = small_training.write_recipe(tmp_path / 'wide.yaml', model={'queries': 13})
    arguments = small_training.arguments(sources, recipe, tmp_path / 'run')
    weights = str(finished / 'talk2dino.safetensors')
    with pytest.raises(SystemExit, match='they have queries 12, not 13'):
        train.main([*arguments, '--start', weights])


def test_start_from_weights(finished: Path, sources: Path, recipe: Path) -> None:
    weights = finished / 'talk2dino.safetensors'
    places = Sources((sources / 'bags',), folder=sources / 'weights', start=str(weights))
    job = FullJob(read_recipe(str(recipe)), places, torch.device('cpu'))
    for name, value in checkpoint.load(weights).state.items():
        assert torch.equal(job.model.state_dict()[name], value)


def test_segments_without_maps_are_refused(sources: Path, tmp_path: Path) -> None:
    recipe = small_training.write_recipe(tmp_path / 'small.yaml', model={'segments': 5})
    with pytest.raises(SystemExit, match='wants segmentation maps'):
        train.main(small_training.arguments(sources, recipe, tmp_path / 'run'))


def test_gpu_that_is_not_there_is_refused(sources: Path, recipe: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip('there is one')
    arguments = small_training.arguments(sources, recipe, tmp_path / 'run')
    with pytest.raises(SystemExit, match="device 'cuda' cannot be used"):
        train.main([*arguments, '--device', 'cuda'])


def test_targets_are_kept_on_first_use(sources: Path, recipe: Path, tmp_path: Path) -> None:
    """The second run reads what the first has kept, and learns the same, bit for bit."""
    cache = tmp_path / 'cache'
    runs = tmp_path / 'one', tmp_path / 'two'
    for run in runs:
        arguments = small_training.arguments(sources, recipe, run)
        train.main([*arguments, '--targets', str(cache)])
        kept = {path: path.stat().st_mtime_ns for path in cache.rglob('*') if path.is_file()}
        if run == runs[0]:
            first = kept
    assert kept == first and len(first) >= 4
    assert curve(runs[0]) == curve(runs[1])


def test_segments_come_from_the_cache(
    sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = small_training.write_recipe(  # few steps: a cache is of the networks' own size
        tmp_path / 'segments.yaml',
        model={'segments': 26},
        input_size=[0, 0],
        stage={'steps': 2, 'frames': 1, 'warmup': 1},
        validate_every=9,
    )
    arguments = small_training.arguments(sources, recipe, tmp_path / 'run')
    cache = ['--targets', str(tmp_path / 'cache')]
    with pytest.raises(SystemExit, match='make them with gausstr-make-targets --masks'):
        train.main(arguments)
    with pytest.raises(SystemExit, match='the cache has no label maps'):
        train.main([*arguments, *cache])
    labels = tmp_path / 'labels'
    labels.mkdir()
    frames = open_frames([sources / 'bags'], BagSettings(period=0.4))
    for frame in (frames[index] for index in range(len(frames))):
        for name, stamp in zip(frame.rig.names, frame.image_stamps, strict=True):
            np.save(labels / f'{name}__{stamp // 1000}.npy', np.full((36, 64), 7, np.uint8))
    make_targets.main(
        [
            *('--teacher', 'talk2dino', '--folder', str(sources / 'weights')),
            *('--cache', str(tmp_path / 'cache'), '--masks', str(labels)),
            *('--data', str(sources / 'bags')),
        ]
    )
    train.main([*arguments, *cache])
    assert curve(tmp_path / 'run', 'segments/2')
