"""Depth Anything V2, metric outdoor variant (arXiv 2406.09414), through transformers.

Any image size: scaled so that the side whose factor is closer to one becomes 518, both rounded to
multiples of 14, bicubic; ImageNet mean and std. Answers in metres up to 80 for the outdoor
weights. It knows no focal length: metres are right for cameras like those it was trained with
(Virtual KITTI, about 725 pixels at 1242 wide). Small: Apache-2.0; Base and Large of Depth
Anything V2 are CC-BY-NC-4.0 at their source, whatever a copy's page says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gausstr_core.camera.rig import CameraRig
from gausstr_core.foundation.interface import normalised, resize_images
from gausstr_core.foundation.pretrained import load_pretrained
from gausstr_core.weights.catalogue import DEPTH_ANYTHING, locate_folder

MIN_DEPTH = 1e-3  # metres


class DepthAnythingDepth(nn.Module):
    """uint8 images [N, H, W, 3] -> z-depth [N, H, W] in metres."""

    name = 'Depth Anything V2 Metric Outdoor Small'

    def __init__(self, network: Any, side: int = 518) -> None:
        super().__init__()
        if network.config.depth_estimation_type != 'metric':
            raise ValueError(
                'Depth Anything must be a metric variant, got one for '
                f'{network.config.depth_estimation_type} depth, which has no unit'
            )
        self.network, self.side = network.eval(), side

    @classmethod
    def from_folder(cls, folder: Path | str | None = None, side: int = 518) -> DepthAnythingDepth:
        """Load config.json and model.safetensors; None fetches them.

        Raises:
            ValueError: the files are missing, do not fit, or are a relative variant.
        """
        path = locate_folder(DEPTH_ANYTHING, folder)
        return cls(load_pretrained('DepthAnythingForDepthEstimation', path), side)

    @torch.no_grad()
    def forward(self, images: Tensor, rig: CameraRig) -> Tensor:
        """See `DepthNetwork`; the rig is not used."""
        height, width = images.shape[1:3]
        size = fitting_size(height, width, self.side, self.network.config.patch_size)
        small = resize_images(list(images), *size, mode='bicubic')
        depth = self.network(pixel_values=normalised(small)).predicted_depth
        # bilinear: bicubic overshoots at the edges of things
        depth = F.interpolate(depth[:, None], (height, width), mode='bilinear')[:, 0]
        return depth.clamp_min(MIN_DEPTH)


def fitting_size(height: int, width: int, side: int, patch: int) -> tuple[int, int]:
    """The (height, width) at which the network looks: 900x1600 -> 518x924 for side 518."""
    factor = min(side / height, side / width, key=lambda factor: abs(1 - factor))
    rows, columns = round(factor * height / patch), round(factor * width / patch)
    return patch * max(rows, 1), patch * max(columns, 1)
