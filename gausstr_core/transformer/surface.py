"""Surface-aligned start: the depth map says where a Gaussian lies and how it is turned.

An isotropic start wastes most of a Gaussian in front of and behind the surface. The Jacobian of
the unprojection gives the two tangents that one anchor of the query_grid spans on the surface.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import quaternion_from_matrix

FOOTPRINT = 0.55  # standard deviation per anchor spacing: neighbours overlap into a closed surface
ASPECT = 8.0  # the longer tangent is at most this many times the shorter one
THICKNESS = 0.08  # metres, along the normal
SMALLEST = 0.04  # metres, along the tangents


@dataclass(frozen=True)
class Surface:
    """Where each anchor's Gaussian starts."""

    depth: Tensor  # [N, Q, K] z-depth in metres
    scales: Tensor  # [N, Q, K, 3] metres: longer tangent, shorter tangent, normal
    rotations: Tensor  # [N, Q, K, 4] wxyz, ego_from_gaussian


def sample_depth(depth: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Depth and its slope at normalised points, without mixing near and far at edges.

    The inverse depth of a plane is linear in the image, so the nearest pixel is extended by the
    smaller of its one-sided differences: exact on planes, edge-preserving elsewhere.

    Args:
        depth: [N, H, W] z-depth in metres, > 0.
        points: [N, P, 2] (x, y) in [0, 1].

    Returns:
        z-depth [N, P] and the gradient of the inverse depth [N, P, 2] per pixel (1/m).
    """
    n, height, width = depth.shape
    inverse = 1.0 / depth
    pixel = points * points.new_tensor([width, height])
    column = pixel[..., 0].floor().long().clamp(0, width - 1)
    row = pixel[..., 1].floor().long().clamp(0, height - 1)
    view = torch.arange(n, device=depth.device)[:, None]

    def at(r: Tensor, c: Tensor) -> Tensor:
        return inverse[view, r.clamp(0, height - 1), c.clamp(0, width - 1)]

    here = at(row, column)

    def slope(step_r: int, step_c: int) -> Tensor:
        forward = (at(row + step_r, column + step_c) - here) / 2
        backward = (here - at(row - step_r, column - step_c)) / 2
        smaller = torch.where(forward.abs() < backward.abs(), forward, backward)
        edge_c = (column < step_c) | (column >= width - step_c)
        edge_r = (row < step_r) | (row >= height - step_r)
        larger = torch.where(forward.abs() < backward.abs(), backward, forward)
        # beyond the border the clamped difference is zero by construction, not flat by evidence
        return torch.where(edge_c | edge_r, larger, smaller)

    gradient = torch.stack([slope(0, 2), slope(2, 0)], dim=-1)
    centre = torch.stack([column, row], dim=-1) + 0.5
    extended = here + (gradient * (pixel - centre)).sum(-1)
    # the plane through one pixel must not reach the horizon inside that pixel
    inverse_here = torch.minimum(torch.maximum(extended, 0.8 * here), 1.25 * here)
    return 1.0 / inverse_here, gradient


def surface_start(depth: Tensor, points: Tensor, spacing: Tensor, rig: CameraRig) -> Surface:
    """Depth, scales and rotations of Gaussians that lie in the surface seen at `points`.

    Args:
        depth: [N, H, W] z-depth in metres at the rig's size.
        points: [N, Q, K, 2] anchors, normalised.
        spacing: [N, Q, K, 2] distance between neighbouring anchors, normalised.
        rig: N cameras at the size of `depth`.
    """
    n, height, width = depth.shape
    size = points.new_tensor([width, height])
    flat = points.reshape(n, -1, 2)
    z, gradient = sample_depth(depth, flat)
    slope = -(z * z)[..., None] * gradient  # dz per pixel
    inverse_k = torch.linalg.inv(rig.intrinsics).to(depth)
    pixels = torch.cat([flat * size, torch.ones_like(flat[..., :1])], dim=-1)
    ray = pixels @ inverse_k.transpose(-1, -2)
    step = spacing.reshape(n, -1, 2) * size * FOOTPRINT
    rotation = rig.ego_from_camera[:, :3, :3].to(depth)
    tangents = []
    for axis in range(2):
        direction = inverse_k[:, None, :, axis] * z[..., None] + ray * slope[..., axis, None]
        tangents.append((direction * step[..., axis, None]) @ rotation.transpose(-1, -2))
    scales, turned = _principal_axes(tangents[0], tangents[1])
    shape = points.shape[:3]
    return Surface(
        z.reshape(shape),
        scales.reshape(*shape, 3),
        quaternion_from_matrix(turned).reshape(*shape, 4),
    )


def isotropic_start(depth: Tensor, points: Tensor, spacing: Tensor, rig: CameraRig) -> Surface:
    """Balls as wide as an anchor at its depth, for comparison with `surface_start`."""
    shape = points.shape[:3]
    flat = points.reshape(shape[0], -1, 2)
    z, _ = sample_depth(depth, flat)
    height, width = depth.shape[1:]
    pixels = spacing.reshape(shape[0], -1, 2) * points.new_tensor([width, height]) * FOOTPRINT
    focal = rig.intrinsics[:, [0, 1], [0, 1]].to(depth)[:, None]
    radius = (pixels / focal).prod(-1).sqrt() * z
    scales = radius.clamp_min(SMALLEST).reshape(*shape, 1).expand(*shape, 3)
    upright = points.new_tensor([1.0, 0.0, 0.0, 0.0]).expand(*shape, 4)
    return Surface(z.reshape(shape), scales, upright)


def _principal_axes(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Scales [..., 3] and rotation [..., 3, 3] of the ellipse a a^T + b b^T, plus its normal."""
    first = torch.nn.functional.normalize(a, dim=-1)
    along = (b * first).sum(-1)
    rest = b - along[..., None] * first
    second = torch.nn.functional.normalize(rest, dim=-1)
    # closed-form eigenvectors of the 2x2 covariance in the plane of the tangents
    p, q, r = a.norm(dim=-1), along, rest.norm(dim=-1)
    xx, xy, yy = p * p + q * q, q * r, r * r
    angle = 0.5 * torch.atan2(2 * xy, xx - yy)
    cos, sin = angle.cos()[..., None], angle.sin()[..., None]
    major, minor = cos * first + sin * second, cos * second - sin * first
    mean, spread = (xx + yy) / 2, torch.hypot((xx - yy) / 2, xy)
    small = (mean - spread).clamp_min(0).sqrt().clamp_min(SMALLEST)
    large = torch.minimum((mean + spread).sqrt().clamp_min(SMALLEST), ASPECT * small)
    scales = torch.stack([large, small, torch.full_like(small, THICKNESS)], dim=-1)
    normal = torch.linalg.cross(major, minor)
    return scales, torch.stack([major, minor, normal], dim=-1)
