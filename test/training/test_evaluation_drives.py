"""gausstr-synthesize --moving, and gausstr-evaluate --drives on what it makes."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluations import write_weights

from gausstr_core.contracts import VoxelGrid
from gausstr_core.remembering.evidence import BINS, plain_table
from gausstr_training import evaluate, synthesize
from gausstr_training.evaluation.drives.counts import Carrier
from gausstr_training.evaluation.drives.scores import true_frame
from gausstr_training.streets.classes import FREE
from gausstr_training.streets.reader import Street, check_street, read_street

FRAMES, RATE = 3, 4.0


@pytest.fixture(scope='module')
def drive(tmp_path_factory: pytest.TempPathFactory) -> Street:
    """A small drive at 4 Hz that says what moves, on hills."""
    folder = tmp_path_factory.mktemp('drives') / 'drive'
    synthesize.main(
        ['--seed', '502', '--frames', str(FRAMES), '--size', '96x54', '--moving', '--hilly',
         '--rate', str(RATE), '--output', str(folder)]
    )  # fmt: skip
    return read_street(folder)


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(
        sys, 'argv', ['gausstr-evaluate', '--preset', 'tiny', *map(str, arguments)]
    )
    evaluate.main()


def test_a_drive_has_its_rate_and_says_what_moves(drive: Street) -> None:
    frames = [drive[index] for index in range(FRAMES)]
    gaps = np.diff([frame.stamp for frame in frames])
    assert (gaps == round(1e9 / RATE)).all()
    for frame in frames:
        assert frame.moving is not None and frame.voxels is not None
        assert frame.moving.any() and (frame.voxels[frame.moving] != FREE).all()


def test_what_does_not_move_stays_and_what_moves_goes(drive: Street) -> None:
    first, last = (true_frame(drive[index]) for index in (0, FRAMES - 1))
    index = Carrier(VoxelGrid()).index(first, last)
    found, inside = first.voxels.reshape(-1)[index].reshape(VoxelGrid().shape), index >= 0
    inside = inside.reshape(VoxelGrid().shape)
    still = inside & ~last.moving & ~first.moving.reshape(-1)[index].reshape(inside.shape)
    occupied = still & (found != FREE)
    assert ((last.voxels != FREE) & occupied).sum() > 0.75 * occupied.sum()
    went = inside & last.moving & (found == FREE)
    assert went.any()


def test_hills_tip_the_ego(drive: Street) -> None:
    poses = np.stack([drive[index].odom_from_ego for index in range(FRAMES)])
    assert np.abs(poses[:, 2, 0]).max() > 1e-3  # the forward axis leaves the plane
    assert np.abs(np.linalg.det(poses[:, :3, :3]) - 1).max() < 1e-6


def test_drives_are_scored_alone_and_with_a_memory(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    drive: Street,
) -> None:
    weights = write_weights(tmp_path / 'tiny.safetensors')
    path, report = tmp_path / 'scores.json', tmp_path / 'report'
    command(
        monkeypatch, '--drives', drive.folder, '--weights', weights, '--json', path,
        '--report', report, '--memory-half-life', '3',
    )  # fmt: skip
    scores = json.loads(path.read_text())
    for way in ('single', 'memory'):
        found = scores[way]
        for mask in ('present', 'seen', 'unmasked'):
            assert set(found[mask]) == {'iou', 'miou'}
        assert set(found['ghosts']) == {'in_view', 'out_of_view'}
        assert all(len(shares) == 3 for shares in found['ghosts'].values())
        assert {'per_class', 'flicker', 'moving_found'} <= set(found)
    assert scores['settings']['half_life'] == 3 and scores['resets'] == {}
    assert 'moving voxels found' in capsys.readouterr().out
    assert (report / 'index.html').is_file()


def test_streets_that_do_not_say_what_moves_are_refused(
    monkeypatch: pytest.MonkeyPatch, streets: Path, tmp_path: Path
) -> None:
    weights = write_weights(tmp_path / 'tiny.safetensors', validation=7)
    with pytest.raises(SystemExit, match='--moving'):
        command(monkeypatch, '--drives', streets, '--weights', weights)


def test_calibration_fits_the_evidence_and_the_card_keeps_it(
    monkeypatch: pytest.MonkeyPatch, streets: Path, tmp_path: Path
) -> None:
    weights = write_weights(tmp_path / 'tiny.safetensors')
    command(
        monkeypatch, '--calibrate', streets / 'street_000501', '--weights', weights,
        '--output', tmp_path / 'found.json', '--update-card',
    )  # fmt: skip
    card = json.loads(weights.with_suffix('.json').read_text())
    numbers = card['calibration']['model']['evidence'].split()
    assert len(numbers) == BINS
    assert json.loads((tmp_path / 'found.json').read_text())['evidence'].split() == numbers
    table = np.array(numbers, float).reshape(plain_table().shape)
    assert table[-1, 3].mean() > table[0, -1].mean()  # dense at the depth, against empty before it


def test_other_settings_are_another_drive(drive: Street) -> None:
    check_street(drive.folder, drive.settings)
    with pytest.raises(ValueError, match='rate'):
        check_street(drive.folder, replace(drive.settings, rate=2.0))
