"""Depth Anything V2, metric outdoor variant (arXiv 2406.09414), through transformers.

Any image size: scaled so that the side whose factor is closer to one becomes 518, both rounded to
multiples of 14, bicubic; ImageNet mean and std. Answers in metres up to 80 for the outdoor
weights. Small: Apache-2.0; Base and Large of Depth Anything V2 are CC-BY-NC-4.0 at their source,
whatever a copy's page says.

The network is told no focal length, so it answers as if each image came from a camera of its
training: Virtual KITTI, 725 pixels at 1242x375. The authors' training scales such an image until
its height is 518 and cuts squares of 518 from it (metric_depth/dataset/vkitti2.py), so that it
always saw the whole height and never the whole width: their cameras have 1.93 image heights. A
camera of f image heights, its shorter side, shows things f / 1.93 times as large, and depth is
multiplied by that. Reasoned from this; not measured, see docs/foundation.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gausstr_core.camera.rig import CameraRig
from gausstr_core.foundation.interface import check_size, normalised, resize_images
from gausstr_core.foundation.pretrained import load_pretrained
from gausstr_core.weights.catalogue import DEPTH_ANYTHING, locate_folder

MIN_DEPTH = 1e-3  # metres
PATCH = 14
TRAINED_FOCAL = 725.0087 / 375  # focal length over the shorter side of an image of Virtual KITTI


class DepthAnythingDepth(nn.Module):
    """uint8 images [N, H, W, 3], rig -> z-depth [N, H, W] in metres.

    Args:
        predict: normalised images [N, 3, h, w] -> depth [N, h, w] as the network answers.
        side: what the side whose factor is closer to one becomes, pixels.
        size: (height, width) at which the network looks instead, whatever the image's shape.

    Raises:
        ValueError: `size` is no multiple of 14.
    """

    name = 'Depth Anything V2 Metric Outdoor Small'
    trained_focal: Tensor

    def __init__(
        self, predict: nn.Module, side: int = 518, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        self.predict, self.side = predict.eval(), side
        self.size = size and check_size(size, PATCH, 'depth_size', self.name)
        # among the weights, because stored targets are told apart by those
        self.register_buffer('trained_focal', torch.tensor(TRAINED_FOCAL))

    @classmethod
    def from_folder(
        cls,
        folder: Path | str | None = None,
        side: int = 518,
        size: tuple[int, int] | None = None,
    ) -> DepthAnythingDepth:
        """Load config.json and model.safetensors; None fetches them.

        Raises:
            ValueError: the files are missing, do not fit, or are a relative variant.
        """
        path = locate_folder(DEPTH_ANYTHING, folder)
        network = load_pretrained('DepthAnythingForDepthEstimation', path)
        return cls(_Published(network), side, size)

    @torch.no_grad()
    def forward(self, images: Tensor, rig: CameraRig) -> Tensor:
        """See `DepthNetwork`."""
        height, width = images.shape[1:3]
        size = self.size or fitting_size(height, width, self.side, PATCH)
        small = resize_images(list(images), *size, mode='bicubic')
        depth = self.predict(normalised(small))
        # bilinear: bicubic overshoots at the edges of things
        depth = F.interpolate(depth[:, None], (height, width), mode='bilinear')[:, 0]
        factor = focal_over_side(rig, height, width).to(depth) / self.trained_focal
        return (depth * factor[:, None, None]).clamp_min(MIN_DEPTH)


class _Published(nn.Module):
    """The network of transformers as a function of normalised images."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        if network.config.depth_estimation_type != 'metric':
            raise ValueError(
                'Depth Anything must be a metric variant, got one for '
                f'{network.config.depth_estimation_type} depth, which has no unit'
            )
        self.network = network

    def forward(self, planes: Tensor) -> Tensor:
        """Normalised images [N, 3, h, w] -> depth [N, h, w]."""
        return self.network(pixel_values=planes).predicted_depth


def focal_over_side(rig: CameraRig, height: int, width: int) -> Tensor:
    """[N] each camera's focal length along the shorter side of its image, over that side."""
    along = 1 if height <= width else 0
    return rig.intrinsics[:, along, along] / min(height, width)


def fitting_size(height: int, width: int, side: int, patch: int) -> tuple[int, int]:
    """The (height, width) at which the network looks: 900x1600 -> 518x924 for side 518."""
    factor = min(side / height, side / width, key=lambda factor: abs(1 - factor))
    rows, columns = round(factor * height / patch), round(factor * width / patch)
    return patch * max(rows, 1), patch * max(columns, 1)
