"""Depth Pro (arXiv 2410.02073) through transformers: sharp metric depth, slow.

Any image size: normalised with mean and std 0.5, stretched to 1536x1536. The network answers with
inverse depth in units of image width per focal length; the calibrated focal length makes it
metric, so its own guess of the field of view is left out. Weights: Apple AMLR licence, research
only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gausstr_core.camera.rig import CameraRig
from gausstr_core.foundation.interface import normalised
from gausstr_core.foundation.pretrained import load_pretrained
from gausstr_core.weights.catalogue import DEPTH_PRO, locate_folder

MIN_INVERSE, MAX_INVERSE = 1e-4, 1e4  # per metre


class DepthProDepth(nn.Module):
    """uint8 images [N, H, W, 3], rig -> z-depth [N, H, W] in metres."""

    name = 'Depth Pro'

    def __init__(self, network: Any, input_size: tuple[int, int] = (1536, 1536)) -> None:
        super().__init__()
        network.fov_model, network.use_fov_model = None, False
        self.network, self.input_size = network.eval(), input_size

    @classmethod
    def from_folder(
        cls, folder: Path | str | None = None, input_size: tuple[int, int] = (1536, 1536)
    ) -> DepthProDepth:
        """Load config.json and model.safetensors; None fetches them.

        Raises:
            ValueError: the files are missing or do not fit.
        """
        path = locate_folder(DEPTH_PRO, folder)
        return cls(load_pretrained('DepthProForDepthEstimation', path), input_size)

    @torch.no_grad()
    def forward(self, images: Tensor, rig: CameraRig) -> Tensor:
        """See `DepthNetwork`."""
        height, width = images.shape[1:3]
        planes = normalised(images, (0.5,) * 3, (0.5,) * 3)
        planes = F.interpolate(planes, self.input_size, mode='bilinear', align_corners=False)
        # one image at a time: each becomes 35 patches inside
        inverse = torch.cat([self.network(plane[None]).predicted_depth for plane in planes])
        inverse = inverse * (width / rig.intrinsics[:, 0, 0].to(inverse))[:, None, None]
        inverse = F.interpolate(inverse[:, None], (height, width), mode='bilinear')[:, 0]
        return 1.0 / inverse.clamp(MIN_INVERSE, MAX_INVERSE)
