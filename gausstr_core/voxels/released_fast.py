"""The released voxelisers on the CPU with numba: each thread owns whole x planes of the grid."""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from torch import Tensor

from gausstr_core.contracts import VoxelGrid
from gausstr_core.parallel import parallel_kernel, run
from gausstr_core.voxels import fast
from gausstr_core.voxels.ellipsoids import Ellipsoids
from gausstr_core.voxels.fast import HALF, Arrays, members_of_planes


def summed(
    shapes: Ellipsoids, features: Tensor, grid: VoxelGrid, empty: float
) -> tuple[Tensor, Tensor]:
    """Return density [X, Y, Z] and features [X, Y, Z, K]; see `released.released_voxels`."""
    density, sums = fast.accumulate(shapes, features, grid, math.inf)
    run(_divide, density.numpy(), sums.numpy(), np.float32(empty))
    return density, sums


def averaged(
    shapes: Ellipsoids, features: Tensor, grid: VoxelGrid, gate: float
) -> tuple[Tensor, Tensor]:
    """Return density [X, Y, Z] and features [X, Y, Z, K]; see `released.averaged_voxels`."""
    density = np.zeros(grid.shape, dtype=np.float32)
    sums = np.zeros((*grid.shape, features.shape[1]), dtype=np.float32)
    arrays = _arrays(shapes, features)
    starts, members = members_of_planes(arrays.first, arrays.past, grid.shape[0])
    place = np.array(grid.lower, dtype=np.float32), np.float32(grid.resolution)
    run(_average, arrays, starts, members, *place, np.float32(gate), density, sums)
    dtype = shapes.means.dtype
    return torch.from_numpy(density).to(dtype), torch.from_numpy(sums).to(dtype)


def _arrays(shapes: Ellipsoids, features: Tensor) -> Arrays:
    floats = (shapes.means, shapes.precisions, shapes.opacities, features)
    boxes = shapes.first.numpy(), shapes.past.numpy()
    return Arrays(*(t.float().contiguous().numpy() for t in floats), *boxes)


@parallel_kernel
def _divide(density: np.ndarray, sums: np.ndarray, empty: float) -> None:
    for i in numba.prange(density.shape[0]):
        for j in range(density.shape[1]):
            for k in range(density.shape[2]):
                if density[i, j, k] > 0:
                    cell = sums[i, j, k]
                    scale = np.float32(1) / max(density[i, j, k], empty)
                    for c in range(cell.shape[0]):
                        cell[c] *= scale


@parallel_kernel
def _average(
    gaussians: Arrays, starts: np.ndarray, members: np.ndarray,
    lower: np.ndarray, resolution: float, gate: float,
    density: np.ndarray, sums: np.ndarray,
) -> None:  # fmt: skip
    for i in numba.prange(density.shape[0]):
        count = np.zeros(density.shape[1:], np.float32)
        for m in range(starts[i], starts[i + 1]):
            g = members[m]
            xx, yy, zz, xy, xz, yz = gaussians.precisions[g]
            opacity, features = gaussians.opacities[g], gaussians.probabilities[g]
            first, past = gaussians.first[g], gaussians.past[g]
            dx = lower[0] + (np.float32(i) + HALF) * resolution - gaussians.means[g, 0]
            for j in range(first[1], past[1]):
                dy = lower[1] + (np.float32(j) + HALF) * resolution - gaussians.means[g, 1]
                base = xx * dx * dx + yy * dy * dy + np.float32(2) * xy * dx * dy
                slope = np.float32(2) * (xz * dx + yz * dy)
                for k in range(first[2], past[2]):
                    dz = lower[2] + (np.float32(k) + HALF) * resolution - gaussians.means[g, 2]
                    distance = base + dz * (slope + zz * dz)
                    if distance > gate:
                        continue
                    count[j, k] += np.float32(1)
                    density[i, j, k] += opacity * math.exp(-HALF * distance)
                    for c in range(features.shape[0]):
                        sums[i, j, k, c] += opacity * features[c]
        for j in range(count.shape[0]):
            for k in range(count.shape[1]):
                if count[j, k] > 1:
                    density[i, j, k] /= count[j, k]
                    sums[i, j, k] /= count[j, k]
