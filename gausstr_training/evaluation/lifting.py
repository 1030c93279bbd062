"""The rivals without Gaussians: every pixel is put into the voxel where its depth says it is."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import VoxelGrid
from gausstr_training.evaluation.tally import COUNT, Guess
from gausstr_training.losses.landing import landing_voxels

EDGE = 1.15  # neighbours whose depths differ by a larger factor: an edge, not a slope


def lift(depth: Tensor, labels: Tensor, keep: Tensor, rig: CameraRig, grid: VoxelGrid) -> Guess:
    """Count pixels per voxel; the label is the most frequent one.

    Args:
        depth: [N, H, W] z-depth in metres.
        labels: [N, H, W] class index 0..15; others are dropped (sky).
        keep: bool [N, H, W], the pixels to lift.
        rig: N cameras at that size.
        grid: where to lift to.
    """
    named = (labels >= 0) & (labels < COUNT) & keep
    voxel, lands = landing_voxels(torch.where(named, depth, 0.0), rig, grid)
    votes = torch.bincount(
        voxel * COUNT + labels.flatten()[lands], minlength=math.prod(grid.shape) * COUNT
    )
    votes = votes.reshape(*grid.shape, COUNT)
    return Guess(votes.sum(-1).float(), votes.argmax(-1))


def upsample_inverse_depth(depth: Tensor) -> tuple[Tensor, Tensor]:
    """Double the size of depth [N, H, W]; also where it does not bridge an edge.

    The inverse depth of a plane is linear in the image, so a plane stays a plane.

    Returns:
        z-depth [N, 2H, 2W] in metres, and bool [N, 2H, 2W]: the pixels mixed there agree.
    """
    doubled = F.interpolate(1 / depth[:, None], scale_factor=2, mode='bilinear')[:, 0]
    padded = F.pad(depth[:, None], (1, 1, 1, 1), mode='replicate')
    farthest = F.max_pool2d(padded, 2, stride=1)[:, 0]
    nearest = -F.max_pool2d(-padded, 2, stride=1)[:, 0]
    smooth = farthest <= EDGE * nearest  # [N, H + 1, W + 1], at the corners of pixels
    rows = (torch.arange(2 * depth.shape[1], device=depth.device) + 1) // 2
    columns = (torch.arange(2 * depth.shape[2], device=depth.device) + 1) // 2
    return 1 / doubled, smooth[:, rows][:, :, columns]


def pixel_labels(scores: Tensor, height: int, width: int) -> Tensor:
    """Best category [N, height, width] of scores [N, h, w, K], upsampled before the choice."""
    best = []
    for view in scores:  # one camera at a time: K channels at full size are large
        planes = F.interpolate(
            view.permute(2, 0, 1)[None], (height, width), mode='bilinear', align_corners=False
        )
        best.append(planes[0].argmax(0))
    return torch.stack(best)
