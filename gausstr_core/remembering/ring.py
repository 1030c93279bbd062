"""The voxels that are remembered: a ring fixed in the fixed frame, which follows the ego.

A cell is found by its number in the fixed frame, floor(position / resolution), modulo the size of
the ring. When the ego moves on, the cells that fall out behind become those that come in ahead,
empty. The ring holds the ego's grid at every yaw, and spare cells above and below for slopes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gausstr_core.contracts import VoxelGrid

SPARE = 6  # cells above and below the grid: 2.4 m at 0.4 m
NAMED = 1 / 12  # of the cells that can have a name at once; the oldest names make room
COMPONENTS = 32  # int8 numbers by which a feature is remembered
NEVER = -1  # in `seen`
NAMELESS = -1  # in `slot`
STEP = 1024.0  # of `odds` in a log-odd


@dataclass
class Ring:
    """Arrays that cycles write into. C is the product of `size`, S the number of names."""

    size: np.ndarray  # [3] int64 cells along x, y, z
    origin: np.ndarray  # [3] int64, the lowest cell of the fixed frame that the ring holds
    odds: np.ndarray  # [C] int16, log-odds times STEP at the time `seen`
    seen: np.ndarray  # [C] int32, ms since the memory began, or NEVER
    slot: np.ndarray  # [C] int32, where the name is, or NAMELESS
    owner: np.ndarray  # [S] int32, the cell that a name is of
    label: np.ndarray  # [S] uint8, category
    share: np.ndarray  # [S] uint8, confidence of the label times 255
    named: np.ndarray  # [S] int32, when, ms as `seen`
    code: np.ndarray  # [S, COMPONENTS] int8, the feature
    hand: np.ndarray  # [2] int64, the slot that the next name takes, and the number of cycles

    @classmethod
    def empty(cls, grid: VoxelGrid) -> Ring:
        """A ring for a grid; nothing is remembered."""
        size = ring_size(grid)
        cells = int(np.prod(size))
        names = max(64, round(cells * NAMED))
        return cls(
            size=size,
            origin=np.zeros(3, np.int64),
            odds=np.zeros(cells, np.int16),
            seen=np.full(cells, NEVER, np.int32),
            slot=np.full(cells, NAMELESS, np.int32),
            owner=np.full(names, NAMELESS, np.int32),
            label=np.zeros(names, np.uint8),
            share=np.zeros(names, np.uint8),
            named=np.full(names, NEVER, np.int32),
            code=np.zeros((names, COMPONENTS), np.int8),
            hand=np.zeros(2, np.int64),
        )

    @property
    def nbytes(self) -> int:
        """What the arrays occupy."""
        return sum(array.nbytes for array in vars(self).values())

    def clear(self) -> None:
        """Forget everything."""
        self.odds.fill(0)
        self.seen.fill(NEVER)
        self.slot.fill(NAMELESS)
        self.owner.fill(NAMELESS)
        self.named.fill(NEVER)
        self.hand.fill(0)

    def follow(self, grid: VoxelGrid, fixed_from_ego: np.ndarray) -> None:
        """Move the window so that the ego's grid lies in its middle; what falls out is forgotten.

        Args:
            grid: of the ego.
            fixed_from_ego: [4, 4].
        """
        middle = (np.array(grid.lower) + np.array(grid.upper)) / 2
        place = fixed_from_ego[:3, :3] @ middle + fixed_from_ego[:3, 3]
        wanted = np.floor(place / grid.resolution).astype(np.int64) - self.size // 2
        cells = [a.reshape(self.size) for a in (self.odds, self.seen, self.slot)]
        for axis in range(3):
            step = int(wanted[axis] - self.origin[axis])
            new = _entered(int(self.origin[axis]), step, int(self.size[axis]))
            rows: list[np.ndarray | slice] = [slice(None)] * 3
            rows[axis] = new
            for array, value in zip(cells, (0, NEVER, NAMELESS), strict=True):
                array[tuple(rows)] = value
        self.origin[:] = wanted


def ring_size(grid: VoxelGrid) -> np.ndarray:
    """[3] int64: cells that hold the grid at every yaw."""
    x, y, z = grid.shape
    across = math.ceil(math.hypot(x, y)) + 2
    return np.array([across, across, z + 2 * SPARE], np.int64)


def _entered(origin: int, step: int, size: int) -> np.ndarray:
    """Indices along one axis of the cells that come in when the window moves by `step`."""
    if abs(step) >= size:
        return np.arange(size)
    first = origin + size if step > 0 else origin + step
    return np.arange(first, first + abs(step)) % size
