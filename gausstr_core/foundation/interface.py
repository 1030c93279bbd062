"""The one small interface behind which every foundation network stands."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from gausstr_core.contracts import FoundationMaps
from gausstr_core.rig import CameraRig


class FoundationNetwork(Protocol):
    """Images of one cycle -> text-aligned features and metric depth."""

    input_size: tuple[int, int]  # (height, width) the network sees
    feature_dim: int  # C of the features, the width of the text encoder

    def __call__(self, images: Tensor, rig: CameraRig) -> FoundationMaps:
        """Look at uint8 RGB images [N, H, W, 3] at `input_size`; `rig` is at that size too."""
        ...


def resize_images(images: list[Tensor], height: int, width: int) -> Tensor:
    """Bring uint8 RGB images [H_i, W_i, 3] of any sizes to one uint8 batch [N, height, width, 3].

    Shrinking averages over the pixel's footprint (antialias), so that a 1600x900 camera and a
    448x252 one look alike to the network.
    """
    batch = []
    for image in images:
        if image.shape[:2] == (height, width):
            batch.append(image)
            continue
        planes = image.permute(2, 0, 1)[None]
        planes = F.interpolate(
            planes, (height, width), mode='bilinear', align_corners=False, antialias=True
        )
        batch.append(planes[0].permute(1, 2, 0))
    return torch.stack(batch)
