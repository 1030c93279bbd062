"""Which voxels the cameras have seen: free and unknown are different things.

A voxel is observed when its centre projects into some camera with
0 < z <= depth at the pixel it falls in + half the voxel's diagonal.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import VoxelGrid
from gausstr_core.process.parallel import parallel_kernel, run


def observed_voxels(
    depth: Tensor, rig: CameraRig, grid: VoxelGrid, *, backend: str = 'auto'
) -> Tensor:
    """Find the voxels that the depth images show or look through; see `viewed_and_observed`."""
    return viewed_and_observed(depth, rig, grid, backend=backend)[1]


def viewed_and_observed(
    depth: Tensor, rig: CameraRig, grid: VoxelGrid, *, backend: str = 'auto'
) -> tuple[Tensor, Tensor]:
    """Find the voxels that some camera looks at, and those of them that it sees.

    Args:
        depth: [N, H, W] z-depth in metres; `inf` sees all the way, <= 0 or NaN sees nothing.
        rig: the N cameras at the depth's size.
        grid: where the voxels are, ego frame.
        backend: 'reference' (torch, any device), 'fast' (numba, CPU) or 'auto' (by device).
            Both compute in float64 in the same order and agree in every voxel.

    Returns:
        Two bool [X, Y, Z] on the depth's device: whose centre lies in some image, at whatever
        distance, and which of them the depth images show or look through.

    Raises:
        ValueError: the depth's shape is not the rig's, or the backend cannot run there.
    """
    _check(depth, rig)
    if backend == 'auto':
        backend = 'fast' if depth.device.type == 'cpu' else 'reference'
    depth = depth.detach()
    if backend == 'reference':
        return _reference(depth, projection(rig).to(depth.device), grid)
    if backend != 'fast':
        raise ValueError(f"backend must be 'auto', 'reference' or 'fast', got {backend!r}")
    if depth.device.type != 'cpu':
        raise ValueError(f"backend 'fast' runs on the CPU, got depth on {depth.device}")
    viewed, seen = np.zeros((2, *grid.shape), dtype=np.bool_)
    run(
        _fast,
        depth.to(torch.float32).contiguous().numpy(),
        projection(rig).numpy(),
        np.array(grid.lower, dtype=np.float64),
        float(grid.resolution),
        half_diagonal(grid),
        viewed,
        seen,
    )
    return torch.from_numpy(viewed), torch.from_numpy(seen)


def with_neighbours(voxels: Tensor) -> Tensor:
    """The voxels of a mask, bool [X, Y, Z], and all that touch them.

    Of a voxel whose centre lies just outside of an image, half is in it.
    """
    grown = voxels
    for axis in range(3):
        last = grown.shape[axis] - 1
        once = grown.clone()
        once.narrow(axis, 1, last).logical_or_(grown.narrow(axis, 0, last))
        once.narrow(axis, 0, last).logical_or_(grown.narrow(axis, 1, last))
        grown = once
    return grown


def _check(depth: Tensor, rig: CameraRig) -> None:
    if depth.dim() != 3 or depth.shape[0] != len(rig):
        raise ValueError(
            f'depth must be [N, H, W] for {len(rig)} cameras, got {tuple(depth.shape)}'
        )
    for name, size in zip(rig.names, rig.image_sizes, strict=True):
        if size != tuple(depth.shape[1:]):
            raise ValueError(
                f'camera {name}: the rig is for {size[0]}x{size[1]} images (HxW), the depth is '
                f'{depth.shape[1]}x{depth.shape[2]}'
            )


def half_diagonal(grid: VoxelGrid) -> float:
    """Half the diagonal of a voxel in metres: how far past the depth a voxel is still seen."""
    return 0.5 * math.sqrt(3.0) * grid.resolution


def projection(rig: CameraRig) -> Tensor:
    """[N, 3, 4] float64: ego point -> (x * z, y * z, z) in pixels and metres."""
    camera_from_ego = rig.ego_from_camera.detach().cpu().double()
    rotation = camera_from_ego[:, :3, :3].transpose(-1, -2)
    translation = -rotation @ camera_from_ego[:, :3, 3:]
    local = torch.cat([rotation, translation], dim=-1)
    pixels = rig.intrinsics.detach().cpu().double()[:, :2] @ local
    return torch.cat([pixels, local[:, 2:]], dim=1).contiguous()


def _reference(depth: Tensor, projection: Tensor, grid: VoxelGrid) -> tuple[Tensor, Tensor]:
    height, width = depth.shape[1:]
    axes = [
        low + (torch.arange(cells, device=depth.device, dtype=torch.float64) + 0.5)
        * grid.resolution
        for low, cells in zip(grid.lower, grid.shape, strict=True)
    ]  # fmt: skip
    x, y, z = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]
    viewed, seen = torch.zeros((2, *grid.shape), dtype=torch.bool, device=depth.device)
    for image, rows in zip(depth.to(torch.float32).double(), projection, strict=True):
        u, v, far = (row[0] * x + row[1] * y + row[2] * z + row[3] for row in rows)
        ahead = far > 0
        safe = torch.where(ahead, far, torch.ones_like(far))
        u, v = u / safe, v / safe
        inside = ahead & (u >= 0) & (u < width) & (v >= 0) & (v < height)
        column = torch.where(inside, u, 0.0).long()
        row_index = torch.where(inside, v, 0.0).long()
        surface = image[row_index, column]
        viewed |= inside
        seen |= inside & (surface > 0) & (far <= surface + half_diagonal(grid))
    return viewed, seen


@parallel_kernel
def _fast(
    depth: np.ndarray,
    projection: np.ndarray,
    lower: np.ndarray,
    resolution: float,
    margin: float,
    viewed: np.ndarray,
    seen: np.ndarray,
) -> None:
    cameras, height, width = depth.shape
    cells_x, cells_y, cells_z = seen.shape
    for i in numba.prange(cells_x):
        x = lower[0] + (i + 0.5) * resolution
        for j in range(cells_y):
            y = lower[1] + (j + 0.5) * resolution
            for n in range(cameras):
                rows = projection[n]
                u0 = rows[0, 0] * x + rows[0, 1] * y
                v0 = rows[1, 0] * x + rows[1, 1] * y
                far0 = rows[2, 0] * x + rows[2, 1] * y
                for k in range(cells_z):
                    z = lower[2] + (k + 0.5) * resolution
                    far = far0 + rows[2, 2] * z + rows[2, 3]
                    if seen[i, j, k] or not far > 0:
                        continue
                    u = (u0 + rows[0, 2] * z + rows[0, 3]) / far
                    v = (v0 + rows[1, 2] * z + rows[1, 3]) / far
                    if not (u >= 0 and u < width and v >= 0 and v < height):
                        continue
                    viewed[i, j, k] = True
                    surface = depth[n, int(v), int(u)]
                    if surface > 0 and far <= np.float64(surface) + margin:
                        seen[i, j, k] = True
