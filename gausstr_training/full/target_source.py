"""Where the targets of a frame come from: the foundation networks, or a store of their answers."""

from __future__ import annotations

from typing import Protocol

import torch

from gausstr_core.foundation.combined import CombinedFoundation
from gausstr_training.bags.frame import BagFrame
from gausstr_training.losses.released import Targets
from gausstr_training.targets.online import Teacher


class TargetSource(Protocol):
    """Frames -> what the model reads, and what its splatted images should show."""

    input_size: tuple[int, int]  # (height, width) of the depth it gives
    feature_dim: int  # channels of the features it gives
    gives_segments: bool  # whether it knows segmentation maps

    def __call__(self, frame: BagFrame) -> Targets:
        """Features [N, C, h, w] and depth [N, H, W] of a frame's N cameras, on one device.

        Raises:
            ValueError: there are none for this frame; the message names it.
        """
        ...


class CachedTargets:
    """Takes them from a cache, or asks the networks and keeps the answer.

    Args:
        teacher: gives maps on the device where the targets are wanted.
        segments: whether label maps are wanted, which gausstr-make-targets puts beside the rest.
    """

    gives_segments = True

    def __init__(self, teacher: Teacher, *, segments: bool = False) -> None:
        self._teacher, self._segments = teacher, segments
        self.input_size, self.feature_dim = teacher.input_size, teacher.feature_dim

    def __call__(self, frame: BagFrame) -> Targets:
        """See `TargetSource`."""
        found = self._teacher.maps_for(frame.key, frame.images, frame.rig)
        if not self._segments:
            return Targets(found.maps.features, found.maps.depth)
        if found.masks is None:
            raise ValueError(
                f'{frame.key}: the cache has no label maps; make them with gausstr-make-targets '
                '--masks'
            )
        return Targets(found.maps.features, found.maps.depth, found.masks.long())


class OnlineTargets:
    """Asks the frozen networks, for every frame anew.

    Args:
        foundation: on `device`.
        device: where the targets are wanted.
    """

    gives_segments = False

    def __init__(self, foundation: CombinedFoundation, device: torch.device) -> None:
        self._foundation, self._device = foundation, device
        self.input_size, self.feature_dim = foundation.input_size, foundation.feature_dim

    def __call__(self, frame: BagFrame) -> Targets:
        """See `TargetSource`."""
        maps, _ = self._foundation.encode(frame.images, frame.rig, self._device)
        return Targets(maps.features, maps.depth)
