"""The whole way of a researcher, small: nuScenes to bags, to a model, to a score."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import nuscenes_drives
import nuscenes_tree
import pytest
import small_training
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gausstr_training import evaluate, nuscenes_to_rosbag, train
from gausstr_training.bags.dataset import open_frames
from gausstr_training.bags.sets import BagSettings

STEPS = 20


@pytest.fixture(scope='module')
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of three keyframes, with the labels of Occ3D."""
    root = tmp_path_factory.mktemp('nuscenes')
    drives = [
        nuscenes_drives.street_drive(seed, f'scene-000{seed}', 3, labels=True) for seed in (1, 2)
    ]
    return nuscenes_tree.write_tree(root, 'v1.0-mini', drives)


def curve(run: Path) -> list[tuple[int, float]]:
    events = EventAccumulator(str(run / 'curves' / 'splatting')).Reload()
    return [(event.step, event.value) for event in events.Scalars('loss')]


def killed_on_the_way(arguments: list[str], run: Path) -> None:
    """kill -9 after the first checkpoint."""
    process = subprocess.Popen(
        [*small_training.launcher(), '-m', 'gausstr_training.train', *arguments],
        env=small_training.environment(), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not list((run / 'checkpoints').glob('*.pt')):
        assert process.poll() is None
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert not (run / 'talk2dino.safetensors').exists(), 'it was over before it was killed'


def test_convert_train_kill_resume_evaluate(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = small_training.write_networks(tmp_path)
    monkeypatch.setattr('sys.argv', ['', str(tree), '--output', str(sources / 'bags')])
    nuscenes_to_rosbag.main()
    recipe = small_training.write_recipe(
        tmp_path / 'small.yaml', checkpoint_every=5, validate_every=100, picture_every=100,
        stage={'steps': STEPS, 'frames': 1},
    )  # fmt: skip
    runs = tmp_path / 'through', tmp_path / 'resumed'
    through, resumed = (small_training.arguments(sources, recipe, run) for run in runs)
    train.main(through)
    killed_on_the_way(resumed, runs[1])
    train.main(resumed)
    assert [step for step, _ in curve(runs[0])] == list(range(STEPS))
    assert curve(runs[1]) == curve(runs[0])

    scores = tmp_path / 'scores.json'
    arguments = [
        *('--preset', 'talk2dino', '--weights', str(runs[1] / 'talk2dino.safetensors')),
        *('--folder', str(sources / 'weights'), '--bags', str(sources / 'bags')),
        *('--occ3d', str(tree / 'gts'), '--predictions', str(tmp_path / 'predictions')),
        *('--json', str(scores)),
    ]
    monkeypatch.setattr('sys.argv', ['gausstr-evaluate', *arguments])
    evaluate.main()
    assert json.loads(scores.read_text())['frames'] == 6
    assert re.search(r'6 frames, percent', capsys.readouterr().out)
    made = sorted((tmp_path / 'predictions').rglob('labels.npz'))
    assert [path.relative_to(tmp_path / 'predictions') for path in made] == sorted(
        path.relative_to(tree / 'gts') for path in (tree / 'gts').rglob('labels.npz')
    )
    before = [path.stat().st_mtime_ns for path in made]
    evaluate.main()  # what is there is not made again
    assert [path.stat().st_mtime_ns for path in made] == before
    only_one = [*arguments, '--bags', str(sources / 'bags' / 'scene-0002')]
    monkeypatch.setattr('sys.argv', ['gausstr-evaluate', *only_one])
    evaluate.main()  # of the truth only what is of these bags
    assert json.loads(scores.read_text())['frames'] == 3
    monkeypatch.setattr('sys.argv', ['gausstr-evaluate', *arguments, '--weights', 'untrained'])
    with pytest.raises(SystemExit, match=r'predictions holds labels of .*give another'):
        evaluate.main()
    (tmp_path / 'predictions' / 'predictor.json').unlink()
    with pytest.raises(SystemExit, match='a model that is not known'):
        evaluate.main()
    shutil.copytree(tree / 'gts' / 'scene-0002', tmp_path / 'gts' / 'scene-0002')
    monkeypatch.setattr(
        'sys.argv', ['gausstr-evaluate', *arguments, '--occ3d', str(tmp_path / 'gts')]
    )
    with pytest.raises(SystemExit, match='no truth for 3 of 6 keyframes, such as scene-0001'):
        evaluate.main()


def test_keyframes_of_some_bags_do_not_hide_the_frames_of_others(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bags = tmp_path / 'bags'
    arguments = [str(tree), '--output', str(bags), '--scenes', 'scene-0001']
    monkeypatch.setattr('sys.argv', ['', *arguments])
    nuscenes_to_rosbag.main()
    own = small_training.bags_only(tmp_path / 'own', drives=1, frames=2)
    both = open_frames([bags, own], BagSettings(period=0.4))
    assert [bool(token) for token in both.tokens] == [True] * 3 + [False] * 2
