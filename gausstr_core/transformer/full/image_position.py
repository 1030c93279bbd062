"""Where a query looks, as a code: sines of its image point, and moves of that point."""

from __future__ import annotations

import torch
from torch import Tensor, nn

TEMPERATURE = 10000.0  # the longest wavelength is about this many image widths
LOGIT_EPSILON = 1e-5


def sine_code(points: Tensor, dim: int) -> Tensor:
    """Sine code [..., dim] of normalised image points [..., 2] (x, y).

    Convention (as DETR): angle 2 pi p / 10000^(2 floor(j / 2) / (dim / 2)); even channels are
    sines, odd ones cosines; the first half codes y, the second x. The point (0.25, 0.5) with
    dim 4 gives (sin pi, cos pi, sin pi/2, cos pi/2).
    """
    half = dim // 2
    index = torch.arange(half, device=points.device, dtype=points.dtype)
    frequency = TEMPERATURE ** (-2 * torch.div(index, 2, rounding_mode='floor') / half)
    angle = points.flip(-1)[..., None] * (2 * torch.pi) * frequency
    code = torch.stack([angle[..., 0::2].sin(), angle[..., 1::2].cos()], dim=-1)
    return code.flatten(-3)


def clamped_logit(points: Tensor) -> Tensor:
    """Logit of numbers clamped to [0, 1], finite at both ends: log(max(p, e) / max(1 - p, e))."""
    points = points.clamp(0, 1)
    return (points.clamp_min(LOGIT_EPSILON) / (1 - points).clamp_min(LOGIT_EPSILON)).log()


def moved(points: Tensor, step: Tensor) -> Tensor:
    """Points [..., 2] moved by `step` in logit space: they never leave the image."""
    return (step + clamped_logit(points)).sigmoid()


class ImagePosition(nn.Module):
    """Sine code of the image point, then a small MLP."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim % 4:
            raise ValueError(f'dim must be a multiple of 4 for sine codes, got {dim}')
        self.dim = dim
        self.mlp = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim))

    def forward(self, points: Tensor) -> Tensor:
        """Normalised image points [..., 2] -> [..., D]."""
        return self.mlp(sine_code(points, self.dim))
