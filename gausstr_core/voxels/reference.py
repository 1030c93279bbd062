"""The plain twin in torch: chunks of (Gaussian, voxel) pairs; any device, differentiable.

On CUDA `index_add` sums in no fixed order, so the last bits may differ from run to run.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gausstr_core.contracts import VoxelGrid
from gausstr_core.voxels.ellipsoids import Ellipsoids

# these bound the memory: about 200 bytes a pair at 18 classes, plus one big Gaussian
PAIRS_PER_CHUNK = 1 << 18
PAIRS_PER_CHUNK_ON_GPU = 1 << 22  # where each of many small kernels costs more than its work


def accumulate(
    shapes: Ellipsoids, probabilities: Tensor, grid: VoxelGrid, cut: float
) -> tuple[Tensor, Tensor]:
    """Return density [X, Y, Z] and class density [X, Y, Z, K]; see `voxels.voxelise`."""
    x, y, z = grid.shape
    classes = probabilities.shape[1]
    density = shapes.means.new_zeros(x * y * z)
    class_density = shapes.means.new_zeros(x * y * z, classes)
    pairs = (shapes.past - shapes.first).clamp_min(0).prod(-1)
    for chunk in _chunks(pairs):
        gaussian, voxel = _boxes(shapes, chunk, pairs[chunk])
        distance = _squared_distance(shapes, gaussian, voxel, grid)
        inside = distance <= cut * cut
        gaussian, voxel = gaussian[inside], voxel[inside]
        weight = shapes.opacities[gaussian] * torch.exp(-0.5 * distance[inside])
        flat = (voxel[:, 0] * y + voxel[:, 1]) * z + voxel[:, 2]
        density = density.index_add(0, flat, weight)
        shares = weight[:, None] * probabilities[gaussian].to(weight.dtype)
        class_density = class_density.index_add(0, flat, shares)
    return density.reshape(x, y, z), class_density.reshape(x, y, z, classes)


def _chunks(pairs: Tensor) -> list[Tensor]:
    """Split the Gaussians that touch the grid into runs of about as many pairs."""
    touching = pairs.nonzero()[:, 0]
    most = PAIRS_PER_CHUNK if pairs.device.type == 'cpu' else PAIRS_PER_CHUNK_ON_GPU
    number = (pairs[touching].cumsum(0) // most).cpu()
    sizes = torch.unique_consecutive(number, return_counts=True)[1]
    # where none does, an empty run: the sum still depends on what it is differentiated by
    return list(touching.split(sizes.tolist())) or [touching]


def _boxes(shapes: Ellipsoids, chunk: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """[P] Gaussian and [P, 3] voxel index of every voxel in the boxes of a chunk."""
    gaussian = chunk.repeat_interleave(pairs)
    start = (pairs.cumsum(0) - pairs).repeat_interleave(pairs)
    rest = torch.arange(len(gaussian), device=gaussian.device) - start
    size = (shapes.past - shapes.first)[gaussian]
    column = rest // size[:, 2]
    offset = torch.stack([column // size[:, 1], column % size[:, 1], rest % size[:, 2]], dim=-1)
    return gaussian, shapes.first[gaussian] + offset


def _squared_distance(
    shapes: Ellipsoids, gaussian: Tensor, voxel: Tensor, grid: VoxelGrid
) -> Tensor:
    lower = torch.tensor(grid.lower).to(shapes.means)
    center = lower + (voxel.to(shapes.means.dtype) + 0.5) * grid.resolution
    dx, dy, dz = (center - shapes.means[gaussian]).unbind(-1)
    xx, yy, zz, xy, xz, yz = shapes.precisions[gaussian].unbind(-1)
    return (
        xx * dx * dx + yy * dy * dy + zz * dz * dz
        + 2 * (xy * dx * dy + xz * dx * dz + yz * dy * dz)
    )  # fmt: skip
