"""Scores over drives, each by hand on grids of a few voxels."""

from __future__ import annotations

import numpy as np
import pytest

from gausstr_core.contracts import VoxelGrid
from gausstr_training.evaluation.drives.counts import (
    Carrier,
    DriveCounts,
    DriveScorer,
    TrueFrame,
    carried,
)
from gausstr_training.streets.classes import CAR, FREE, ROAD

GRID = VoxelGrid((0.0, 0.0, 0.0), (8.0, 1.0, 1.0), 1.0)
SECOND = 1_000_000_000


def row(*places: int) -> np.ndarray:
    """A mask [8, 1, 1]."""
    mask = np.zeros(GRID.shape, bool)
    mask[list(places)] = True
    return mask


def frame(seconds: float, x: float, occupied: np.ndarray, mask: np.ndarray, moving: np.ndarray,
          label: int = CAR) -> TrueFrame:  # fmt: skip
    pose = np.eye(4)
    pose[0, 3] = x
    voxels = np.where(occupied, label, FREE).astype(np.uint8)
    return TrueFrame(round(seconds * SECOND), pose, voxels, mask, moving)


def said(occupied: np.ndarray, label: int = CAR) -> np.ndarray:
    return np.where(occupied, label, -1)


def test_arrays_are_carried_to_where_the_ego_is_later() -> None:
    old = frame(0, 0.0, row(), row(), row())
    new = frame(1, 2.0, row(), row(), row())
    index = Carrier(GRID).index(old, new)
    assert carried(row(2, 5), index)[:, 0, 0].nonzero()[0].tolist() == [0, 3]
    assert not carried(row(0, 1), index).any()


def test_ghosts_are_voxels_that_a_body_has_left() -> None:
    counts = {'a': DriveCounts()}
    scorer = DriveScorer(GRID, counts, 2, 0.5)
    everything = row(*range(8))
    scorer.add(frame(0, 0, row(2, 3), everything, row(2, 3)), {'a': said(row(2, 3))})
    # it has left 2 and 3 and 5 are free: 2 is still said to be there, 3 too but out of view
    scorer.add(frame(0.5, 0, row(4, 5), ~row(3), row(4, 5)), {'a': said(row(2, 3, 4))})
    found = counts['a'].document()
    assert found['ghosts']['in_view'] == [100.0, None, None]
    assert found['ghosts']['out_of_view'] == [100.0, None, None]
    assert found['moving_found'] == pytest.approx(75.0)  # 2, 3 and 4 of 2, 3, 4, 5


def test_flicker_is_of_what_stands_and_is_seen_twice() -> None:
    counts = {'a': DriveCounts()}
    scorer = DriveScorer(GRID, counts, 2, 0.5)
    everything = row(*range(8))
    scorer.add(frame(0, 0, row(1), everything, row()), {'a': said(row(1, 6))})
    scorer.add(frame(0.5, 0, row(1), ~row(6), row(7)), {'a': said(row(1, 2))})
    # 6 went but is not seen, 7 moves: of 6 voxels one (2) came
    assert counts['a'].document()['flicker'] == pytest.approx(100 / 6, abs=1e-3)


def test_what_was_seen_at_some_time_is_scored_in_the_last_quarter() -> None:
    counts = {'good': DriveCounts(), 'blind': DriveCounts()}
    scorer = DriveScorer(GRID, counts, 4, 0.5)
    for number in range(4):
        truth = frame(0.5 * number, float(number), row(4 - number), row(0, 1), row(), ROAD)
        good = said(row(4 - number), ROAD)
        scorer.add(truth, {'good': good, 'blind': said(row(7), ROAD)})
    good, blind = counts['good'].document(), counts['blind'].document()
    # in the last frame the thing is at 1, where the camera looks
    assert (good['present']['iou'], good['seen']['iou'], good['unmasked']['iou']) == (100,) * 3
    assert (blind['present']['iou'], blind['unmasked']['iou']) == (0, 0)
    assert good['per_class']['road'] == 100 and good['per_class']['car'] is None
