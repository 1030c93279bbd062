"""Where the targets of a frame come from: the foundation networks, or a store of their answers."""

from __future__ import annotations

from typing import Protocol

import torch

from gausstr_core.foundation.combined import CombinedFoundation
from gausstr_training.bags.frame import BagFrame
from gausstr_training.released_losses import Targets


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
        maps, _ = self._foundation.see(frame.images, frame.rig, self._device)
        return Targets(maps.features, maps.depth)
