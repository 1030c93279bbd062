"""The released voxeliser and labels for the benchmark, on Gaussians like the released model's."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gausstr_core.contracts import VoxelGrid
from gausstr_core.voxels.released import released_voxels
from gausstr_core.voxels.released_labels import released_labels, released_owners

PIXELS, FOCAL = 7.5, 1266.0  # of the released scale law: metres = (1..16) * depth * 7.5 / focal
TOLERANCE = 1e-4
TIES = 1e-5  # share of voxels whose two best classes rounding may swap


def released_gaussians(count: int, grid: VoxelGrid, seed: int = 0) -> tuple[Tensor, ...]:
    """`count` Gaussians all over the grid, as large and opaque as the released model makes them.

    Returns:
        means [G, 3], opacities [G], class probabilities [G, 21] and covariances [G, 3, 3].
    """
    random = torch.Generator().manual_seed(seed)
    lower, upper = torch.tensor(grid.lower), torch.tensor(grid.upper)
    means = lower + (upper - lower) * torch.rand(count, 3, generator=random)
    spread = 1 + 15 * torch.sigmoid(torch.randn(count, 3, generator=random))
    yaw = 2 * math.pi * torch.rand(count, generator=random)
    zero, one = torch.zeros(count), torch.ones(count)
    turn = torch.stack(
        [yaw.cos(), -yaw.sin(), zero, yaw.sin(), yaw.cos(), zero, zero, zero, one], dim=-1
    ).reshape(-1, 3, 3)
    half = turn * (spread * means.norm(dim=-1, keepdim=True) * PIXELS / FOCAL)[:, None]
    opacities = 0.6 + 0.4 * torch.rand(count, generator=random)
    shares = torch.softmax(3 * torch.randn(count, 21, generator=random), dim=-1)
    return means, opacities, shares, half @ half.transpose(1, 2)


def released_post_processing(
    count: int, grid: VoxelGrid
) -> tuple[str, Callable[[str], tuple[Tensor, ...]]]:
    """What to call the stage, and the call that runs it on a backend.

    Raises:
        ValueError: the two backends disagree by more than 1e-4, or in labels beyond ties.
    """
    gaussians, owners = released_gaussians(count, grid), released_owners()

    def both(backend: str) -> tuple[Tensor, ...]:
        density, features, _ = released_voxels(
            *gaussians, grid, opacity_threshold=0.6, covariance_threshold=0.015, backend=backend
        )
        return density, features, *released_labels(density, features, owners, backend=backend)

    for plain, fast in zip(both('reference'), both('fast'), strict=True):
        if plain.dtype == torch.uint8:
            off = int((plain != fast).sum())
            if off > TIES * plain.numel():
                raise ValueError(f'released labels: the fast side differs in {off} voxels')
        elif not torch.allclose(plain, fast, rtol=TOLERANCE, atol=TOLERANCE):
            worst = float((plain - fast).abs().max())
            raise ValueError(f'released voxels: the fast side is off by {worst}')
    return f'released voxels + labels, {count} Gaussians, {len(owners)} prompts', both
