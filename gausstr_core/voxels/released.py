"""The two voxelisers that the public checkpoints were scored with, rule for rule.

Both treat a voxel as the point at its centre and know nothing of its volume; `voxels.voxelise`
is the rule of our own models. Inference only: no gradients. The facts are those of section 3.2 of
the specification of hustvl/GaussTR at commit 9ddd19d, and of its state before 2025-03-18.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gausstr_core.contracts import VoxelGrid
from gausstr_core.voxels.ellipsoids import Ellipsoids, check_finite, precisions_of

REACH = 3.0  # half the box around a Gaussian, in standard deviations along the axes of the grid
GATE = 7.5  # squared Mahalanobis distance where the older voxeliser's Gaussians end
EMPTY = 1e-6  # density below which features are not scaled up any more
BACKENDS = ('reference', 'fast')


@torch.no_grad()
def released_voxels(
    means: Tensor,
    opacities: Tensor,
    features: Tensor,
    covariances: Tensor,
    grid: VoxelGrid,
    *,
    opacity_threshold: float | None,
    covariance_threshold: float | None,
    averaged: bool = False,
    backend: str = 'auto',
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum the Gaussians at the voxel centres inside their 3-sigma boxes.

    density = sum_g w_g with w_g = opacity_g * exp(-0.5 m^2), where m is the Mahalanobis distance;
    features = sum_g w_g * features_g / max(density, 1e-6). The box is aligned with the grid, and
    nothing inside it is cut off.

    The voxeliser of before 2025-03-18 (`averaged`) has density = mean_g w_g and features =
    mean_g opacity_g * features_g over the Gaussians with m^2 <= 7.5 at the voxel's centre: the
    features do not fade with the distance.

    Args:
        means: [G, 3] metres, ego frame.
        opacities: [G].
        features: [G, K], the class probabilities of each Gaussian.
        covariances: [G, 3, 3] square metres, ego frame.
        grid: where the voxels are, ego frame.
        opacity_threshold: Gaussians must be more opaque than this; None: not asked.
        covariance_threshold: six times a Gaussian's smallest variance along the grid's axes must
            be larger than this; None: not asked. With either threshold a Gaussian's mean must
            also lie inside the grid's range; without any, all Gaussians are kept.
        averaged: the older of the two.
        backend: 'reference' (one Gaussian after the other in torch, any device), 'fast' (numba,
            CPU, float32 inside) or 'auto': 'fast' on the CPU.

    Returns:
        density [X, Y, Z], features [X, Y, Z, K] and which Gaussians were kept, bool [G].

    Raises:
        ValueError: shapes disagree, a value is not finite, a covariance is singular, or the
            backend cannot do it.
    """
    chosen = _choose(means, opacities, features, covariances, backend)
    kept = kept_gaussians(
        means, opacities, covariances, grid, opacity_threshold, covariance_threshold
    )
    shapes = boxed(means[kept], opacities[kept], covariances[kept], grid)
    if chosen == 'reference':
        one_by_one = _average_one_by_one if averaged else _sum_one_by_one
        return *one_by_one(shapes, features[kept], grid), kept
    from gausstr_core.voxels import released_fast

    if averaged:
        return *released_fast.averaged(shapes, features[kept], grid, GATE), kept
    return *released_fast.summed(shapes, features[kept], grid, EMPTY), kept


def kept_gaussians(
    means: Tensor,
    opacities: Tensor,
    covariances: Tensor,
    grid: VoxelGrid,
    opacity_threshold: float | None,
    covariance_threshold: float | None,
) -> Tensor:
    """Which Gaussians, bool [G], pass the filter; arguments as in `released_voxels`."""
    kept = torch.ones(means.shape[0], dtype=torch.bool, device=means.device)
    if opacity_threshold is None and covariance_threshold is None:
        return kept
    lower, upper = torch.tensor(grid.lower).to(means), torch.tensor(grid.upper).to(means)
    kept &= ((means >= lower) & (means <= upper)).all(-1)
    if opacity_threshold is not None:
        kept &= opacities > opacity_threshold
    if covariance_threshold is not None:
        variances = covariances.diagonal(dim1=-2, dim2=-1)
        kept &= 6 * variances.amin(-1) > covariance_threshold
    return kept


