"""Variants are trained and scored alike, and what is there is not done again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gausstr_core.weights import shipped_weights
from gausstr_training import synthesize
from gausstr_training.compact import ablations


@pytest.mark.slow
def test_variants_train_here_and_are_scored_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ['--size', '112x64', '--frames', '2']
    synthesize.main(['--seed', '1', '--no-voxels', '--output', str(tmp_path / 'train'), *small])
    for seed, name in ((2, 'validation'), (3, 'test')):
        synthesize.main(['--seed', str(seed), '--output', str(tmp_path / name), *small])
    shared = [
        *('--weights', str(shipped_weights('compact')), '--steps', '1'),
        *('--output', str(tmp_path / 'out'), '--only', 'gaussians-140', 'temporal', 'isotropic'),
    ]
    scored = [
        *('--validation', str(tmp_path / 'validation'), '--test', str(tmp_path / 'test')),
    ]

    def run(*more: str) -> None:
        monkeypatch.setattr('sys.argv', ['ablations', *shared, *more])
        ablations.main()

    run('--data', str(tmp_path / 'train'))
    weights = sorted((tmp_path / 'out').glob('*/transformer.pt'))
    before = [path.stat().st_mtime_ns for path in weights]
    assert len(weights) == 3 and not list((tmp_path / 'out').rglob('scores.json'))
    run(*scored)  # without the training streets
    assert [path.stat().st_mtime_ns for path in weights] == before
    scores = {
        path.parent.name: json.loads(path.read_text())
        for path in (tmp_path / 'out').glob('*/scores.json')
    }
    assert scores['temporal']['streets'] == [3] and scores['temporal']['steps'] == 1
    untrained = {name: found['untrained']['iou'] for name, found in scores.items()}
    assert untrained['isotropic'] < untrained['temporal']  # which starts as `ours` does
    assert untrained['gaussians-140'] < untrained['temporal']
