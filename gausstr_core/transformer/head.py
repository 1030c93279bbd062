"""The Gaussian head: per layer it refines position, scale, rotation and opacity of each anchor."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from gausstr_core.transformer.surface import Surface

START_OPACITY = 0.9
LOG_MIDDLE = 2.7  # logarithm of 15 m, where depth codes are zero

# How far one layer may go. The start is a good one, and ground seen at a grazing angle forgives
# neither a turn nor a step in depth: with free turns and steps twice as wide, trained on splatted
# images alone, the ground lost more than objects gained (docs/training.md).
MOVE = 0.5  # of the anchor spacing, in the image
DEPTH = 0.2  # of the logarithm of the depth
SCALE = 0.5  # of the logarithm of the scales
TURN = 0.1  # half the angle in radians, about each axis


@dataclass(frozen=True)
class GaussianState:
    """What the layers refine; N views, Q queries, K anchors per query."""

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


class AnchorCode(nn.Module):
    """What a Gaussian's own anchor shows, beside what its query knows of the cell.

    Features, depth, and the depth against the mean of the cell, whose anchors differ at an edge.
    """

    def __init__(self, feature_dim: int, dim: int) -> None:
        super().__init__()
        self.from_features = nn.Linear(feature_dim, dim, bias=False)
        self.from_depth = nn.Linear(2, dim)

    def forward(self, seen: Tensor, log_depth: Tensor) -> Tensor:
        """Features of unit length [N, Q, K, C], log depth [N, Q, K] -> [N, Q, K, S]."""
        deviation = log_depth - log_depth.mean(-1, keepdim=True)
        numbers = torch.stack([log_depth - LOG_MIDDLE, deviation], dim=-1)
        # brought to unit variance after the projection: that is six times less to multiply
        return self.from_features(seen) * seen.shape[-1] ** 0.5 + self.from_depth(numbers)


class RefinementHead(nn.Module):
    """Query [N, Q, D] and its anchors [N, Q, K, S] -> a small step for each of the K Gaussians.

    Starts at zero: the untrained transformer returns the surface-aligned start unchanged. Steps
    are bounded, so that no query can throw a Gaussian out of its neighbourhood in one layer.
    """

    NUMBERS = 2 + 1 + 3 + 3 + 1

    def __init__(self, dim: int, anchor_dim: int) -> None:
        super().__init__()
        self.from_query = nn.Linear(dim, dim)
        # its name in weights files, where anchors are called seats
        self.from_seat = nn.Linear(anchor_dim, dim, bias=False)
        self.step = nn.Linear(dim, self.NUMBERS)
        nn.init.zeros_(self.step.weight)
        nn.init.zeros_(self.step.bias)

    def forward(
        self, query: Tensor, anchors: Tensor, state: GaussianState, spacing: Tensor
    ) -> GaussianState:
        """Apply one step; `spacing` [N, Q, K, 2] is the distance of neighbouring anchors."""
        hidden = torch.relu(self.from_query(query)[:, :, None] + self.from_seat(anchors))
        move, depth, scales, turn, opacity = self.step(hidden).split([2, 1, 3, 3, 1], dim=-1)
        points = (state.points + MOVE * spacing * torch.tanh(move)).clamp(0, 1)
        return GaussianState(
            points,
            state.log_depth + DEPTH * torch.tanh(depth[..., 0]),
            state.log_scales + SCALE * torch.tanh(scales),
            compose(state.rotations, small_rotation(TURN * torch.tanh(turn))),
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
