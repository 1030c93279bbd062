"""The Gaussian head: per layer it refines position, scale, rotation and opacity of each seat."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from gausstr_core.transformer.surface import Surface

START_OPACITY = 0.9


@dataclass(frozen=True)
class GaussianState:
    """What the layers refine; N views, Q queries, K seats per query."""

    points: Tensor  # [N, Q, K, 2] image point, normalised
    log_depth: Tensor  # [N, Q, K] logarithm of the z-depth in metres
    log_scales: Tensor  # [N, Q, K, 3] logarithm of metres
    rotations: Tensor  # [N, Q, K, 4] wxyz, ego_from_gaussian
    opacity_logits: Tensor  # [N, Q, K]

    @classmethod
    def start(cls, points: Tensor, surface: Surface) -> GaussianState:
        """The state that the first layer refines: surface-aligned, rather opaque."""
        logit = torch.logit(torch.tensor(START_OPACITY)).item()
        return cls(
            points,
            surface.depth.log(),
            surface.scales.log(),
            surface.rotations,
            torch.full_like(surface.depth, logit),
        )

    def detached_geometry(self) -> GaussianState:
        """As the released decoder: a layer refines where the last one stood, without gradient."""
        return replace(self, points=self.points.detach(), log_depth=self.log_depth.detach())


class RefinementHead(nn.Module):
    """Query [N, Q, D] -> a small step for each of its K Gaussians.

    Starts at zero: the untrained transformer returns the surface-aligned start unchanged. Steps
    are bounded, so that no query can throw a Gaussian out of its neighbourhood in one layer.
    """

    NUMBERS = 2 + 1 + 3 + 3 + 1

    def __init__(self, dim: int, seats: int) -> None:
        super().__init__()
        self.seats = seats
        self.mlp = nn.Sequential(
            nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, seats * self.NUMBERS)
        )
        last = self.mlp[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, query: Tensor, state: GaussianState, spacing: Tensor) -> GaussianState:
        """Apply one step; `spacing` [N, Q, K, 2] bounds the move in the image to one seat."""
        step = self.mlp(query).unflatten(-1, (self.seats, self.NUMBERS))
        move, depth, scales, turn, opacity = step.split([2, 1, 3, 3, 1], dim=-1)
        points = (state.points + spacing * torch.tanh(move)).clamp(0, 1)
        return GaussianState(
            points,
            state.log_depth + 0.5 * torch.tanh(depth[..., 0]),
            state.log_scales + torch.tanh(scales),
            compose(state.rotations, small_rotation(turn)),
            state.opacity_logits + opacity[..., 0],
        )


def small_rotation(vector: Tensor) -> Tensor:
    """Quaternion wxyz [..., 4] of a rotation vector / 2 [..., 3], by normalising (1, v)."""
    one = torch.ones_like(vector[..., :1])
    return nn.functional.normalize(torch.cat([one, vector], dim=-1), dim=-1)


def compose(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product a b of quaternions wxyz [..., 4]: first b, then a."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        dim=-1,
    )
