"""Where each Gaussian reaches in the grid; shared by the two voxel backends."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gausstr_core.contracts import Gaussians, VoxelGrid


@dataclass(frozen=True)
class Ellipsoids:
    """The G Gaussians in the grid's coordinates."""

    means: Tensor  # [G, 3] metres, ego frame
    precisions: Tensor  # [G, 6] xx, yy, zz, xy, xz, yz of the inverse covariance, 1 / m^2
    opacities: Tensor  # [G]
    first: Tensor  # [G, 3] int64 first voxel of the box around the ellipsoid, clipped to the grid
    past: Tensor  # [G, 3] int64 one past the last voxel; <= first where outside the grid


def ellipsoids(gaussians: Gaussians, grid: VoxelGrid, blur: float, cut: float) -> Ellipsoids:
    """Blur the Gaussians and bound their `cut`-sigma ellipsoids by voxels.

    Raises:
        ValueError: a mean, covariance or opacity is not finite.
    """
    diagonal, precisions = _blurred(gaussians.covariances, blur)
    with torch.no_grad():
        reach = cut * torch.sqrt(diagonal)
        first, past = _box(gaussians.means, reach, grid)
        check_finite(gaussians.means, precisions, gaussians.opacities)
    return Ellipsoids(gaussians.means, precisions, gaussians.opacities, first, past)


def _blurred(covariances: Tensor, blur: float) -> tuple[Tensor, Tensor]:
    """Diagonal [G, 3] of the covariances [G, 3, 3] + blur^2 I, and their inverse [G, 6]."""
    xx, yy, zz = covariances.diagonal(dim1=-2, dim2=-1).unbind(-1)
    xx, yy, zz = xx + blur**2, yy + blur**2, zz + blur**2
    xy, xz, yz = covariances[:, 0, 1], covariances[:, 0, 2], covariances[:, 1, 2]
    cofactors = torch.stack(
        [
            yy * zz - yz * yz, xx * zz - xz * xz, xx * yy - xy * xy,
            xz * yz - xy * zz, xy * yz - xz * yy, xy * xz - xx * yz,
        ],
        dim=-1,
    )  # fmt: skip
    determinant = xx * cofactors[:, 0] + xy * cofactors[:, 3] + xz * cofactors[:, 4]
    return torch.stack([xx, yy, zz], dim=-1), cofactors / determinant[:, None]


def precisions_of(covariances: Tensor) -> Tensor:
    """[G, 6] xx, yy, zz, xy, xz, yz of the inverse of covariances [G, 3, 3]."""
    return _blurred(covariances, 0.0)[1]


def _box(means: Tensor, reach: Tensor, grid: VoxelGrid) -> tuple[Tensor, Tensor]:
    lower = torch.tensor(grid.lower).to(means)
    cells = torch.tensor(grid.shape).to(means)
    low = torch.ceil((means - reach - lower) / grid.resolution - 0.5)
    high = torch.floor((means + reach - lower) / grid.resolution - 0.5) + 1
    low = torch.minimum(low.clamp_min(0), cells)
    high = torch.minimum(high.clamp_min(0), cells)
    return low.long(), high.long()


def check_finite(*tensors: Tensor) -> None:
    """Raise ValueError unless means, precisions and opacities of all Gaussians are finite."""
    for what, tensor in zip(('means', 'covariances', 'opacities'), tensors, strict=True):
        bad = ~torch.isfinite(tensor.flatten(1) if tensor.dim() > 1 else tensor[:, None]).all(-1)
        if bad.any():
            raise ValueError(
                f'Gaussian {what} must be finite and not singular; {int(bad.sum())} of '
                f'{tensor.shape[0]} are not, the first is number {int(bad.nonzero()[0])}'
            )
