"""Which frame comes when: a pure function of seed and position, for any number of ranks.

Training draws from endless epochs, each of which visits every frame once in its own order.
`position` counts all draws of all ranks from the start of the training, so that the state to be
saved for an exact resume is this one number. The sampler of a rank is
`itertools.count(start + rank, ranks)`, for validation `range(rank, len(dataset), ranks)`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from gausstr_training.bags.frame import BagFrame


def drawn(position: int, seed: int, size: int) -> int:
    """Element `position` of endless shuffled epochs: a pure function, so resuming is exact."""
    epoch, index = divmod(position, size)
    return int(_order(seed, epoch, size)[index])


@lru_cache(4)
def _order(seed: int, epoch: int, size: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(size)


def generator_at(position: int, seed: int) -> torch.Generator:
    """Randomness that belongs to one draw, whichever rank or worker makes it."""
    state = np.random.SeedSequence([seed, position]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


class DrawnFrames(Dataset[BagFrame]):
    """The frame drawn at a position, augmented by that position's randomness.

    Args:
        frames: by index; a `BagDataset` or another that gives `BagFrame`s.
        size: how many there are.
        seed: of order and augmentation.
        augment: (frame, generator) -> frame; picklable for spawned workers.

    Example:
        DataLoader(DrawnFrames(dataset, len(dataset), seed, augment), batch_size=None,
        sampler=itertools.count(start + rank, ranks), num_workers=4)
    """

    def __init__(
        self,
        frames: Dataset[BagFrame],
        size: int,
        seed: int,
        augment: Callable[[BagFrame, torch.Generator], BagFrame] | None = None,
    ) -> None:
        self._frames, self._size, self._seed, self._augment = frames, size, seed, augment

    def __getitem__(self, position: int) -> BagFrame:
        """Read the frame of a position; raises what the data set raises."""
        frame = self._frames[drawn(position, self._seed, self._size)]
        if self._augment is None:
            return frame
        return self._augment(frame, generator_at(position, self._seed))
