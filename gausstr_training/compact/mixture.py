"""One's own frames mixed with streets, so that nothing of what streets teach is forgotten."""

from __future__ import annotations

import copy
import math

from torch import Tensor

from gausstr_training.compact.batch import Batch
from gausstr_training.compact.frames import FrameStore, Store, weights_of


class Mixture:
    """Draws from two stores, of every stretch of positions the share of each.

    Positions count the draws of all steps, so that a step of 8 views at a share of a half sees 4
    of each, whatever the number of frames there are.

    Args:
        own: the frames that the share is of.
        streets: the others.
        share: of the draws that are own, between 0 and 1.
    """

    def __init__(self, own: FrameStore, streets: FrameStore, share: float) -> None:
        assert 0 < share < 1, share
        self._own, self._streets, self._share = own, streets, share

    def __len__(self) -> int:
        return len(self._own) + len(self._streets)

    def part(self, first: float, past: float) -> Mixture:
        """Of both the frames between two shares of the whole; see `FrameStore.part`."""
        part = copy.copy(self)
        part._own, part._streets = self._own.part(first, past), self._streets.part(first, past)
        return part

    def frame(self, position: int, seed: int) -> Batch:
        """The whole rig of one frame; see `FrameStore.frame`."""
        store, place = self._at(position)
        return store.frame(place, seed)

    def neighbours(self, position: int, seed: int) -> tuple[Batch, ...]:
        """The frames before and after `frame`."""
        store, place = self._at(position)
        return store.neighbours(place, seed)

    def view(self, position: int, seed: int) -> Batch:
        """One camera; see `FrameStore.view`."""
        store, place = self._at(position)
        return store.view(place, seed)

    def class_shares(self, classes: int) -> Tensor:
        """[classes] of the pixels that are drawn; sums to one."""
        own, streets = self._own.class_shares(classes), self._streets.class_shares(classes)
        return self._share * own + (1 - self._share) * streets

    def class_weights(self, classes: int) -> Tensor:
        """[classes] see `weights_of`."""
        return weights_of(self.class_shares(classes))

    def _at(self, position: int) -> tuple[FrameStore, int]:
        """Whose turn it is, and how many of its kind came before."""
        before = math.floor(position * self._share)
        if math.floor((position + 1) * self._share) > before:
            return self._own, before
        return self._streets, position - before


def mixed(own: FrameStore | None, streets: FrameStore | None, share: float) -> Store:
    """The store of a run: one kind alone where there is no other."""
    if own is None or streets is None or share == 1:
        only = own or streets
        assert only is not None
        return only
    return Mixture(own, streets, share)
