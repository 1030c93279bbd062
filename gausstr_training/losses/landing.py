"""Where the ray of every pixel ends in a voxel grid."""

from __future__ import annotations

import torch
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import VoxelGrid


def landing_voxels(depth: Tensor, rig: CameraRig, grid: VoxelGrid) -> tuple[Tensor, Tensor]:
    """Unproject every pixel's centre and find its voxel.

    Args:
        depth: [N, H, W] z-depth in metres; where it is 0 nothing lands.
        rig: N cameras at the depth's size.
        grid: where the voxels are, ego frame.

    Returns:
        Flat C-order voxel index [P] int64 of the pixels that land inside the grid, and which
        pixels those are, bool [N * H * W].
    """
    n, height, width = depth.shape
    rows, columns = torch.meshgrid(
        torch.arange(height, device=depth.device) + 0.5,
        torch.arange(width, device=depth.device) + 0.5,
        indexing='ij',
    )
    pixels = torch.stack([columns, rows], dim=-1).reshape(1, -1, 2).expand(n, -1, 2)
    points = rig.unproject(pixels.to(depth), depth.flatten(1)).flatten(0, 1)
    cell = torch.floor((points - points.new_tensor(grid.lower)) / grid.resolution).long()
    shape = torch.tensor(grid.shape, device=cell.device)
    lands = ((cell >= 0) & (cell < shape)).all(-1) & (depth.flatten() > 0)
    x, y, z = cell[lands].unbind(-1)
    return (x * grid.shape[1] + y) * grid.shape[2] + z, lands
