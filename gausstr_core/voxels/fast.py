"""Voxels on the CPU with numba: each thread owns whole x planes, so nothing races.

Within a plane the Gaussians come in their own order: every run gives the same bits.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from gausstr_core.contracts import VoxelGrid
from gausstr_core.parallel import kernel, parallel_kernel, run
from gausstr_core.voxels.ellipsoids import Ellipsoids

HALF = np.float32(0.5)


class Arrays(NamedTuple):
    """`Ellipsoids` and their class probabilities as float32 arrays."""

    means: np.ndarray
    precisions: np.ndarray
    opacities: np.ndarray
    probabilities: np.ndarray
    first: np.ndarray
    past: np.ndarray


def accumulate(
    shapes: Ellipsoids, probabilities: Tensor, grid: VoxelGrid, cut: float
) -> tuple[Tensor, Tensor]:
    """Return density [X, Y, Z] and class density [X, Y, Z, K]; see `voxels.voxelise`."""
    # numpy's zeros are pages that the kernel faults in only where it writes
    density = np.zeros(grid.shape, dtype=np.float32)
    class_density = np.zeros((*grid.shape, probabilities.shape[1]), dtype=np.float32)
    gaussians = Arrays(
        _array(shapes.means),
        _array(shapes.precisions),
        _array(shapes.opacities),
        _array(probabilities),
        shapes.first.numpy(),
        shapes.past.numpy(),
    )
    starts, members = _members_of_planes(gaussians.first, gaussians.past, grid.shape[0])
    run(
        _accumulate,
        gaussians,
        starts,
        members,
        np.array(grid.lower, dtype=np.float32),
        np.float32(grid.resolution),
        np.float32(cut * cut),
        density,
        class_density,
    )
    dtype = shapes.means.dtype
    return torch.from_numpy(density).to(dtype), torch.from_numpy(class_density).to(dtype)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to(torch.float32).contiguous().numpy()


@kernel
def _members_of_planes(
    first: np.ndarray, past: np.ndarray, planes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which Gaussians touch plane i: members[starts[i]:starts[i + 1]], ascending."""
    starts = np.zeros(planes + 1, np.int64)
    for g in range(first.shape[0]):
        if past[g, 1] > first[g, 1] and past[g, 2] > first[g, 2]:
            for i in range(first[g, 0], past[g, 0]):
                starts[i + 1] += 1
    for i in range(planes):
        starts[i + 1] += starts[i]
    members = np.empty(starts[planes], np.int64)
    cursor = starts.copy()
    for g in range(first.shape[0]):
        if past[g, 1] > first[g, 1] and past[g, 2] > first[g, 2]:
            for i in range(first[g, 0], past[g, 0]):
                members[cursor[i]] = g
                cursor[i] += 1
    return starts, members


@parallel_kernel
def _accumulate(
    gaussians: Arrays, starts: np.ndarray, members: np.ndarray,
    lower: np.ndarray, resolution: float, cut_squared: float,
    density: np.ndarray, class_density: np.ndarray,
) -> None:  # fmt: skip
    for i in numba.prange(density.shape[0]):
        x = lower[0] + (np.float32(i) + HALF) * resolution
        for m in range(starts[i], starts[i + 1]):
            g = members[m]
            offset = (
                x - gaussians.means[g, 0],
                lower[1] - gaussians.means[g, 1],
                lower[2] - gaussians.means[g, 2],
            )
            _add_slice(g, gaussians, offset, resolution, cut_squared, density[i], class_density[i])


@kernel
def _add_slice(
    g: int, gaussians: Arrays, offset: tuple[float, float, float],
    resolution: float, cut_squared: float, density: np.ndarray, class_density: np.ndarray,
) -> None:  # fmt: skip
    """Add one Gaussian to one x plane, over the voxels inside its ellipsoid."""
    dx, y0, z0 = offset
    xx, yy, zz, xy, xz, yz = gaussians.precisions[g]
    opacity, shares = gaussians.opacities[g], gaussians.probabilities[g]
    first, past = gaussians.first[g], gaussians.past[g]
    for j in range(first[1], past[1]):
        dy = y0 + (np.float32(j) + HALF) * resolution
        # m^2 = zz dz^2 + 2 slope dz + base along the column
        base = xx * dx * dx + yy * dy * dy + np.float32(2) * xy * dx * dy
        slope = xz * dx + yz * dy
        if slope * slope < zz * (base - cut_squared):
            continue
        for k in range(first[2], past[2]):
            dz = z0 + (np.float32(k) + HALF) * resolution
            distance = base + dz * (np.float32(2) * slope + zz * dz)
            if distance > cut_squared:
                continue
            weight = opacity * math.exp(-HALF * distance)
            density[j, k] += weight
            cell = class_density[j, k]
            for c in range(shares.shape[0]):
                cell[c] += weight * shares[c]
