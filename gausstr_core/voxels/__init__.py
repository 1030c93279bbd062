"""Gaussians -> density and class density in the voxels of a grid, and their labels."""

from __future__ import annotations

import torch
from torch import Tensor

from gausstr_core.contracts import Gaussians, VoxelGrid
from gausstr_core.voxels.ellipsoids import ellipsoids
from gausstr_core.voxels.labelling import label

__all__ = ['label', 'voxelise']


def voxelise(
    gaussians: Gaussians,
    probabilities: Tensor,
    grid: VoxelGrid,
    *,
    blur: float = 0.2,
    cut: float = 3.0,
    backend: str = 'auto',
) -> tuple[Tensor, Tensor]:
    """Sum the Gaussians at the voxel centres.

    density = sum_g opacity_g * exp(-0.5 m^2) over the Gaussians with m <= cut, where m is the
    Mahalanobis distance under the Gaussian's covariance + blur^2 I (a voxel is a volume, not a
    point). The class density is the same sum weighted with the Gaussian's probabilities.

    Args:
        gaussians: ego frame, free of sky.
        probabilities: [G, K] class probabilities of each Gaussian.
        grid: where the voxels are, ego frame.
        blur: standard deviation in metres added along every axis.
        cut: where the ellipsoid ends, in standard deviations.
        backend: 'reference' (torch, any device, differentiable), 'fast' (numba, CPU, no
            gradient) or 'auto': 'fast' on the CPU unless a gradient is asked for.

    Returns:
        density [X, Y, Z] and class density [X, Y, Z, K] in the dtype of the means.

    Raises:
        ValueError: shapes disagree, a value is not finite, or the backend cannot do it.
    """
    if probabilities.dim() != 2 or probabilities.shape[0] != len(gaussians):
        raise ValueError(
            f'probabilities must be [G, K] for {len(gaussians)} Gaussians, '
            f'got {tuple(probabilities.shape)}'
        )
    if not (blur >= 0 and cut > 0):
        raise ValueError(f'voxels need blur >= 0 m and cut > 0, got blur={blur} cut={cut}')
    on_cpu = gaussians.means.device.type == 'cpu'
    wants_gradient = torch.is_grad_enabled() and any(
        t.requires_grad
        for t in (gaussians.means, gaussians.scales, gaussians.opacities, probabilities)
    )
    if backend == 'auto':
        backend = 'fast' if on_cpu and not wants_gradient else 'reference'
    shapes = ellipsoids(gaussians, grid, blur, cut)
    if backend == 'reference':
        from gausstr_core.voxels import reference

        return reference.accumulate(shapes, probabilities, grid, cut)
    if backend != 'fast':
        raise ValueError(f"backend must be 'auto', 'reference' or 'fast', got {backend!r}")
    if wants_gradient or not on_cpu:
        raise ValueError(
            "voxel backend 'fast' runs on the CPU without gradient, got Gaussians on "
            f'{gaussians.means.device}{" that want a gradient" if wants_gradient else ""}'
        )
    from gausstr_core.voxels import fast

    return fast.accumulate(shapes, probabilities, grid, cut)
