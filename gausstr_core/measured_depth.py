"""Depth that a sensor measured, in place of the network's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import FoundationMaps, Gaussians


def with_measured_depth(
    maps: FoundationMaps, depth: Sequence[Tensor | np.ndarray], rig: CameraRig
) -> tuple[FoundationMaps, Tensor, Tensor]:
    """Put measured depth in place of the network's, where it is known.

    Args:
        maps: of the N cameras, at network size.
        depth: z-depth in metres [H_i, W_i] of each camera, any size; pixels that are not finite
            or 0 are unknown, negative ones say that nothing is nearer, but not what is there.
        rig: the N cameras.

    Returns:
        The maps, where depth is known, and where a surface is: bool [N, H, W].

    Raises:
        ValueError: there is not one image per camera.
    """
    if len(depth) != len(rig):
        raise ValueError(f'expected depth for {len(rig)} cameras, got {len(depth)}')
    planes = []
    for image in depth:
        plane = torch.as_tensor(image, dtype=torch.float32)[None, None]
        # nearest: an average of near and far would be a surface that does not exist; exact: plain
        # 'nearest' takes a pixel's corner, on far ground metres from its middle
        planes.append(F.interpolate(plane, maps.depth.shape[1:], mode='nearest-exact')[0, 0])
    measured = torch.stack(planes).to(maps.depth.device)
    known = torch.isfinite(measured) & (measured != 0)
    found = replace(maps, depth=torch.where(known, measured.abs(), maps.depth))
    return found, known, known & (measured > 0)


def at_known_pixels(gaussians: Gaussians, known: Tensor, rig: CameraRig) -> Tensor:
    """Which Gaussians [G], ordered by view, lie in a pixel of their own view that is known.

    Args:
        gaussians: as a transformer gives them: the same number for each of the N views.
        known: bool [N, H, W].
        rig: the N cameras at that size.
    """
    pixels, _ = rig.project(gaussians.means)
    views = torch.arange(len(rig), device=known.device)[:, None]
    own = pixels.unflatten(1, (len(rig), -1))[views[:, 0], views[:, 0]].long()
    height, width = known.shape[1:]
    column, row = own[..., 0].clamp(0, width - 1), own[..., 1].clamp(0, height - 1)
    return known[views, row, column].flatten()
