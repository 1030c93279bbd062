"""Cycles for a memory: small drawn maps, and walls at known places, as the pipeline gives them."""

from __future__ import annotations

import numpy as np
import torch

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import FoundationMaps, Gaussians, Occupancy, VoxelGrid
from gausstr_core.pipeline import OccupancyResult
from gausstr_core.vocabulary.vocabulary import Category, Vocabulary

GRID = VoxelGrid((-4.0, -4.0, -1.0), (4.0, 4.0, 1.0), 0.5)
SECOND = 1_000_000_000  # ns
ROAD, BUILDING, CAR, PEDESTRIAN = range(4)
CHANNELS = 384


def words() -> Vocabulary:
    """A ground, an object that stays and two that move."""
    return Vocabulary.build(
        [
            Category('road', role='ground'),
            Category('building'),
            Category('car'),
            Category('pedestrian'),
        ]
    )


def front_rig(height: int = 24, width: int = 32) -> CameraRig:
    """One camera at the ego's origin that looks along x, 90 degrees wide."""
    intrinsics = torch.tensor([[[width / 2, 0, width / 2], [0, width / 2, height / 2], [0, 0, 1]]])
    pose = torch.tensor([[[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]]])
    return CameraRig(('CAM_FRONT',), intrinsics, pose, ((height, width),))


def pose(x: float = 0.0, y: float = 0.0, yaw: float = 0.0, z: float = 0.0) -> np.ndarray:
    """fixed_from_ego [4, 4]."""
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    matrix[:3, 3] = x, y, z
    return matrix


def cycle(
    labels: torch.Tensor,
    depth: float | torch.Tensor,
    *,
    density: torch.Tensor | None = None,
    features: torch.Tensor | None = None,
    grid: VoxelGrid = GRID,
) -> OccupancyResult:
    """A result with these labels [X, Y, Z], seen by `front_rig` up to a depth in metres.

    A Gaussian with one of the features lies in the middle of each occupied voxel.
    """
    occupied = labels >= 0
    if density is None:
        density = torch.where(occupied, 4.0, 0.0)
    images = torch.full((1, 24, 32), depth) if isinstance(depth, float) else depth
    confidence = torch.where(occupied, 0.75, 0.0)
    observed = occupied | (density > 0)
    means = grid.centers()[occupied]
    count = len(means)
    vectors = torch.randn(max(count, 1), CHANNELS, generator=torch.Generator().manual_seed(1))
    gaussians = Gaussians(
        means,
        torch.full((count, 3), 0.2),
        torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        torch.full((count,), 0.9),
        vectors[:count] if features is None else features,
    )
    return OccupancyResult(
        Occupancy(grid, density, labels, confidence, observed),
        gaussians,
        torch.nn.functional.one_hot(labels[occupied], 4).float(),
        FoundationMaps(torch.zeros(1, CHANNELS, 3, 4), images),
        front_rig(),
    )


def empty_labels(grid: VoxelGrid = GRID) -> torch.Tensor:
    """[X, Y, Z] int64, nothing anywhere."""
    return torch.full(grid.shape, -1, dtype=torch.int64)


def wall(x: float, label: int, grid: VoxelGrid = GRID) -> torch.Tensor:
    """Labels with one layer of voxels at x metres, above the ground and in front alone."""
    labels = empty_labels(grid)
    labels[int((x - grid.lower[0]) // grid.resolution), :, 2:] = label
    return labels


def drawn_cycle(random: torch.Generator, grid: VoxelGrid = GRID) -> OccupancyResult:
    """A map of noise: every branch is taken somewhere."""
    density = torch.rand(grid.shape, generator=random) ** 4 * 3
    labels = torch.randint(0, 4, grid.shape, generator=random)
    labels = torch.where(density > 0.5, labels, -1)
    depth = 0.5 + 5 * torch.rand(1, 24, 32, generator=random)
    depth[torch.rand(1, 24, 32, generator=random) < 0.1] = 0.0
    return cycle(labels, depth, density=density, grid=grid)
