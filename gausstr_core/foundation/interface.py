"""The one small interface behind which every foundation network stands.

A `FoundationNetwork` gives features and depth. Where they come from two networks, one file holds
one `FeatureNetwork` or one `DepthNetwork`, and `combined.py` puts a pair together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import FoundationMaps

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class FoundationNetwork(Protocol):
    """Images of one cycle -> text-aligned features and metric depth."""

    input_size: tuple[int, int]  # (height, width) the network sees
    feature_dim: int  # C of the features, the width of the text encoder
    predicts_depth: bool  # whether its depth is more than a place for measured depth

    def __call__(self, images: Tensor, rig: CameraRig) -> FoundationMaps:
        """Encode uint8 RGB images [N, H, W, 3] at `input_size`; `rig` is at that size too."""
        ...

    def encode(
        self, images: Sequence[Tensor], rig: CameraRig, device: torch.device | str = 'cpu'
    ) -> tuple[FoundationMaps, CameraRig]:
        """Encode original images, uint8 RGB [H_i, W_i, 3], with the rig at their sizes.

        Returns:
            The maps on `device`, and the rig at `input_size`.
        """
        ...


class FeatureNetwork(Protocol):
    """Images -> text-aligned features; knows no depth."""

    name: str
    input_size: tuple[int, int]
    feature_dim: int

    def __call__(self, images: Tensor, rig: CameraRig) -> Tensor:
        """uint8 RGB images [N, H, W, 3] -> features [N, C, H / stride, W / stride]."""
        ...


class DepthNetwork(Protocol):
    """Images -> metric z-depth; takes images of any size."""

    name: str

    def __call__(self, images: Tensor, rig: CameraRig) -> Tensor:
        """uint8 RGB images [N, H, W, 3], rig at that size -> depth [N, H, W] > 0 in metres."""
        ...


def resize_images(images: list[Tensor], height: int, width: int, mode: str = 'bilinear') -> Tensor:
    """Bring uint8 RGB images [H_i, W_i, 3] of any sizes to one uint8 batch [N, height, width, 3].

    Shrinking averages over the pixel's footprint (antialias), so that a 1600x900 camera and a
    448x252 one look alike to the network. `mode` 'bicubic' is Pillow's default filter, with which
    the released models were trained.
    """
    batch = []
    for image in images:
        if image.shape[:2] == (height, width):
            batch.append(image)
            continue
        planes = image.permute(2, 0, 1)[None]
        planes = F.interpolate(
            planes, (height, width), mode=mode, align_corners=False, antialias=True
        )
        batch.append(planes[0].permute(1, 2, 0))
    return torch.stack(batch)


def normalised(
    images: Tensor, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD
) -> Tensor:
    """uint8 RGB images [N, H, W, 3] -> float32 [N, 3, H, W], (x / 255 - mean) / std.

    Raises:
        ValueError: the images have another type or shape.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(
            f'expected uint8 RGB images [N, H, W, 3], got {images.dtype} {tuple(images.shape)}'
        )
    planes = images.permute(0, 3, 1, 2).float() / 255.0
    shape = (1, 3, 1, 1)
    return (planes - planes.new_tensor(mean).view(shape)) / planes.new_tensor(std).view(shape)


def check_size(size: tuple[int, int], stride: int, parameter: str, name: str) -> tuple[int, int]:
    """`size`, (height, width) in pixels, where a network of that stride takes it.

    Raises:
        ValueError: a side is no multiple of the stride, or below it; the message names the
            parameter, the network and sizes that would do.
    """
    if len(size) == 2 and all(side > 0 and side % stride == 0 for side in size):
        return size
    near = [max(1, round(side / stride)) * stride for side in size]
    raise ValueError(
        f'{parameter} must be two multiples of {stride} pixels, [height, width], for {name}, '
        f'got {list(size)}; near it is {near}'
    )


def check_patches(images: Tensor, patch: int, name: str) -> tuple[int, int]:
    """(rows, columns) of patches in images [N, H, W, 3].

    Raises:
        ValueError: the size is not a whole number of patches.
    """
    height, width = images.shape[1:3]
    if height % patch or width % patch:
        raise ValueError(
            f'{name} expects images whose sides are multiples of {patch} pixels, '
            f'got {height}x{width} (HxW)'
        )
    return height // patch, width // patch
