"""Which pixels of a neighbouring frame the Gaussians of this frame can be held to.

A neighbour sees what this frame does not: what has come into view, and what has moved. There the
Gaussians cannot be right, so only pixels count whose point this frame sees at the same place.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gausstr_core.camera.rig import CameraRig

AGREEMENT = 0.1  # of the depth: about what estimated depth agrees with itself over half a second


def seen_from(
    depth: Tensor, rig: CameraRig, own_depth: Tensor, own_rig: CameraRig, limit: float
) -> Tensor:
    """Bool [M, H, W]: the pixel's point lies where a camera of this frame sees a surface.

    Pixels at or beyond the limit agree with what is at or beyond it.

    Args:
        depth: [M, H, W] z-depth in metres of the neighbour's cameras.
        rig: those cameras in this frame's ego frame, at the depth's size.
        own_depth: [N, h, w] of this frame's cameras.
        own_rig: those cameras, at their depth's size.
        limit: metres; depths beyond are taken to be there.
    """
    known = own_depth.clamp(max=limit)
    agreed = [
        _agreed(plane.clamp(max=limit), rig.select((name,)), known, own_rig, limit)
        for name, plane in zip(rig.names, depth, strict=True)
    ]
    return torch.stack(agreed)


def _agreed(
    depth: Tensor, camera: CameraRig, known: Tensor, own_rig: CameraRig, limit: float
) -> Tensor:
    """Bool [H, W] of one camera."""
    rows, columns = depth.shape
    points = camera.unproject(pixel_centres(rows, columns, depth), depth.reshape(1, -1))[0]
    pixels, distance = own_rig.project(points)
    height, width = known.shape[-2:]
    x, y = pixels[..., 0], pixels[..., 1]
    inside = (distance > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    # behind a camera a pixel may be anywhere, also where no index reaches
    column = x.where(inside, torch.zeros_like(x)).long()
    row = y.where(inside, torch.zeros_like(y)).long()
    view = torch.arange(len(known), device=depth.device)[:, None]
    surface = known[view, row, column]
    same = (surface - distance).abs() <= AGREEMENT * distance
    both_far = (depth.flatten() >= limit) & (surface >= limit)
    return (inside & (same | both_far)).any(0).reshape(depth.shape)


def pixel_centres(height: int, width: int, like: Tensor) -> Tensor:
    """[1, H * W, 2] (x, y) of all pixel centres, by rows."""
    rows, columns = torch.meshgrid(
        torch.arange(height, device=like.device) + 0.5,
        torch.arange(width, device=like.device) + 0.5,
        indexing='ij',
    )
    return torch.stack([columns, rows], dim=-1).reshape(1, -1, 2).to(like)
