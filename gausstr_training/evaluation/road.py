"""How thick the road is in a map: a surface that fills eight voxels is no surface.

Columns count whose truth is road and nothing else, within 9 m of the ego, and which a camera sees:
there every voxel that is said to be ground of some kind belongs to the road, however high it lies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gausstr_core.contracts import VoxelGrid
from gausstr_core.voxels.rules import MODEL
from gausstr_training.evaluation.tally import Guess
from gausstr_training.streets.classes import FREE, ROAD, SIDEWALK, TERRAIN

GROUND = (ROAD, SIDEWALK, TERRAIN)
REACH = 9.0  # metres from the ego, in the ground plane
FINE = 0.15  # metres: the noise of depth is no longer small beside finer voxels


class RoadThickness:
    """Voxels of ground per column of road, at several thresholds at once, summed over frames.

    Args:
        grid: of the truth and of what is said about it.
        thresholds: densities above which a voxel is occupied.
    """

    def __init__(self, grid: VoxelGrid, thresholds: Sequence[float]) -> None:
        self._near = _within(grid, REACH)
        # columns by the number of their voxels of ground
        self._columns = {
            threshold: torch.zeros(grid.shape[2] + 1, dtype=torch.int64)
            for threshold in thresholds
        }

    def add(self, guess: Guess, truth: Tensor, mask: Tensor) -> None:
        """Count one frame.

        Args:
            guess: prediction on the grid.
            truth: [X, Y, Z] class index, FREE where nothing is.
            mask: bool [X, Y, Z], the voxels that a camera sees.
        """
        road = truth == ROAD
        bare = (
            (road | (truth == FREE)).all(-1) & (road & mask).any(-1) & self._near.to(mask.device)
        )
        ground = torch.isin(guess.labels[bare], torch.tensor(GROUND, device=mask.device))
        density = torch.where(ground, guess.density[bare], 0.0).cpu()
        for threshold, columns in self._columns.items():
            filled = (density > threshold).sum(-1)
            columns += torch.bincount(filled, minlength=len(columns))

    def voxels(self, threshold: float) -> float | None:
        """As of `as_json`, not rounded."""
        counts = self._columns[threshold][1:].double()
        depth = torch.arange(1, len(counts) + 1, dtype=torch.float64)
        return float((counts * depth).sum() / counts.sum()) if counts.any() else None

    def as_json(self, threshold: float) -> dict[str, Any]:
        """Numbers at one of the thresholds for a file, null where there is no such column.

        `voxels`: mean of the voxels of ground in columns that have any; `thickest`: 95 of 100 such
        columns have at most so many; `covered`: percent of the columns that have any.
        """
        voxels, counts = self.voxels(threshold), self._columns[threshold][1:]
        covered, columns = int(counts.sum()), int(self._columns[threshold].sum())
        if voxels is None:
            return {'voxels': None, 'thickest': None, 'covered': 0.0 if columns else None}
        enough = counts.cumsum(0) >= 0.95 * covered
        return {
            'voxels': round(voxels, 3),
            'thickest': int(enough.int().argmax()) + 1,
            'covered': round(100 * covered / columns, 2),
        }


def most_voxels(source: str, resolution: float) -> float:
    """How thick the road may become for a threshold to be chosen, in voxels.

    Where depth is measured: one, two where it lies on the border of two; of voxels finer than
    0.15 m three. A depth that is estimated scatters by more: whoever asks for a thin road of it
    loses the map (docs/training.md).

    Args:
        source: of depth: 'model', 'topic' or 'lidar'.
        resolution: metres.
    """
    if source == MODEL:
        return math.inf
    return 2.0 if resolution >= FINE else 3.0


def _within(grid: VoxelGrid, reach: float) -> Tensor:
    """Which columns [X, Y] lie within metres of the ego."""
    return grid.centers()[:, :, 0, :2].norm(dim=-1) < reach