def boxed(means: Tensor, opacities: Tensor, covariances: Tensor, grid: VoxelGrid) -> Ellipsoids:
    """The Gaussians with the voxels of their 3-sigma boxes.

    The voxels are those that hold the two corners and all between them, so the outermost centres
    may lie outside the box by up to half a voxel.

    Raises:
        ValueError: a value is not finite, or a covariance is singular.
    """
    # the smallest Gaussians have variances of 1e-3 m^2: float32 would lose digits of the product
    precisions = precisions_of(covariances.double()).to(means)
    check_finite(means, precisions, opacities)
    reach = REACH * covariances.diagonal(dim1=-2, dim2=-1).sqrt()
    lower, upper = torch.tensor(grid.lower).to(means), torch.tensor(grid.upper).to(means)
    low, high = means - reach, means + reach
    outside = ((high <= lower) | (low >= upper)).any(-1, keepdim=True)
    first, last = (
        ((bound.clamp(lower, upper) - lower) / grid.resolution).long() for bound in (low, high)
    )
    past = torch.minimum(last + 1, torch.tensor(grid.shape, device=means.device))
    return Ellipsoids(means, precisions, opacities, first, torch.where(outside, first, past))


def _choose(
    means: Tensor, opacities: Tensor, features: Tensor, covariances: Tensor, backend: str
) -> str:
    """The backend to run; raises ValueError for shapes or a backend that do not fit."""
    count = means.shape[0]
    for what, tensor, shape in (
        ('means', means, (count, 3)),
        ('opacities', opacities, (count,)),
        ('features', features, (count, features.shape[-1])),
        ('covariances', covariances, (count, 3, 3)),
    ):
        if tuple(tensor.shape) != shape:
            raise ValueError(
                f'released voxels: {what} of {count} Gaussians must be {shape}, '
                f'got {tuple(tensor.shape)}'
            )
    on_cpu = means.device.type == 'cpu'
    if backend == 'auto':
        return 'fast' if on_cpu else 'reference'
    if backend not in BACKENDS:
        raise ValueError(f"backend must be 'auto', 'reference' or 'fast', got {backend!r}")
    if backend == 'fast' and not on_cpu:
        raise ValueError(f"backend 'fast' runs on the CPU, got Gaussians on {means.device}")
    return backend


def _sum_one_by_one(
    shapes: Ellipsoids, features: Tensor, grid: VoxelGrid
) -> tuple[Tensor, Tensor]:
    density = shapes.means.new_zeros(grid.shape)
    sums = shapes.means.new_zeros(*grid.shape, features.shape[1])
    centers = grid.centers(density.device).to(density)
    for g, box in _boxes(shapes):
        weight = shapes.opacities[g] * torch.exp(-0.5 * _squared_distance(shapes, g, centers[box]))
        density[box] += weight
        sums[box] += weight[..., None] * features[g]
    return density, sums / density.clamp_min(EMPTY)[..., None]


def _average_one_by_one(
    shapes: Ellipsoids, features: Tensor, grid: VoxelGrid
) -> tuple[Tensor, Tensor]:
    density = shapes.means.new_zeros(grid.shape)
    count = shapes.means.new_zeros(grid.shape)
    sums = shapes.means.new_zeros(*grid.shape, features.shape[1])
    centers = grid.centers(density.device).to(density)
    for g, box in _boxes(shapes):
        distance = _squared_distance(shapes, g, centers[box])
        reached = (distance <= GATE).to(distance)
        density[box] += reached * shapes.opacities[g] * torch.exp(-0.5 * distance)
        count[box] += reached
        sums[box] += reached[..., None] * shapes.opacities[g] * features[g]
    count.clamp_min_(1)
    return density / count, sums / count[..., None]


def _boxes(shapes: Ellipsoids) -> list[tuple[int, tuple[slice, ...]]]:
    """Index and box of the Gaussians that touch the grid."""
    corners = zip(shapes.first.tolist(), shapes.past.tolist(), strict=True)
    boxes = [tuple(map(slice, first, past)) for first, past in corners]
    return [(g, box) for g, box in enumerate(boxes) if all(s.stop > s.start for s in box)]


def _squared_distance(shapes: Ellipsoids, g: int, centers: Tensor) -> Tensor:
    dx, dy, dz = (centers - shapes.means[g]).unbind(-1)
    xx, yy, zz, xy, xz, yz = shapes.precisions[g].unbind(-1)
    return (
        xx * dx * dx + yy * dy * dy + zz * dz * dz
        + 2 * (xy * dx * dy + xz * dx * dz + yz * dy * dz)
    )  # fmt: skip
