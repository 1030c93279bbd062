"""Does a voxel's confidence mean what it says: how it is tempered, and how that is measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gausstr_core.voxels.labelling import SMALLEST, tempered

BINS = 15
# a quarter to eight, in steps of 7 %
TEMPERATURES = tuple(round(0.25 * 2 ** (0.1 * step), 4) for step in range(51))
LEAST = math.log(1e-9)  # so wrong may a voxel be: one alone must not decide
REACHED = 0.05  # density from which a voxel takes part in the fit; the lowest threshold on offer


class TemperatureFit:
    """Negative log-likelihood of the true class at each of `TEMPERATURES`, summed over frames.

    Only voxels that are occupied in the truth and that a Gaussian reaches count: the class
    probabilities are conditional on the voxel being occupied.
    """

    def __init__(self) -> None:
        self._losses = torch.zeros(len(TEMPERATURES), dtype=torch.float64)
        self.voxels = 0

    def add(self, density: Tensor, class_density: Tensor, truth: Tensor, mask: Tensor) -> None:
        """Count one frame.

        Args:
            density: [X, Y, Z].
            class_density: [X, Y, Z, K].
            truth: int64 [X, Y, Z] class 0..K-1; anything else is free.
            mask: bool [X, Y, Z], the voxels that count.
        """
        named = (truth >= 0) & (truth < class_density.shape[-1])
        where = mask & named & (density > REACHED)
        index = truth[where][:, None]
        logits = tempered(class_density[where], 1.0).clamp_min(SMALLEST).log()
        for n, temperature in enumerate(TEMPERATURES):
            # the logarithm of `tempered`, which would take its own of the shares each time
            scaled = logits / temperature
            true = scaled.gather(-1, index)[:, 0] - scaled.logsumexp(-1)
            self._losses[n] -= true.double().clamp_min(LEAST).sum().cpu()
        self.voxels += len(logits)

    def best(self) -> float:
        """The temperature under which the truth was most likely.

        Raises:
            ValueError: no voxel was counted.
        """
        if self.voxels == 0:
            raise ValueError(
                'a temperature needs streets where a Gaussian meets an occupied voxel'
            )
        return TEMPERATURES[int(self._losses.argmin())]

    def loss(self, temperature: float) -> float:
        """Mean negative log-likelihood, in nats, at one of `TEMPERATURES`."""
        return float(self._losses[TEMPERATURES.index(temperature)]) / max(self.voxels, 1)


@dataclass(frozen=True)
class Calibration:
    """How confidence and truth compare, over voxels that are said to be occupied."""

    error: float  # expected calibration error, 0..1
    confidence: float  # mean
    accuracy: float  # share of voxels whose label is true
    voxels: int

    def as_json(self) -> dict[str, Any]:
        """Rounded numbers; null where no voxel was counted."""
        found = {'ece': self.error, 'confidence': self.confidence, 'accuracy': self.accuracy}
        rounded = {k: None if math.isnan(v) else round(v, 4) for k, v in found.items()}
        return {**rounded, 'voxels': self.voxels}


class Reliability:
    """Confidences and hits in equal bins of confidence, summed over frames."""

    def __init__(self) -> None:
        self._sums = torch.zeros(3, BINS, dtype=torch.float64)  # voxels, confidence, hits

    def add(self, confidence: Tensor, right: Tensor) -> None:
        """Count voxels: confidence [V] in 0..1, and whether the label is true, bool [V]."""
        values = confidence.double().cpu()
        bins = (values * BINS).long().clamp(0, BINS - 1)
        for row, weight in zip(self._sums, (torch.ones_like(values), values, right), strict=True):
            row.index_add_(0, bins, weight.double().cpu())

    def calibration(self) -> Calibration:
        """Mean over the voxels of |confidence - accuracy| of their bin (Naeini et al. 2015)."""
        count, confidence, hits = self._sums
        total = float(count.sum())
        if total == 0:
            return Calibration(math.nan, math.nan, math.nan, 0)
        return Calibration(
            error=float((confidence - hits).abs().sum()) / total,
            confidence=float(confidence.sum()) / total,
            accuracy=float(hits.sum()) / total,
            voxels=int(total),
        )
