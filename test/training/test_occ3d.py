"""Occ3D scores and RayIoU: the official numbers, grids made by hand, files, several processes."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from evaluations import label_arrays, write_label_trees
from hypothesis import given, settings
from hypothesis import strategies as st

from gausstr_core.contracts import VoxelGrid
from gausstr_training import evaluate
from gausstr_training.evaluation.occ3d.label_files import (
    CLASSES,
    FREE,
    Occ3DTally,
    RayTally,
    Truth,
    VoxelTally,
    score_folders,
)
from gausstr_training.evaluation.occ3d.raycast import first_hits, lidar_directions

GRID = VoxelGrid((0.0, 0.0, 0.0), (10.0, 10.0, 5.0), 0.5)
CAR, BUS = CLASSES.index('car'), CLASSES.index('bus')
AXES = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, 0, 1]])


def test_metric_of_the_official_code_and_its_missing_reset(shared: Path) -> None:
    with np.load(shared / 'reference' / 'units.npz') as file:
        metric = {name: file[name] for name in file.files if name.startswith('metric')}
    running, own = VoxelTally(), {}
    for batch in ('b0', 'b1'):
        arrays = [metric[f'metric.{batch}.{name}'] for name in ('preds', 'labels', 'mask')]
        running.add(*arrays)
        own[batch] = VoxelTally()
        own[batch].add(*arrays)
        scores = running.scores()
        # the official histogram is never reset: the second figures contain the first batch
        miou, iou = (float(metric[f'metric.{batch}.{n}_cumulative']) for n in ('miou', 'iou'))
        assert scores.miou == pytest.approx(100 * miou)
        assert scores.iou == pytest.approx(100 * iou)
        expected = 100 * metric[f'metric.{batch}.per_class']
        np.testing.assert_allclose(list(scores.per_class.values()), expected, atol=1e-9)
    np.testing.assert_array_equal(running.counts.numpy(), metric['metric.hist'])
    assert own['b1'].scores().miou != pytest.approx(running.scores().miou)
    assert own['b0'].counts.sum() + own['b1'].counts.sum() == running.counts.sum()


def test_rays_hit_the_first_occupied_voxel_and_end_where_they_leave_it() -> None:
    """GDFusion 5, SparseOcc 54: depth counts at the far face, as in the published kernel."""
    labels = np.full(GRID.shape, FREE, np.uint8)
    labels[12:, :, :] = CAR  # a wall at x = 6 m
    labels[:, 16, :] = BUS  # and one at y = 8 m
    origins = np.array([[2.25, 3.25, 1.25], [7.0, 3.0, 1.0], [-1.0, 3.0, 1.0]])
    found, distance = first_hits(labels, GRID, origins, AXES, FREE)
    assert found.tolist() == [
        [CAR, FREE, BUS, FREE],
        [CAR] * 4,  # starts inside the wall
        [CAR, FREE, FREE, FREE],  # starts outside the grid: one ray enters it
    ]
    np.testing.assert_allclose(distance[0], [4.25, 2.25, 5.25, 3.75])
    np.testing.assert_allclose(distance[1], [0.5, 0, 0.5, 0.5])
    np.testing.assert_allclose(distance[2], [7.5, 0, 0, 0])


@given(st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_marching_agrees_with_walking_in_tiny_steps(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = np.where(random.random(GRID.shape) < 0.02, CAR, FREE).astype(np.uint8)
    origin = np.array([[5.0, 5.0, 2.5]]) + random.uniform(-2, 2, (1, 3))
    rays = random.normal(size=(6, 3))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    found, distance = first_hits(labels, GRID, origin, rays, FREE)
    for r, ray in enumerate(rays):
        walked = np.arange(0, 20, 0.002)
        cells = np.floor((origin + walked[:, None] * ray) / GRID.resolution).astype(int)
        inside = ((cells >= 0) & (cells < GRID.shape)).all(1)
        seen = labels[tuple(cells[inside].T)]
        hit = np.flatnonzero(seen != FREE)
        # a walk may step over a corner that the march does not
        end = walked[hit[0]] if len(hit) else walked[inside][-1]
        assert distance[0, r] <= end + math.sqrt(3) * GRID.resolution + 0.01
        if found[0, r] != FREE:
            centre = (origin[0] + (distance[0, r] - 1e-6) * ray) / GRID.resolution
            assert labels[tuple(np.floor(centre).astype(int))] == CAR
        else:
            assert not len(hit)


def test_the_rays_are_those_of_the_definition() -> None:
    rays = lidar_directions()
    np.testing.assert_allclose(np.linalg.norm(rays, axis=1), 1)
    pitches = np.arcsin(rays[::360, 2])
    np.testing.assert_allclose(pitches[:2], [-math.pi / 4, -math.atan(0.5)])
    assert len(rays) == 360 * len(pitches) and pitches[-2] < 0.21 <= pitches[-1]


def test_ray_iou_worked_by_hand() -> None:
    truth = np.array([CAR, CAR, CAR, BUS, FREE], np.uint8), np.array([5.0, 5, 5, 5, 5])
    said = np.array([CAR, CAR, BUS, BUS, CAR], np.uint8), np.array([5.5, 6.5, 5, 8.5, 5])
    tally = RayTally()
    tally.add(said, truth)
    scores = tally.scores()
    # the last ray hits nothing in the truth. cars: 3 true, 2 said; buses: 1 true, 2 said
    assert scores['1m'] == pytest.approx(100 * (1 / 4 + 0 / 3) / 2)
    assert scores['2m'] == pytest.approx(100 * (2 / 3 + 0 / 3) / 2)
    assert scores['4m'] == pytest.approx(100 * (2 / 3 + 1 / 2) / 2)
    assert scores['mean'] == pytest.approx((scores['1m'] + scores['2m'] + scores['4m']) / 3)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three frames on the Occ3D grid; predictions that are right in two of them."""
    return write_label_trees(tmp_path)


