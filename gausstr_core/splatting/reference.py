"""The plain twin: every pixel against every Gaussian of its camera, in torch on any device."""

from __future__ import annotations

import torch
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import Gaussians
from gausstr_core.splatting.projection import (
    ALPHA_MAX,
    ALPHA_MIN,
    TRANSMITTANCE_MIN,
    Ellipses,
    SplatImages,
    project,
)


def render(gaussians: Gaussians, rig: CameraRig) -> SplatImages:
    """Splat into a rig whose images all have one size; see `splatting.splat` for the rules."""
    height, width = rig.image_sizes[0]
    ellipses = project(gaussians, rig)
    features, depth, alpha = [], [], []
    for index in range(len(rig)):
        part = ellipses.of_camera(index)
        weights = _weights(ellipses, part, gaussians.opacities, height, width)
        drawn = weights @ gaussians.features[ellipses.gaussian[part]]
        features.append(drawn.T.reshape(-1, height, width))
        depth.append((weights @ ellipses.depth[part]).reshape(height, width))
        alpha.append(weights.sum(-1).reshape(height, width))
    return SplatImages(torch.stack(features), torch.stack(depth), torch.stack(alpha))


def _weights(
    ellipses: Ellipses, part: slice, opacities: Tensor, height: int, width: int
) -> Tensor:
    """[h * w, K] share of each of the camera's K ellipses, near to far, in each pixel."""
    means, conics = ellipses.means[part], ellipses.conics[part]
    rows = torch.arange(height, device=means.device, dtype=means.dtype) + 0.5
    columns = torch.arange(width, device=means.device, dtype=means.dtype) + 0.5
    dx = columns.repeat(height)[:, None] - means[:, 0]
    dy = rows.repeat_interleave(width)[:, None] - means[:, 1]
    xx, xy, yy = conics.unbind(-1)
    power = 0.5 * (xx * dx * dx + yy * dy * dy) + xy * dx * dy
    alpha = (opacities[ellipses.gaussian[part]] * torch.exp(-power)).clamp_max(ALPHA_MAX)
    drawn = (alpha >= ALPHA_MIN) & (power >= 0)  # below 0 only by rounding
    alpha = torch.where(drawn, alpha, torch.zeros_like(alpha))
    after = torch.cumprod(1 - alpha, dim=-1)
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], dim=-1)
    return torch.where(after > TRANSMITTANCE_MIN, alpha * before, torch.zeros_like(alpha))
