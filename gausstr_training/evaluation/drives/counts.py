"""What is counted over a drive: scores in three masks, flicker, ghosts, moving things found."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from gausstr_core.contracts import VoxelGrid
from gausstr_training.evaluation.tally import COUNT, SCORED, Scores, confusion_of
from gausstr_training.streets.classes import FREE

MASKS = ('present', 'seen', 'unmasked')
LATER = (0.5, 1.0, 2.0)  # seconds after which a ghost is looked for
APART = 0.4  # seconds between the frames whose cameras make up "seen at some time", about


@dataclass(frozen=True)
class TrueFrame:
    """The truth of one frame of a drive, on the grid [X, Y, Z] of the ego."""

    stamp: int  # ns
    fixed_from_ego: np.ndarray  # [4, 4]
    voxels: np.ndarray  # uint8 class, FREE
    mask: np.ndarray  # bool, what the cameras see
    moving: np.ndarray  # bool, what belongs to a body that moves


class Carrier:
    """Looks up arrays of one frame at the voxels of another, nearest neighbour."""

    def __init__(self, grid: VoxelGrid) -> None:
        self._grid = grid
        self._points = grid.centers().double().numpy().reshape(-1, 3)

    def index(self, source: TrueFrame, target: TrueFrame) -> np.ndarray:
        """Flat index [X * Y * Z] into the source's arrays for every voxel of the target; -1."""
        grid = self._grid
        pose = np.linalg.inv(source.fixed_from_ego) @ target.fixed_from_ego
        points = self._points @ pose[:3, :3].T + pose[:3, 3]
        cells = np.floor((points - grid.lower) / grid.resolution).astype(np.int32)
        inside = ((cells >= 0) & (cells < grid.shape)).all(1)
        flat = (cells[:, 0] * grid.shape[1] + cells[:, 1]) * grid.shape[2] + cells[:, 2]
        return np.where(inside, flat, -1)


def carried(array: np.ndarray, index: np.ndarray) -> np.ndarray:
    """A bool array [X, Y, Z] at indices of `Carrier.index`, False outside."""
    return (array.reshape(-1)[np.maximum(index, 0)] & (index >= 0)).reshape(array.shape)


@dataclass
class Share:
    """Hits among cases."""

    hits: int = 0
    cases: int = 0

    def add(self, hit: np.ndarray, case: np.ndarray) -> None:
        """Count bool arrays of one shape."""
        self.hits += int((hit & case).sum())
        self.cases += int(case.sum())

    @property
    def percent(self) -> float | None:
        """None where there was no case."""
        return round(100 * self.hits / self.cases, 3) if self.cases else None


@dataclass
class DriveCounts:
    """Counts of one way to map, over drives."""

    confusions: dict[str, torch.Tensor] = field(
        default_factory=lambda: {
            mask: torch.zeros(COUNT + 1, COUNT + 1, dtype=torch.int64) for mask in MASKS
        }
    )
    flicker: Share = field(default_factory=Share)
    in_view: dict[float, Share] = field(default_factory=lambda: {t: Share() for t in LATER})
    out_of_view: dict[float, Share] = field(default_factory=lambda: {t: Share() for t in LATER})
    moving: Share = field(default_factory=Share)

    def document(self) -> dict[str, Any]:
        """Percent, null for what never occurred."""
        scores = {m: Scores.of(c, SCORED).as_json() for m, c in self.confusions.items()}
        ghosts = {'in_view': self.in_view, 'out_of_view': self.out_of_view}
        return {
            **{m: {key: scores[m][key] for key in ('iou', 'miou')} for m in MASKS},
            'per_class': scores['present']['per_class'],
            'flicker': self.flicker.percent,
            'ghosts': {
                where: [shares[t].percent for t in LATER] for where, shares in ghosts.items()
            },
            'moving_found': self.moving.percent,
        }


class DriveScorer:
    """Goes through one drive and adds to the counts of several ways to map it.

    Args:
        grid: of truth and maps.
        counts: of each way, by its name.
        frames: of the drive; the last quarter is scored, when a memory is full.
        period: seconds between frames.
    """

    def __init__(
        self, grid: VoxelGrid, counts: dict[str, DriveCounts], frames: int, period: float
    ) -> None:
        self._counts, self._carrier = counts, Carrier(grid)
        self._first, self._number = frames - max(1, frames // 4), 0
        self._every = max(1, round(APART / period))
        self._past: deque[tuple[TrueFrame, dict[str, np.ndarray]]] = deque(
            maxlen=round(max(LATER) / period) + 1
        )
        self._views: list[TrueFrame] = []

    def add(self, truth: TrueFrame, labels: dict[str, np.ndarray]) -> None:
        """Count one frame.

        Args:
            truth: of the frame.
            labels: int64 [X, Y, Z] of each way, -1 where nothing is.
        """
        occupied = {way: found >= 0 for way, found in labels.items()}
        scored = self._number >= self._first
        if scored and (self._number - self._first) % self._every == 0:
            self._score(truth, labels)
        self._compare(truth, occupied)
        for way, found in occupied.items():
            self._counts[way].moving.add(found, truth.moving & truth.mask)
        self._past.append((truth, occupied))
        if self._number % self._every == 0:
            self._views.append(truth)
        self._number += 1

    def _score(self, truth: TrueFrame, labels: dict[str, np.ndarray]) -> None:
        seen = truth.mask.copy()
        for view in self._views:
            seen |= carried(view.mask, self._carrier.index(view, truth))
        masks = {'present': truth.mask, 'seen': seen, 'unmasked': np.ones_like(seen)}
        true = np.where(truth.voxels == FREE, COUNT, truth.voxels).astype(np.uint8)
        for way, found in labels.items():
            said = np.where(found < 0, COUNT, found).astype(np.uint8)
            for name, mask in masks.items():
                self._counts[way].confusions[name] += confusion_of(said, true, mask, COUNT)

    def _compare(self, truth: TrueFrame, occupied: dict[str, np.ndarray]) -> None:
        """Flicker against the frame before, ghosts against earlier ones."""
        free = truth.voxels == FREE
        for back, (old, before) in enumerate(reversed(self._past)):
            seconds = (truth.stamp - old.stamp) / 1e9
            later = [t for t in LATER if abs(seconds - t) < 0.02]
            if back and not later:
                continue
            index = self._carrier.index(old, truth)
            if not back:
                still = truth.mask & ~truth.moving & carried(old.mask & ~old.moving, index)
                for way, found in occupied.items():
                    changed = found != carried(before[way], index)
                    self._counts[way].flicker.add(changed, still)
            left = carried(old.moving & old.mask, index) & free
            for way, found in occupied.items():
                for t in later:
                    self._counts[way].in_view[t].add(found, left & truth.mask)
                    self._counts[way].out_of_view[t].add(found, left & ~truth.mask)
