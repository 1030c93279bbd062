"""MaskCLIP features, sharpened by FeatUp: the image side of the `featup` preset.

Input 432x768 RGB, normalised with CLIP's mean and std; CLIP ViT-B/16 gives 27x48 patches of 512
channels, FeatUp raises them to full size with the image as guide, and 16x16 pooling brings them
back to stride 16, now averaged along the borders of things. Without FeatUp the patches stay as
CLIP gives them (an ablation of the paper). Not normalised in length. Weights: CLIP (MIT, OpenAI)
and FeatUp's `maskclip` without channel norm (MIT).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from gausstr_core.camera.rig import CameraRig
from gausstr_core.foundation.features.clip_vision import ClipVision
from gausstr_core.foundation.features.jbu import JointBilateralStack
from gausstr_core.foundation.interface import (
    CLIP_MEAN,
    CLIP_STD,
    check_patches,
    check_size,
    normalised,
)
from gausstr_core.weights.catalogue import CLIP, FEATUP
from gausstr_core.weights.fetch import locate
from gausstr_core.weights.tensors import fill, read_tensors, under

ENLARGEMENT = 16  # of FeatUp's four doublings


class MaskClipFeatures(nn.Module):
    """uint8 images [N, H, W, 3] -> features [N, 512, H / 16, W / 16]."""

    def __init__(
        self,
        tower: ClipVision,
        upsampler: JointBilateralStack | None,
        input_size: tuple[int, int] = (432, 768),
    ) -> None:
        super().__init__()
        if upsampler is not None and tower.patch != ENLARGEMENT:
            raise ValueError(f'FeatUp enlarges by {ENLARGEMENT}, the tower has {tower.patch}')
        self.tower = tower.eval()
        self.upsampler = None if upsampler is None else upsampler.eval()
        self.feature_dim = tower.out
        self.name = 'MaskCLIP ViT-B/16' + (' with FeatUp' if upsampler is not None else '')
        self.input_size = check_size(input_size, tower.patch, 'input_size', self.name)

    @classmethod
    def from_folder(
        cls,
        folder: Path | str | None = None,
        input_size: tuple[int, int] = (432, 768),
        sharpened: bool = True,
    ) -> MaskClipFeatures:
        """Load the published files, that of FeatUp only where `sharpened`; None fetches them.

        Raises:
            ValueError: a file is missing or does not fit, or `input_size` is no multiple of 16;
                the message names it.
        """
        tower = ClipVision.from_file(locate(CLIP, folder))
        if not sharpened:
            return cls(tower, None, input_size)
        path = locate(FEATUP, folder)
        upsampler = JointBilateralStack(tower.out)
        fill(upsampler, under(read_tensors(path), 'upsampler.', path), path)
        return cls(tower, upsampler, input_size)

    def forward(self, images: Tensor, rig: CameraRig) -> Tensor:
        """See `FeatureNetwork`.

        Raises:
            ValueError: the sides are no multiples of 16.
        """
        check_patches(images, self.tower.patch, self.name)
        maps = []
        # one image at a time: the last step holds maps of the full image size
        for image in images:
            planes = normalised(image[None], CLIP_MEAN, CLIP_STD)
            dense = self.dense(planes)
            if self.upsampler is not None:
                dense = self.upsampler.pooled(dense, planes, self.tower.patch)
            maps.append(dense)
        return torch.cat(maps)

    def dense(self, planes: Tensor) -> Tensor:
        """The part that an engine may run: normalised images [N, 3, H, W] -> patches."""
        return self.tower.dense(planes)
