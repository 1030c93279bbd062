"""Scores, thresholds and lifting by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import VoxelGrid
from gausstr_training.evaluation.lifting import lift, pixel_labels, upsample_inverse_depth
from gausstr_training.evaluation.reports.report import write_json
from gausstr_training.evaluation.tally import COUNT, SCORED, Guess, Scores, Tally
from gausstr_training.evaluation.thresholds import (
    METHODS,
    chosen,
    refuse_known_streets,
    thresholds_of,
)
from gausstr_training.streets.classes import CAR, FREE, POLE, ROAD


def confusion(*entries: tuple[int, int, int]) -> torch.Tensor:
    matrix = torch.zeros(COUNT + 1, COUNT + 1, dtype=torch.int64)
    for truth, predicted, count in entries:
        matrix[truth, predicted] = count
    return matrix


def test_scores_of_a_confusion_worked_by_hand() -> None:
    free = COUNT
    scores = Scores.of(
        confusion(
            (ROAD, ROAD, 6), (ROAD, CAR, 1), (ROAD, free, 3),
            (CAR, CAR, 2), (free, CAR, 1), (free, POLE, 4), (free, free, 100),
        )
    )  # fmt: skip
    assert scores.iou == pytest.approx(100 * 9 / 17)  # road called car is occupied all the same
    assert scores.per_class['road'] == pytest.approx(100 * 6 / 10)
    assert scores.per_class['car'] == pytest.approx(100 * 2 / 4)
    assert scores.per_class['pole'] == 0  # predicted, never there
    assert math.isnan(scores.per_class['bus'])  # neither: no part of the mean
    assert scores.miou == pytest.approx((60 + 50 + 0) / 3)
    assert scores.as_json()['per_class']['bus'] is None


def test_a_perfect_map_scores_hundred_and_an_empty_world_nothing() -> None:
    perfect = Scores.of(torch.diag(torch.arange(1, COUNT + 2)))
    assert (perfect.iou, perfect.miou) == (100, 100)
    empty = Scores.of(confusion((COUNT, COUNT, 10)))
    assert math.isnan(empty.iou) and math.isnan(empty.miou)
    assert empty.as_json()['miou'] is None


def row(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(1, 1, -1)


def test_a_tally_counts_every_threshold_and_sums_frames() -> None:
    tally = Tally([0.5, 0.2])
    truth = row(ROAD, CAR, FREE, FREE, ROAD).to(torch.uint8)
    guess = Guess(row(0.6, 0.5, 0.3, 0.0, 0.9), row(ROAD, CAR, POLE, POLE, CAR).long())
    mask = row(1, 1, 1, 1, 0).bool()
    for _ in range(2):
        tally.add(guess, truth, mask)
    low, high = tally.confusion(0.2), tally.confusion(0.5)
    assert low.sum() == high.sum() == 8
    assert (low[ROAD, ROAD], low[CAR, CAR], low[COUNT, POLE], low[COUNT, COUNT]) == (2, 2, 2, 2)
    # equal to the threshold is not above it
    assert (high[ROAD, ROAD], high[CAR, COUNT], high[COUNT, COUNT]) == (2, 2, 4)
    assert tally.best_threshold() == 0.2


def test_a_tally_refuses_another_grid() -> None:
    guess = Guess(torch.zeros(2, 2, 2), torch.zeros(2, 2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match='the prediction'):
        Tally([0.5]).add(guess, torch.zeros(2, 2, 3), torch.ones(2, 2, 3, dtype=torch.bool))


def forward_camera(height: int, width: int, focal: float) -> CameraRig:
    pose = torch.eye(4)
    pose[:3, :3] = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    intrinsics = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return CameraRig(('front',), intrinsics[None], pose[None], ((height, width),))


GRID = VoxelGrid((0.0, -2.0, -2.0), (8.0, 2.0, 2.0), 1.0)


def test_lift_puts_pixels_into_their_voxels_and_takes_the_majority() -> None:
    # focal 2 and width 4: columns look at y = 0.75 z, 0.25 z, -0.25 z, -0.75 z; rows alike
    depth = torch.full((1, 4, 4), 2.0)
    labels = torch.full((1, 4, 4), ROAD)
    labels[0, 0, :] = len(SCORED)  # sky
    labels[0, 1, :3] = CAR
    keep = torch.ones_like(depth, dtype=torch.bool)
    keep[0, 3] = False
    guess = lift(depth, labels, keep, forward_camera(4, 4, 2.0), GRID)
    assert guess.density.sum() == 8
    # rows 1 and 2 are z = 0.5 and -0.5 m, columns 0..3 are y = 1.5, 0.5, -0.5, -1.5 m
    assert guess.density[2, :, 2].tolist() == [1, 1, 1, 1]
    assert guess.labels[2, :, 2].tolist() == [ROAD, CAR, CAR, CAR]
    assert guess.density[2, :, 1].tolist() == [1, 1, 1, 1]
    assert guess.labels[2, :, 1].tolist() == [ROAD] * 4


def test_the_most_frequent_label_wins_a_voxel() -> None:
    depth = torch.full((1, 2, 2), 2.5)
    labels = torch.tensor([[[CAR, POLE], [CAR, CAR]]])
    coarse = VoxelGrid((0.0, -4.0, -4.0), (8.0, 4.0, 4.0), 8.0)
    keep = torch.ones_like(depth, dtype=torch.bool)
    guess = lift(depth, labels, keep, forward_camera(2, 2, 4.0), coarse)
    assert guess.density.tolist() == [[[4]]] and guess.labels.tolist() == [[[CAR]]]


def test_upsampling_the_inverse_depth_keeps_a_plane_and_drops_edges() -> None:
    # the inverse depth of a plane is linear in the image
    inverse = 0.1 + 0.005 * (torch.arange(8) + 0.5)
    depth = (1 / inverse)[None, None].expand(1, 6, 8)
    doubled, smooth = upsample_inverse_depth(depth)
    expected = 1 / (0.1 + 0.0025 * (torch.arange(16) + 0.5))
    torch.testing.assert_close(doubled[0, 5, 1:-1], expected[1:-1])
    assert smooth.all()

    step = torch.tensor([5.0, 5, 5, 20, 20, 20])[None, None].expand(1, 4, 6)
    doubled, smooth = upsample_inverse_depth(step)
    mixed = torch.zeros(12, dtype=torch.bool)
    mixed[5:7] = True  # the two pixels between the centres of columns 2 and 3
    assert torch.equal(~smooth[0], mixed.expand(8, 12))
    assert set(doubled[0][smooth[0]].tolist()) == {5.0, 20.0}


def test_labels_are_chosen_after_upsampling_the_scores() -> None:
    scores = torch.tensor([[[[1.0, 0.0], [0.0, 0.5]]]])  # one row of two cells
    # the stronger score reaches beyond the middle, which copying labels would not show
    assert pixel_labels(scores, 1, 8).tolist() == [[[0, 0, 0, 0, 0, 1, 1, 1]]]


CARD = {
    'training_seeds': [100, 199],
    'validation_seeds': [200, 209],
    'thresholds': dict.fromkeys(METHODS, 0.3),
}


def test_streets_seen_before_are_refused() -> None:
    refuse_known_streets([99, 210, 5000], CARD, validation=[300])
    with pytest.raises(ValueError, match=r'street 150: the weights were trained on .* 100 to 199'):
        refuse_known_streets([5000, 150], CARD)
    with pytest.raises(ValueError, match=r'street 209: thresholds were chosen on .* 200 to 209'):
        refuse_known_streets([209], CARD)
    with pytest.raises(ValueError, match=r'street 7 .* for validation'):
        refuse_known_streets([6, 7], {}, validation=[7])
    with pytest.raises(ValueError, match='training_seeds must be'):
        refuse_known_streets([1], {'training_seeds': 3})


def test_thresholds_must_be_known() -> None:
    assert thresholds_of(CARD, 'card') == CARD['thresholds']
    with pytest.raises(ValueError, match=r'compact\.json states no threshold for lift'):
        thresholds_of({'thresholds': {'gaussians': 1, 'untrained': 1}}, 'compact.json')


def test_each_method_gets_its_own_threshold() -> None:
    tallies = {}
    for name, density in zip(METHODS, (0.15, 0.35, 2.0, 9.0), strict=True):
        tallies[name] = Tally([0.1, 0.2, 0.4, 3.0])
        truth = row(ROAD, FREE).to(torch.uint8)
        guess = Guess(row(10.0, density), row(ROAD, ROAD).long())
        tallies[name].add(guess, truth, torch.ones_like(truth, dtype=torch.bool))
    found = chosen(tallies)
    assert (found['gaussians'], found['untrained'], found['lift']) == (0.2, 0.4, 3.0)


def test_json_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / 'deep' / 'scores.json'
    write_json(path, {'iou': 1.5})
    assert json.loads(path.read_text()) == {'iou': 1.5}
    with pytest.raises(ValueError, match='JSON'):
        write_json(path, {'iou': math.nan})
    assert json.loads(path.read_text()) == {'iou': 1.5}
    assert [file.name for file in path.parent.iterdir()] == ['scores.json']