def test_a_perfect_prediction_scores_hundred_and_the_worst_nothing() -> None:
    arrays = label_arrays(3, GRID.shape)
    camera, lidar = arrays['mask_camera'], arrays['mask_lidar']
    masks = {'camera': camera, 'camera_and_lidar': camera & lidar, 'none': camera | True}
    truth = Truth(arrays['semantics'], masks, np.array([[5.0, 5.0, 1.5]]))
    tally = Occ3DTally(GRID)
    tally.add(np.full_like(truth.semantics, FREE), truth)
    blank = tally.document()
    assert blank['masks']['none']['iou'] == 0 and blank['ray_iou']['mean'] == 0
    tally = Occ3DTally(GRID)
    tally.add(truth.semantics, truth)
    perfect = tally.document()
    assert all(perfect['masks'][name]['miou'] == 100 for name in masks)
    assert perfect['ray_iou']['1m'] == 100 and perfect['frames'] == 1


def test_the_command_scores_a_folder_with_every_mask(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    folders: tuple[Path, Path],
) -> None:
    """GaussTR 15: which mask was it? All are printed, and RayIoU."""
    truth, predictions = folders
    path = tmp_path / 'scores.json'
    arguments = ['--occ3d', truth, '--predictions', predictions, '--json', path]
    monkeypatch.setattr(sys, 'argv', ['gausstr-evaluate', *map(str, arguments)])
    evaluate.main()
    scores = json.loads(path.read_text())
    assert scores['frames'] == 3
    occupied = {'camera': [], 'camera_and_lidar': [], 'none': []}
    for index in range(3):
        arrays = label_arrays(index, VoxelGrid().shape)
        there, camera = arrays['semantics'] != FREE, arrays['mask_camera']
        occupied['camera'].append(int((there & camera).sum()))
        occupied['camera_and_lidar'].append(int((there & camera & arrays['mask_lidar']).sum()))
        occupied['none'].append(int(there.sum()))
    for mask, counts in occupied.items():  # the first frame was predicted empty
        share = 100 * (counts[1] + counts[2]) / sum(counts)
        assert scores['masks'][mask]['iou'] == pytest.approx(share, abs=1e-3)
    assert 50 < scores['ray_iou']['4m'] < 80
    printed = capsys.readouterr().out
    assert 'camera_and_lidar' in printed and 'RayIoU 4m' in printed and 'other_flat' in printed


@pytest.mark.slow
def test_two_processes_give_the_scores_and_the_report_of_one(
    monkeypatch: pytest.MonkeyPatch, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    truth, predictions = folders
    report = tmp_path / 'report'
    arguments = ['--occ3d', str(truth), '--predictions', str(predictions)]
    monkeypatch.setattr(sys, 'argv', ['gausstr-evaluate', *arguments, '--report', str(report)])
    evaluate.main()
    alone = json.loads((report / 'scores.json').read_text())
    targets = [tmp_path / f'{rank}.json' for rank in range(2)]
    command = [sys.executable, '-m', 'gausstr_training.evaluate']
    command += [*arguments, '--report', str(tmp_path / 'shared'), '--json']
    world = {'WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': '0'}
    world['MASTER_PORT'] = str(free_port())
    workers = [
        subprocess.Popen([*command, str(target)], env={**os.environ, **world, 'RANK': str(rank)})
        for rank, target in enumerate(targets)
    ]
    assert [worker.wait(timeout=240) for worker in workers] == [0, 0]
    assert json.loads(targets[0].read_text()) == alone['scores']
    assert not targets[1].exists()  # the first process writes for all
    both = json.loads((tmp_path / 'shared' / 'scores.json').read_text())
    for part in ('overall', 'classes', 'frames'):
        assert both[part] == alone[part]
    pages = [(folder / 'index.html').read_text() for folder in (report, tmp_path / 'shared')]
    pictures = [re.findall(r'src="(data:[^"]+)"', page) for page in pages]
    assert len(pictures[0]) == 9 and pictures[0] == pictures[1]


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return int(probe.getsockname()[1])


def test_files_of_another_form_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    truth, predictions = folders
    file = predictions / 's1' / 'b' / 'labels.npz'
    good = np.load(file)['semantics']
    cases = [
        ({'labels': good}, 'expected semantics of shape'),
        ({'semantics': good[:, :, :8]}, r'got \(200, 200, 8\)'),
        ({'semantics': good + 1}, 'labels 0..17, got uint8 up to 18'),
        ({'semantics': good.astype(np.int64)}, 'got int64'),
    ]
    for arrays, message in cases:
        np.savez(file, **arrays)
        with pytest.raises(ValueError, match=rf's1/b/labels\.npz.*{message}'):
            score_folders(truth, predictions)
    file.unlink()
    with pytest.raises(ValueError, match=r's1/b/labels\.npz cannot be read'):
        score_folders(truth, predictions)
    with pytest.raises(ValueError, match='expected truth in'):
        score_folders(tmp_path / 'nowhere', predictions)
    monkeypatch.setattr(sys, 'argv', ['gausstr-evaluate', '--occ3d', str(truth)])
    with pytest.raises(SystemExit, match='--predictions'):
        evaluate.main()
