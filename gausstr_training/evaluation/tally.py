"""Counting voxels, and the scores of Occ3D from the counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gausstr_training.streets.classes import CLASSES, FREE

SCORED = CLASSES[:-1]  # sky is free space
COUNT = len(SCORED)


@dataclass(frozen=True)
class Guess:
    """What a method says about a grid, before its threshold."""

    density: Tensor  # [X, Y, Z] >= 0; 0 where there is nothing
    labels: Tensor  # [X, Y, Z] int64 class index; meaningless where the density is 0
    classes: Tensor | None = None  # [X, Y, Z, K] density of each class, of methods with Gaussians


@dataclass(frozen=True)
class Scores:
    """In percent; NaN for what does not occur in the truth nor in the prediction."""

    iou: float  # occupied against free, whatever the class
    miou: float  # mean over the classes that occur
    per_class: dict[str, float]

    @classmethod
    def of(cls, confusion: Tensor, names: Sequence[str] = SCORED) -> Scores:
        """Scores of a confusion matrix [M + 1, M + 1] of M named classes, free last.

        Rows are the truth, columns the prediction.
        """
        counts, known = confusion.double(), len(names)
        both = counts[:known, :known].sum()
        either = counts.sum() - counts[known, known]
        hits = counts.diagonal()[:known]
        union = counts[:known].sum(1) + counts[:, :known].sum(0) - hits
        ratios = 100 * hits / union  # 0 / 0 is NaN
        return cls(
            iou=float(100 * both / either),
            miou=float(ratios.nanmean()),
            per_class={name: float(value) for name, value in zip(names, ratios, strict=True)},
        )

    def as_json(self) -> dict[str, Any]:
        """Rounded numbers; null for NaN, which JSON does not have."""
        per_class = {name: _number(value) for name, value in self.per_class.items()}
        return {'iou': _number(self.iou), 'miou': _number(self.miou), 'per_class': per_class}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 3)


def confusion_of(
    predicted: NDArray[np.uint8], truth: NDArray[np.uint8], mask: NDArray[np.bool_], classes: int
) -> Tensor:
    """Confusion matrix [M + 1, M + 1] of a grid where the mask is true; label M is free."""
    pairs = truth[mask].astype(np.int64) * (classes + 1) + predicted[mask]
    counts = np.bincount(pairs, minlength=(classes + 1) ** 2)
    return torch.from_numpy(counts).reshape(classes + 1, classes + 1)


class Tally:
    """Confusion matrices at several thresholds at once, summed over frames.

    A voxel is occupied where its density is greater than the threshold.

    Raises:
        ValueError: a threshold is negative.
    """

    def __init__(self, thresholds: Sequence[float]) -> None:
        if min(thresholds) < 0:
            raise ValueError(f'thresholds must be >= 0, got {min(thresholds)}')
        self.thresholds = tuple(sorted(thresholds))
        self._counts = torch.zeros(len(self.thresholds) + 1, COUNT + 1, COUNT, dtype=torch.int64)

    def add(self, guess: Guess, truth: Tensor, mask: Tensor) -> None:
        """Count one frame.

        Args:
            guess: prediction on the truth's grid.
            truth: [X, Y, Z] class index 0..15, or 17 where free.
            mask: bool [X, Y, Z], the voxels that count.

        Raises:
            ValueError: the shapes differ.
        """
        if not guess.density.shape == guess.labels.shape == truth.shape == mask.shape:
            raise ValueError(
                f'truth covers the grid {tuple(truth.shape)} and its mask {tuple(mask.shape)}, '
                f'the prediction {tuple(guess.density.shape)}'
            )
        # most voxels are free in both: they are counted, not looked at
        active = mask & ((guess.density > 0) | (truth != FREE))
        self._counts[0, COUNT, 0] += mask.sum().cpu() - active.sum().cpu()
        density, labels = guess.density[active].cpu(), guess.labels[active].cpu()
        true = truth[active].long().cpu()
        true = torch.where(true == FREE, COUNT, true)
        # number of thresholds that the density exceeds
        level = torch.bucketize(density, torch.tensor(self.thresholds, dtype=density.dtype))
        flat = (level * (COUNT + 1) + true) * COUNT + labels
        counts = torch.bincount(flat, minlength=self._counts.numel())
        self._counts += counts.reshape(self._counts.shape)

    def confusion(self, threshold: float) -> Tensor:
        """[17, 17] int64, rows truth, columns prediction, free last, at one of the thresholds."""
        first = self.thresholds.index(threshold) + 1
        occupied = self._counts[first:].sum(0)
        free = self._counts[:first].sum((0, 2))
        return torch.cat([occupied, free[:, None]], dim=1)

    def scores(self, threshold: float) -> Scores:
        """Scores at one of the thresholds."""
        return Scores.of(self.confusion(threshold))

    def best_threshold(self, among: Sequence[float] = ()) -> float:
        """The threshold with the highest IoU + mIoU: neither may be bought with the other.

        Args:
            among: those that may be chosen; all where there are none.
        """

        def worth(threshold: float) -> float:
            scores = self.scores(threshold)
            return scores.iou + (0.0 if math.isnan(scores.miou) else scores.miou)

        return max(among or self.thresholds, key=worth)
