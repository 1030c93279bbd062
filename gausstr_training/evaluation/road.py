"""How thick the road is in a map: a surface that fills eight voxels is no surface.

Columns count whose truth is road and nothing else, within 9 m of the ego, and which a camera sees:
there every occupied voxel belongs to the road, whatever it is called and however high it lies.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gausstr_core.contracts import VoxelGrid
from gausstr_training.evaluation.tally import Guess
from gausstr_training.streets.classes import FREE, ROAD

REACH = 9.0  # metres from the ego, in the ground plane


class RoadThickness:
    """Occupied voxels per column of road, summed over frames.

    Args:
        grid: of the truth and of what is said about it.
        threshold: density above which a voxel is occupied.
    """

    def __init__(self, grid: VoxelGrid, threshold: float) -> None:
        self._threshold, self._near = threshold, _within(grid, REACH)
        self._columns = torch.zeros(grid.shape[2] + 1, dtype=torch.int64)  # by occupied voxels

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
        filled = (guess.density[bare] > self._threshold).sum(-1)
        self._columns += torch.bincount(filled.cpu(), minlength=len(self._columns))

    def as_json(self) -> dict[str, Any]:
        """Numbers for a file, null where there is no such column.

        `voxels`: mean of the occupied voxels in columns that have any; `thickest`: 95 of 100 such
        columns have at most so many; `covered`: percent of the columns that have any.
        """
        counts = self._columns[1:].double()
        covered, columns = float(counts.sum()), float(self._columns.sum())
        if not covered:
            return {'voxels': None, 'thickest': None, 'covered': 0.0 if columns else None}
        depth = torch.arange(1, len(self._columns), dtype=torch.float64)
        enough = counts.cumsum(0) >= 0.95 * covered
        return {
            'voxels': round(float((counts * depth).sum()) / covered, 3),
            'thickest': int(enough.int().argmax()) + 1,
            'covered': round(100 * covered / columns, 2),
        }


def _within(grid: VoxelGrid, reach: float) -> Tensor:
    """Which columns [X, Y] lie within metres of the ego."""
    return grid.centers()[:, :, 0, :2].norm(dim=-1) < reach
