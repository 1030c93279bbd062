"""Streets scored with measured depth, with true labels and on other grids."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluations import write_weights

from gausstr_core.contracts import VoxelGrid
from gausstr_core.foundation.depth.lidar_depth import depth_from_cloud
from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.transformer.build import build
from gausstr_core.voxels.rules import CalibratedRule
from gausstr_training import evaluate, synthesize
from gausstr_training.benchmarks import grids
from gausstr_training.evaluation.methods import Contest
from gausstr_training.evaluation.road import RoadThickness
from gausstr_training.evaluation.sensing import Sensing
from gausstr_training.evaluation.tally import Guess, Tally
from gausstr_training.evaluation.thresholds import (
    CANDIDATES,
    calibrated,
    temperature_of,
    thresholds_of,
)
from gausstr_training.streets.classes import CAR, FREE, ROAD, SIDEWALK
from gausstr_training.streets.grids import truth_grid
from gausstr_training.streets.reader import Street, read_street
from gausstr_training.streets.sweep import Lidar, sweep

COARSE = 0.8
CHOSEN = {'gaussians': 2.0, 'untrained': 0.5, 'lift': 1.5, 'lift_strong': 4.5}


@pytest.fixture(scope='module')
def gridded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """street_000600 and street_000601 with truth at 0.8 m, and no other."""
    folder = tmp_path_factory.mktemp('gridded')
    options = ['--size', '224x126', '--streets', '2', '--resolution', str(COARSE)]
    synthesize.main(['--seed', '600', '--output', str(folder), *options])
    return folder


@pytest.fixture(scope='module')
def street(gridded: Path) -> Street:
    return read_street(gridded / 'street_000600', COARSE)


def contest(sensing: Sensing) -> Contest:
    pipeline = OccupancyPipeline.from_preset('tiny', grid=truth_grid(COARSE), weights='untrained')
    return Contest(pipeline, build('tiny').transformer, sensing)


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    words = ['gausstr-evaluate', '--preset', 'tiny', *map(str, arguments)]
    monkeypatch.setattr(sys, 'argv', words)
    evaluate.main()


def test_a_sweep_lies_on_what_the_cameras_see(street: Street) -> None:
    frame = street[0]
    points = sweep(street, frame, Lidar(noise=0.0))
    assert np.array_equal(points, sweep(street, frame, Lidar(noise=0.0)))
    assert 15_000 < len(points) < 32 * 1084 and points.dtype == np.float32
    pixels, depth = frame.rig.project(torch.from_numpy(points))
    errors = []
    for view, (height, width) in enumerate(frame.rig.image_sizes):
        column, row = pixels[view].floor().long().unbind(-1)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        inside &= depth[view] > 0.5
        true = torch.from_numpy(frame.depth[view])[row[inside], column[inside]]
        errors.append((depth[view][inside] / true).log().abs())
    error = torch.cat(errors)
    # the lidar sits above the cameras: some of its points lie behind what they see
    assert float(error.median()) < 0.02 and float((error < 0.1).float().mean()) > 0.8


def test_a_sweep_has_the_noise_it_states(street: Street) -> None:
    frame = street[0]
    clean, noisy = (sweep(street, frame, Lidar(noise=noise)) for noise in (0.0, 0.05))
    origin = np.array(Lidar().position)
    ranges = [np.linalg.norm(points - origin, axis=1) for points in (clean, noisy)]
    near = [r[r < 70] for r in ranges]
    assert abs(len(near[0]) - len(near[1])) < 20
    assert np.std(ranges[1] - ranges[0]) == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize('name', ['true', 'lidar'])
def test_measured_depth_is_what_the_pipeline_maps(street: Street, name: str) -> None:
    frame, sensing = street[0], Sensing(name)
    held = contest(sensing)
    pipeline = held.pipeline
    encoded = held.encode(street, frame)
    assert encoded.known is not None and 0.3 < float(encoded.known.float().mean()) < 1
    rule = pipeline.rule_for(sensing.source)
    vocabulary = held.vocabulary
    published = pipeline.map(encoded, vocabulary, rule).occupancy
    ours = held.guesses(encoded)['gaussians']
    occupied = ours.density > rule.threshold_at(COARSE)
    # what is said where no camera looks is not published, nor counted by the camera mask
    assert torch.equal(occupied & published.observed, published.labels >= 0)
    assert torch.equal(ours.labels[published.labels >= 0], published.labels[published.labels >= 0])
    if name == 'lidar':
        points = torch.from_numpy(sweep(street, frame))
        expected = depth_from_cloud(points, encoded.rig)
        assert encoded.surface is not None
        assert torch.equal(encoded.maps.depth[encoded.known], expected.abs()[encoded.known])
        assert torch.equal(encoded.surface, expected > 0)


def test_true_depth_and_labels_beat_what_the_network_sees(street: Street) -> None:
    frame, found = street[0], {}
    assert frame.voxels is not None and frame.camera_mask is not None
    truth, mask = torch.from_numpy(frame.voxels), torch.from_numpy(frame.camera_mask)
    for sensing in (Sensing(), Sensing('true', 'true'), Sensing('true')):
        held = contest(sensing)
        for name, guess in held.guesses(held.encode(street, frame)).items():
            counts = Tally(CANDIDATES['lift' if 'lift' in name else 'gaussians'])
            counts.add(guess, truth, mask)
            found[sensing, name] = counts.scores(counts.best_threshold())
    best = found[Sensing('true', 'true'), 'gaussians']
    assert best.iou > 60 and best.miou > 20
    assert best.iou > 2 * found[Sensing(), 'gaussians'].iou
    assert best.miou > found[Sensing('true'), 'gaussians'].miou
    assert found[Sensing('true', 'true'), 'lift_strong'].iou > 20


def test_unknown_sources_are_named() -> None:
    with pytest.raises(ValueError, match="depth must be one of model, true, lidar, got 'sonar'"):
        Sensing('sonar')


def test_the_road_is_as_thick_as_its_columns() -> None:
    grid = VoxelGrid((-4.0, -4.0, -1.0), (4.0, 4.0, 3.0), 1.0)
    truth = torch.full(grid.shape, FREE)
    truth[:, :4, 1] = ROAD
    truth[0, 0, 2] = CAR  # stands on the road: its column does not count
    mask = torch.ones(grid.shape, dtype=torch.bool)
    mask[1] = False
    density = torch.zeros(grid.shape)
    density[2, 0, :3] = 1.0  # three voxels
    density[3, 0, 1] = 1.0  # one
    density[4, 0, 3] = 0.4  # below the threshold
    density[7, 7, :] = 9.0  # no road
    labels = torch.full(grid.shape, SIDEWALK)  # ground, as good as road
    density[2, 0, 3], labels[2, 0, 3] = 1.0, CAR  # above it
    thickness = RoadThickness(grid, [0.5])
    thickness.add(Guess(density, labels), truth, mask)
    columns = 7 * 4 - 1
    expected = {'voxels': 2.0, 'thickest': 3, 'covered': round(200 / columns, 2)}
    assert thickness.as_json(0.5) == expected
    none = {'voxels': None, 'thickest': None, 'covered': None}
    assert RoadThickness(grid, [0.5]).as_json(0.5) == none


def test_columns_beyond_nine_metres_do_not_count() -> None:
    grid = VoxelGrid((-20.0, -20.0, -1.0), (20.0, 20.0, 1.0), 1.0)
    truth = torch.full(grid.shape, FREE)
    truth[..., 1] = ROAD
    mask = torch.ones(grid.shape, dtype=torch.bool)
    density = torch.zeros(grid.shape)
    centers = grid.centers()[..., 0, :2].norm(dim=-1)
    density[centers > 9] = 1.0
    thickness = RoadThickness(grid, [0.5])
    thickness.add(Guess(density, torch.zeros(grid.shape, dtype=torch.int64)), truth, mask)
    assert thickness.as_json(0.5) == {'voxels': None, 'thickest': None, 'covered': 0.0}


def test_a_card_keeps_thresholds_per_source_and_resolution() -> None:
    old = {'thresholds': dict.fromkeys(CHOSEN, 0.5), 'class_temperature': 1.5}
    coarse = old | calibrated(old, CHOSEN, 2.0, 'lidar', 0.8)
    assert coarse['thresholds'] == old['thresholds']
    assert thresholds_of(coarse, 'card', 'lidar', 0.8) == CHOSEN
    assert (temperature_of(coarse), temperature_of(coarse, 'lidar')) == (1.5, 2.0)
    fine = dict(CHOSEN, gaussians=0.5)
    both = coarse | calibrated(coarse, fine, 3.0, 'lidar', 0.2)
    usual = both | calibrated(both, dict(CHOSEN, gaussians=1.1), 4.0, 'lidar', 0.4)
    assert temperature_of(usual, 'lidar') == 4.0
    assert [at for at, _ in usual['calibration']['lidar']['thresholds']] == [0.2, 0.4, 0.8]
    assert thresholds_of(usual, 'card', 'lidar', 0.2)['gaussians'] == pytest.approx(0.5)
    with pytest.raises(
        ValueError, match=r'no threshold for untrained, .* for lidar depth at 0\.1 m'
    ):
        thresholds_of(usual, 'card', 'lidar', 0.1)
    rule = CalibratedRule.from_card(both, 'lidar')
    assert rule.threshold_at(0.4) == pytest.approx(math.sqrt(2.0 * 0.5))
    model = old | calibrated(old, CHOSEN, 2.0, 'model', 0.4)
    assert model['thresholds'] == CHOSEN and model['class_temperature'] == 2.0


def test_the_command_calibrates_and_scores_measured_depth_on_another_grid(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    gridded: Path,
) -> None:
    weights, scores = write_weights(tmp_path / 'tiny.safetensors', 601), tmp_path / 'scores.json'
    how = ['--weights', weights, '--depth', 'lidar', '--resolution', COARSE]
    one, other = gridded / 'street_000600', gridded / 'street_000601'
    with pytest.raises(SystemExit, match=r'no threshold for .* for lidar depth at 0\.8 m: give'):
        command(monkeypatch, one, *how)
    command(
        monkeypatch, '--calibrate', other, '--output', tmp_path / 'x.json', '--update-card', *how
    )
    card = json.loads(weights.with_suffix('.json').read_text())
    ((at, threshold),) = card['calibration']['lidar']['thresholds']
    assert at == COARSE and card['thresholds']['gaussians'] == 0.3  # of the model's depth
    command(monkeypatch, one, *how, '--json', scores, '--report', tmp_path / 'report')
    found = json.loads(scores.read_text())
    assert (found['depth'], found['labels'], found['resolution']) == ('lidar', 'model', COARSE)
    assert found['thresholds']['gaussians'] == pytest.approx(threshold)
    assert found['calibration']['temperature'] == card['calibration']['lidar']['class_temperature']
    assert found['iou'] > 20
    for part in (found, *found['baselines'].values()):
        assert set(part['road']) == {'voxels', 'thickest', 'covered'}
    assert found['road']['covered'] >= 0  # of random features, which name hardly any ground
    printed = capsys.readouterr().out
    assert 'road, voxels thick' in printed and 'voxels of 0.8 m, depth: lidar' in printed
    for wrong in (['--update-card'], ['--update-card', '--labels', 'true']):
        with pytest.raises(SystemExit, match='--update-card keeps scores'):
            command(monkeypatch, one, *how, *wrong)


def test_streets_without_that_truth_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gridded: Path
) -> None:
    weights = write_weights(tmp_path / 'tiny.safetensors')
    with pytest.raises(
        SystemExit, match=r'street_000600 has no voxel truth at 0\.4 m, only: 0\.8'
    ):
        command(monkeypatch, gridded, '--weights', weights)
    with pytest.raises(SystemExit, match=r'grid range along x must be a whole number of 0\.3 m'):
        command(monkeypatch, gridded, '--weights', weights, '--resolution', '0.3')


def test_the_table_of_grids_goes_on_where_it_was_and_writes_what_a_card_says(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, gridded: Path
) -> None:
    weights, output = write_weights(tmp_path / 'tiny.safetensors'), tmp_path / 'grids'
    one, other = gridded / 'street_000600', gridded / 'street_000601'
    shared = [
        '--preset',
        'tiny',
        '--weights',
        weights,
        '--resolutions',
        COARSE,
        '--depths',
        'true',
    ]
    options = [*shared, '--validation', other, '--test', one, '--output', output]
    grids.main([str(option) for option in options])
    path = output / 'true_model_0.8.json'
    found = json.loads(path.read_text())
    card = json.loads((output / 'card.json').read_text())
    chosen = found['thresholds']['gaussians']
    assert CalibratedRule.from_card(card, 'topic').threshold_at(COARSE) == pytest.approx(chosen)
    assert card['thresholds']['gaussians'] == 0.3  # of the model's depth, as it was
    printed = capsys.readouterr().out
    assert f'| true, 0.8 m | {chosen:g} | {found["iou"]:.1f} | {found["miou"]:.1f} |' in printed
    path.write_text(json.dumps({**found, 'iou': 99.9}))  # done: not measured again
    grids.main([str(option) for option in options])
    assert '| 99.9 |' in capsys.readouterr().out
    path.unlink()
    with pytest.raises(SystemExit, match='street 600 is given both to score and for validation'):
        grids.main(
            [
                str(option)
                for option in [
                    *options[:-6],
                    '--validation',
                    gridded,
                    '--test',
                    one,
                    '--output',
                    output,
                ]
            ]
        )
