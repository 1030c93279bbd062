"""Splatted depth without bias: the depth of the surface a Gaussian lies in, not of its centre.

Ordinary splatting draws every pixel of a Gaussian at the z of its centre, and near Gaussians come
first. On ground seen at a grazing angle each pixel is then drawn too near (measured: 5 %), and
training answers by pushing the Gaussians under the road (measured: by 0.12 m). Splatting each
Gaussian's plane instead, normal and offset, gives depth as ray meets plane, as in PGSR
(arXiv 2406.06521, section 3.1); it needs no division by alpha either.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import Gaussians, matrix_from_quaternion
from gausstr_core.splatting import splat

GRAZING = 0.01  # smallest cosine between ray and normal that still counts
NEAREST, FARTHEST = 0.3, 100.0  # metres


def splat_surfaces(
    gaussians: Gaussians, rig: CameraRig, height: int, width: int, seen_by: CameraRig | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Splat features and planes.

    Args:
        gaussians: in the order of the rig's views, the same number for each; features [G, C].
        rig: N cameras.
        seen_by: the cameras whose views the Gaussians are of, where they are others.

    Returns:
        features [N, C, h, w], surface depth [N, h, w] in metres and alpha [N, h, w].
    """
    channels = gaussians.features.shape[1]
    planes = plane_parameters(gaussians, seen_by or rig)
    images = splat(
        replace(gaussians, features=torch.cat([gaussians.features, planes], dim=-1)),
        rig,
        height,
        width,
    )
    depth = meet_planes(images.features[:, channels:], rig.resized(height, width))
    return images.features[:, :channels], depth, images.alpha


def plane_parameters(gaussians: Gaussians, rig: CameraRig) -> Tensor:
    """[G, 4] unit normal in the ego frame, away from the Gaussian's own camera, and offset n.x."""
    normal = matrix_from_quaternion(gaussians.rotations)[..., 2]
    origin = rig.ego_from_camera[:, :3, 3].repeat_interleave(len(gaussians) // len(rig), 0)
    away = ((gaussians.means - origin) * normal).sum(-1, keepdim=True).detach()
    normal = torch.where(away < 0, -normal, normal)
    return torch.cat([normal, (normal * gaussians.means).sum(-1, keepdim=True)], dim=-1)


def meet_planes(planes: Tensor, rig: CameraRig) -> Tensor:
    """z-depth [N, h, w] at which each pixel's ray meets the blended plane [N, 4, h, w]."""
    height, width = planes.shape[-2:]
    row, column = torch.meshgrid(
        torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing='ij'
    )
    pixels = torch.stack([column, row, torch.ones_like(row)], dim=-1).to(planes)
    ego_from_pixel = rig.ego_from_camera[:, :3, :3] @ torch.linalg.inv(rig.intrinsics)
    rays = torch.einsum('nij,hwj->nihw', ego_from_pixel.to(planes), pixels)
    origin = rig.ego_from_camera[:, :3, 3].to(planes)
    size = planes[:, :3].norm(dim=1).clamp_min(1e-6)
    distance = planes[:, 3] - torch.einsum('nihw,ni->nhw', planes[:, :3], origin)
    slope = (planes[:, :3] * rays).sum(1) / size
    return (distance / size / slope.clamp_min(GRAZING)).clamp(NEAREST, FARTHEST)
