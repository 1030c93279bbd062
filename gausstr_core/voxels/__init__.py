"""Gaussians -> density and class density in the voxels of a grid, and their labels."""

from __future__ import annotations

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
        backend: 'reference' (torch, any device), 'fast' (numba, CPU, float32 inside) or 'auto':
            'fast' on the CPU. Both are differentiable.

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
    if backend == 'auto':
        backend = 'fast' if on_cpu else 'reference'
    if backend not in ('reference', 'fast'):
        raise ValueError(f"backend must be 'auto', 'reference' or 'fast', got {backend!r}")
    if backend == 'fast' and not on_cpu:
        raise ValueError(
            f"voxel backend 'fast' runs on the CPU, got Gaussians on {gaussians.means.device}"
        )
    shapes = ellipsoids(gaussians, grid, blur, cut)
    if backend == 'reference':
        from gausstr_core.voxels import reference

        return reference.accumulate(shapes, probabilities, grid, cut)
    from gausstr_core.voxels import fast

    return fast.accumulate(shapes, probabilities, grid, cut)
