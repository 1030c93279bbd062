"""Voxels on the CPU with numba: forward each thread owns whole x planes, backward whole Gaussians.

So nothing races. Within a plane the Gaussians come in their own order: every run gives the same
bits. The bounds and precisions of the ellipsoids stay in torch, with their gradient.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from gausstr_core.contracts import VoxelGrid
from gausstr_core.process.parallel import kernel, parallel_kernel, run
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


class Gradients(NamedTuple):
    """Of the arrays of the same names."""

    means: np.ndarray
    precisions: np.ndarray
    opacities: np.ndarray
    probabilities: np.ndarray


def accumulate(
    shapes: Ellipsoids, probabilities: Tensor, grid: VoxelGrid, cut: float
) -> tuple[Tensor, Tensor]:
    """Return density [X, Y, Z] and class density [X, Y, Z, K]; see `voxels.voxelise`."""
    dtype = shapes.means.dtype
    density, class_density = _Accumulate.apply(
        shapes.means.float(),
        shapes.precisions.float(),
        shapes.opacities.float(),
        probabilities.float(),
        (shapes.first.numpy(), shapes.past.numpy()),
        grid,
        cut,
    )
    return density.to(dtype), class_density.to(dtype)


class _Accumulate(torch.autograd.Function):
    """Means, precisions, opacities and probabilities -> density and class density."""

    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        precisions: Tensor,
        opacities: Tensor,
        probabilities: Tensor,
        box: tuple[np.ndarray, np.ndarray],
        grid: VoxelGrid,
        cut: float,
    ) -> tuple[Tensor, Tensor]:
        # numpy's zeros are pages that the kernel faults in only where it writes
        density = np.zeros(grid.shape, dtype=np.float32)
        class_density = np.zeros((*grid.shape, probabilities.shape[1]), dtype=np.float32)
        inputs = [t.detach().contiguous() for t in (means, precisions, opacities, probabilities)]
        gaussians = Arrays(*[*(t.numpy() for t in inputs), *box])
        starts, members = members_of_planes(*box, grid.shape[0])
        place = np.array(grid.lower, dtype=np.float32), np.float32(grid.resolution)
        squared = np.float32(cut * cut)
        run(_accumulate, gaussians, starts, members, *place, squared, density, class_density)
        ctx.save_for_backward(*inputs)
        ctx.place = (box, *place, squared)
        return torch.from_numpy(density), torch.from_numpy(class_density)

    @staticmethod
    def backward(ctx: Any, d_density: Tensor, d_classes: Tensor) -> tuple[Tensor | None, ...]:
        box, lower, resolution, squared = ctx.place
        inputs = ctx.saved_tensors
        gaussians = Arrays(*[*(t.numpy() for t in inputs), *box])
        gradients = [torch.zeros_like(t) for t in inputs]
        run(
            _accumulate_backward,
            gaussians,
            lower,
            resolution,
            squared,
            d_density.contiguous().numpy(),
            d_classes.contiguous().numpy(),
            Gradients(*(t.numpy() for t in gradients)),
        )
        return (*gradients, None, None, None)


@kernel
def members_of_planes(
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


@parallel_kernel
def _accumulate_backward(
    gaussians: Arrays, lower: np.ndarray, resolution: float, cut_squared: float,
    d_density: np.ndarray, d_classes: np.ndarray, gradients: Gradients,
) -> None:  # fmt: skip
    for g in numba.prange(gaussians.means.shape[0]):
        first, past = gaussians.first[g], gaussians.past[g]
        for i in range(first[0], past[0]):
            dx = lower[0] + (np.float32(i) + HALF) * resolution - gaussians.means[g, 0]
            for j in range(first[1], past[1]):
                dy = lower[1] + (np.float32(j) + HALF) * resolution - gaussians.means[g, 1]
                for k in range(first[2], past[2]):
                    dz = lower[2] + (np.float32(k) + HALF) * resolution - gaussians.means[g, 2]
                    _add_gradient(
                        g, gaussians, (dx, dy, dz), cut_squared,
                        d_density[i, j, k], d_classes[i, j, k], gradients,
                    )  # fmt: skip


@kernel
def _add_gradient(
    g: int, gaussians: Arrays, offset: tuple[float, float, float], cut_squared: float,
    d_density: float, d_classes: np.ndarray, gradients: Gradients,
) -> None:  # fmt: skip
    """What one voxel asks of one Gaussian."""
    dx, dy, dz = offset
    xx, yy, zz, xy, xz, yz = gaussians.precisions[g]
    px = xx * dx + xy * dy + xz * dz
    py = xy * dx + yy * dy + yz * dz
    pz = xz * dx + yz * dy + zz * dz
    distance = px * dx + py * dy + pz * dz
    if distance > cut_squared:
        return
    fall = math.exp(-HALF * distance)
    weight = gaussians.opacities[g] * fall
    incoming = d_density
    for c in range(d_classes.shape[0]):
        incoming += d_classes[c] * gaussians.probabilities[g, c]
        gradients.probabilities[g, c] += weight * d_classes[c]
    gradients.opacities[g] += fall * incoming
    pull = weight * incoming
    means, precisions = gradients.means[g], gradients.precisions[g]
    means[0] += pull * px
    means[1] += pull * py
    means[2] += pull * pz
    precisions[0] -= HALF * pull * dx * dx
    precisions[1] -= HALF * pull * dy * dy
    precisions[2] -= HALF * pull * dz * dz
    precisions[3] -= pull * dx * dy
    precisions[4] -= pull * dx * dz
    precisions[5] -= pull * dy * dz
