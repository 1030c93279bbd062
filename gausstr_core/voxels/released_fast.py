"""The released voxelisers on the CPU with numba: each thread owns whole x planes of the grid.

Within a plane the Gaussians come in their own order: every run gives the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from gausstr_core.contracts import VoxelGrid
from gausstr_core.process.parallel import kernel, parallel_kernel, run
from gausstr_core.voxels.ellipsoids import Ellipsoids
from gausstr_core.voxels.exponential import exponentiate
from gausstr_core.voxels.fast import HALF, Arrays, members_of_planes

ROWS = 16  # columns of voxels that are summed together: with 21 channels they fit the first cache
NOTHING = np.float32(-1000)  # its exponential is 0
ONE, TWO = np.float32(1), np.float32(2)


def summed(
    shapes: Ellipsoids, features: Tensor, grid: VoxelGrid, empty: float
) -> tuple[Tensor, Tensor]:
    """Return density [X, Y, Z] and features [X, Y, Z, K]; see `released.released_voxels`."""
    return _run(_sum, shapes, features, grid, empty)


def averaged(
    shapes: Ellipsoids, features: Tensor, grid: VoxelGrid, gate: float
) -> tuple[Tensor, Tensor]:
    """Return density [X, Y, Z] and features [X, Y, Z, K]; the older way."""
    return _run(_average, shapes, features, grid, gate)


def _run(
    compiled: Callable[..., Any],
    shapes: Ellipsoids,
    features: Tensor,
    grid: VoxelGrid,
    limit: float,
) -> tuple[Tensor, Tensor]:
    density = np.zeros(grid.shape, dtype=np.float32)
    voxels = np.zeros((*grid.shape, features.shape[1]), dtype=np.float32)
    tensors = (shapes.means, shapes.precisions, shapes.opacities, features)
    means, precisions, opacities, shares = (t.float().contiguous().numpy() for t in tensors)
    boxes = shapes.first.numpy(), shapes.past.numpy()
    gaussians = Arrays(means, precisions, opacities, shares, *boxes)
    starts, members = members_of_planes(*boxes, grid.shape[0])
    place = np.array(grid.lower, dtype=np.float32), np.float32(grid.resolution)
    run(compiled, gaussians, starts, members, *place, np.float32(limit), density, voxels)
    dtype = shapes.means.dtype
    return torch.from_numpy(density).to(dtype), torch.from_numpy(voxels).to(dtype)


@parallel_kernel
def _sum(
    gaussians: Arrays, starts: np.ndarray, members: np.ndarray,
    lower: np.ndarray, resolution: float, empty: float,
    density: np.ndarray, voxels: np.ndarray,
) -> None:  # fmt: skip
    cells, channels = density.shape[2], voxels.shape[3]
    heights = np.empty(cells, np.float32)
    for k in range(cells):
        heights[k] = lower[2] + (np.float32(k) + HALF) * resolution
    for i in numba.prange(density.shape[0]):
        x = lower[0] + (np.float32(i) + HALF) * resolution
        # one row per channel: a Gaussian adds its weights to each in long runs of voxels
        sums = np.empty((channels, ROWS * cells), np.float32)
        weights = np.empty(ROWS * cells, np.float32)
        bits = np.empty(ROWS * cells, np.int32)
        plane = density[i].reshape(-1)
        for top in range(0, density.shape[1], ROWS):
            sums[:] = 0
            for m in range(starts[i], starts[i + 1]):
                g = members[m]
                begin = max(gaussians.first[g, 1], top)
                end = min(gaussians.past[g, 1], top + ROWS)
                if begin < end:
                    run = weights[: (end - begin) * cells]
                    _weigh(g, gaussians, x, begin, lower, resolution, heights, run)
                    exponentiate(run, bits)
                    shares, opacity = gaussians.probabilities[g], gaussians.opacities[g]
                    start = (begin - top) * cells
                    _add(opacity, shares, run, plane[begin * cells :], sums, start)
            _store(density[i], top, empty, sums, voxels[i])


@kernel
def _weigh(
    g: int, gaussians: Arrays, x: float, begin: int, lower: np.ndarray, resolution: float,
    heights: np.ndarray, run: np.ndarray,
) -> None:  # fmt: skip
    """run = -0.5 m^2 over whole columns from row `begin` on; far below zero outside the box."""
    xx, yy, zz, xy, xz, yz = gaussians.precisions[g]
    mean, bottom, above = gaussians.means[g], gaussians.first[g, 2], gaussians.past[g, 2]
    dx, z, cells = x - mean[0], mean[2], heights.shape[0]
    for j in range(run.shape[0] // cells):
        dy = lower[1] + (np.float32(begin + j) + HALF) * resolution - mean[1]
        # -0.5 m^2 = base + dz (slope + curve dz) along the column
        base = -HALF * (xx * dx * dx + yy * dy * dy + TWO * xy * dx * dy)
        slope, curve = -(xz * dx + yz * dy), -HALF * zz
        column = run[j * cells : (j + 1) * cells]
        for k in range(cells):
            dz = heights[k] - z
            column[k] = base + dz * (slope + curve * dz)
        column[:bottom] = NOTHING
        column[above:] = NOTHING


@kernel
def _add(
    opacity: float, shares: np.ndarray, run: np.ndarray, density: np.ndarray,
    sums: np.ndarray, start: int,
) -> None:  # fmt: skip
    """density += opacity * run, and each row of sums from `start` on the same times its share."""
    for n in range(run.shape[0]):
        run[n] *= opacity
        density[n] += run[n]
    for c in range(sums.shape[0]):
        # a slice of a row, not of all rows: numba must know that its numbers lie side by side
        share, row = shares[c], sums[c][start : start + run.shape[0]]
        for n in range(run.shape[0]):
            row[n] += share * run[n]


@kernel
def _store(
    density: np.ndarray, top: int, empty: float, sums: np.ndarray, voxels: np.ndarray
) -> None:
    """Divide by the density and put the channels last."""
    height = density.shape[1]
    for j in range(top, min(top + ROWS, density.shape[0])):
        for k in range(height):
            if density[j, k] > 0:
                scale, n = ONE / max(density[j, k], empty), (j - top) * height + k
                for c in range(sums.shape[0]):
                    voxels[j, k, c] = sums[c, n] * scale


@parallel_kernel
def _average(
    gaussians: Arrays, starts: np.ndarray, members: np.ndarray,
    lower: np.ndarray, resolution: float, gate: float,
    density: np.ndarray, voxels: np.ndarray,
) -> None:  # fmt: skip
    for i in numba.prange(density.shape[0]):
        count = np.zeros((density.shape[1], density.shape[2]), np.float32)
        x = lower[0] + (np.float32(i) + HALF) * resolution
        for m in range(starts[i], starts[i + 1]):
            _reach(members[m], gaussians, x, lower, resolution, gate, density[i], voxels[i], count)
        for j in range(count.shape[0]):
            for k in range(count.shape[1]):
                if count[j, k] > 1:
                    density[i, j, k] /= count[j, k]
                    for c in range(voxels.shape[3]):
                        voxels[i, j, k, c] /= count[j, k]


@kernel
def _reach(
    g: int, gaussians: Arrays, x: float, lower: np.ndarray, resolution: float, gate: float,
    density: np.ndarray, voxels: np.ndarray, count: np.ndarray,
) -> None:  # fmt: skip
    """Add one Gaussian to one x plane, over the voxels inside its ellipsoid."""
    xx, yy, zz, xy, xz, yz = gaussians.precisions[g]
    mean, opacity, shares = gaussians.means[g], gaussians.opacities[g], gaussians.probabilities[g]
    first, past = gaussians.first[g], gaussians.past[g]
    dx = x - mean[0]
    for j in range(first[1], past[1]):
        dy = lower[1] + (np.float32(j) + HALF) * resolution - mean[1]
        base = xx * dx * dx + yy * dy * dy + TWO * xy * dx * dy
        slope = TWO * (xz * dx + yz * dy)
        for k in range(first[2], past[2]):
            dz = lower[2] + (np.float32(k) + HALF) * resolution - mean[2]
            distance = base + dz * (slope + zz * dz)
            if distance <= gate:
                count[j, k] += ONE
                density[j, k] += opacity * math.exp(-HALF * distance)
                for c in range(shares.shape[0]):
                    voxels[j, k, c] += opacity * shares[c]
