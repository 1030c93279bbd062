"""Random changes to a batch of views with its targets and its rig; bags have theirs in bags/."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_training.bags.augment import mirrored_rig
from gausstr_training.bags.photometry import degraded, photometric
from gausstr_training.compact.batch import Batch, thinned
from gausstr_training.recipes import AugmentationRecipe

AGREES = 1.06  # depth interpolated and depth of the nearest pixel differ more: an edge


def augmented(batch: Batch, recipe: AugmentationRecipe, generator: torch.Generator) -> Batch:
    """Mirror every other batch, enlarge windows, vary light, colour, lens and sensor."""
    if torch.rand((), generator=generator) < 0.5:
        batch = mirrored(batch)
    if recipe.zoom > 1:
        batch = zoomed(batch, recipe.zoom, generator)
    images = photometric(batch.images, generator)
    if recipe.sensor:
        images = degraded(images, generator)
    return replace(batch, images=images)


def mirrored(batch: Batch) -> Batch:
    """The batch seen in a mirror: images left-right, the rig across the ego's x-z plane."""
    return Batch(
        batch.images.flip(2),
        batch.depth.flip(2),
        batch.semantics.flip(2),
        mirrored_rig(batch.rig),
        None if batch.likely is None else batch.likely.flip(3),
    )


def zoomed(batch: Batch, most: float, generator: torch.Generator) -> Batch:
    """Enlarge a window of each view to the full size, half of them not at all.

    Seen through it, the camera has a longer focal length and another principal point; depth along
    its axis stays what it was.
    """
    n, height, width = batch.depth.shape
    zoom = 1 + (most - 1) * (2 * torch.rand(n, generator=generator) - 1).clamp_min(0)
    place = torch.rand(n, 2, generator=generator)
    rest = (1 - 1 / zoom)[:, None] * torch.tensor([width, height])
    corner = place * rest  # [N, 2] (left, top) of the window
    x = corner[:, :1] + (torch.arange(width) + 0.5) / zoom[:, None]
    y = corner[:, 1:] + (torch.arange(height) + 0.5) / zoom[:, None]
    grid = torch.stack(
        [
            (2 * x / width - 1)[:, None, :].expand(n, height, width),
            (2 * y / height - 1)[:, :, None].expand(n, height, width),
        ],
        dim=-1,
    )
    images = _resampled(batch.images.permute(0, 3, 1, 2).float(), grid)
    view = torch.arange(n)[:, None, None]
    nearest = view, y.long()[:, :, None], x.long()[:, None, :]
    return Batch(
        (images + 0.5).to(torch.uint8).permute(0, 2, 3, 1).contiguous(),
        _resampled_depth(batch.depth, grid, batch.depth[nearest]),
        batch.semantics[nearest],
        _seen_through(batch.rig, zoom, corner),
        None if batch.likely is None else _resampled_shares(batch.likely, grid),
    )


def _resampled_depth(depth: Tensor, grid: Tensor, nearest: Tensor) -> Tensor:
    """Depth between pixels: 1/z is linear on planes; across edges nothing is mixed."""
    solid = depth > 0
    planes = torch.stack([torch.where(solid, 1 / depth, 0.0), solid.float()], dim=1)
    inverse, share = _resampled(planes, grid).unbind(1)
    between = 1 / inverse.clamp_min(1e-6)
    agrees = (between < AGREES * nearest) & (nearest < AGREES * between) & (share > 0.999)
    return torch.where(agrees, between, nearest)


def _resampled_shares(likely: Tensor, grid: Tensor) -> Tensor:
    coarse = thinned(grid, likely.shape[2], likely.shape[3])
    return (_resampled(likely.float(), coarse) + 0.5).to(torch.uint8)


def _resampled(planes: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(planes, grid, mode='bilinear', padding_mode='border', align_corners=False)


def _seen_through(rig: CameraRig, zoom: Tensor, corner: Tensor) -> CameraRig:
    scale = torch.eye(3).repeat(len(rig), 1, 1)
    scale[:, 0, 0] = scale[:, 1, 1] = zoom
    scale[:, :2, 2] = -zoom[:, None] * corner
    return replace(rig, intrinsics=scale.to(rig.intrinsics) @ rig.intrinsics)
