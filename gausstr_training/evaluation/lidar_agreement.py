"""How well a map agrees with a lidar sweep and with annotated boxes: scores without voxel labels.

For real frames whose dense truth is not at hand. All is in the ego frame at the map's stamp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from gausstr_core.contracts import Occupancy, VoxelGrid

MARGIN = 2.0  # voxel diagonals before a lidar point in which its ray says nothing about free space


@dataclass(frozen=True)
class Box:
    """An annotated object."""

    name: str
    centre: tuple[float, float, float]  # metres
    size: tuple[float, float, float]  # length (along the heading), width, height in metres
    yaw: float  # radians, counter-clockwise from x

    def contains(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of the points [P, 3] lie inside."""
        cosine, sine = np.cos(self.yaw), np.sin(self.yaw)
        local = points - np.array(self.centre)
        along = local[:, 0] * cosine + local[:, 1] * sine
        across = local[:, 1] * cosine - local[:, 0] * sine
        inside = np.abs(np.stack([along, across, local[:, 2]], -1)) <= np.array(self.size) / 2
        return inside.all(-1)


@dataclass(frozen=True)
class Agreement:
    """Shares 0..1; nan where there was nothing to count."""

    near_occupied: float  # of the points: in or next to an occupied voxel
    near_named: float  # of the points in boxes: in or next to a voxel with the label of the box
    free: float  # of the voxels that rays pass through: observed and not occupied
    points: int  # in the grid
    named_points: int  # in boxes


def agreement(
    occupancy: Occupancy,
    points: NDArray[np.float64],
    origin: NDArray[np.float64],
    boxes: Sequence[Box],
    labels: dict[str, Sequence[int]],
) -> Agreement:
    """Compare a map with a sweep.

    Args:
        occupancy: the map.
        points: [P, 3] metres; leave out those on the robot itself.
        origin: [3] where the lidar is, metres.
        boxes: annotated objects; only those whose name is in `labels` count.
        labels: name of a box -> labels of the map that are right for it.

    Raises:
        ValueError: points or origin are no points.
    """
    if points.ndim != 2 or points.shape[1] != 3 or origin.shape != (3,):
        raise ValueError(
            f'expected points [P, 3] and an origin [3], got {points.shape} and {origin.shape}'
        )
    grid, occupied = occupancy.grid, (occupancy.labels >= 0).cpu()
    inside = _inside(points, grid)
    near = _grown(occupied)
    hits = near[_cells(points[inside], grid)]
    named = [
        _grown(torch.isin(occupancy.labels.cpu(), torch.tensor(list(labels[box.name]))))[
            _cells(points[inside & box.contains(points)], grid)
        ]
        for box in boxes
        if box.name in labels
    ]
    in_boxes = torch.cat(named) if named else torch.zeros(0, dtype=torch.bool)
    passed = passed_voxels(points, origin, grid)
    free = (occupancy.observed.cpu() & ~occupied)[passed]
    return Agreement(_share(hits), _share(in_boxes), _share(free), len(hits), len(in_boxes))


def swept_voxels(
    points: NDArray[np.float64], origin: NDArray[np.float64], grid: VoxelGrid
) -> Tensor:
    """bool [X, Y, Z]: voxels that a sweep tells of: rays end in them or pass through them.

    As the lidar mask of Occ3D: what lies behind a surface is in none of them.
    """
    swept = passed_voxels(points, origin, grid, margin=0.5)
    swept[_cells(points[_inside(points, grid)], grid)] = True
    return swept


def passed_voxels(
    points: NDArray[np.float64],
    origin: NDArray[np.float64],
    grid: VoxelGrid,
    margin: float = MARGIN,
) -> Tensor:
    """bool [X, Y, Z]: voxels that some ray passes through well before it ends.

    A voxel in which any point lies is left out: grazing rays pass through the ground they hit.

    Args:
        points: [P, 3] where rays end, metres, ego frame.
        origin: [3] where they start.
        grid: where the voxels are.
        margin: how long before its end a ray says nothing, in diagonals of a voxel.
    """
    step = grid.resolution / 2
    ray = points - origin
    length = np.linalg.norm(ray, axis=1)
    clear = length - margin * np.sqrt(3) * grid.resolution
    direction = ray / np.maximum(length, 1e-9)[:, None]
    passed = torch.zeros(grid.shape, dtype=torch.bool)
    for distance in np.arange(step, max(clear.max(initial=0), step), step):
        here = origin + distance * direction[clear > distance]
        passed[_cells(here[_inside(here, grid)], grid)] = True
    passed[_cells(points[_inside(points, grid)], grid)] = False
    return passed


def _inside(points: NDArray[np.float64], grid: VoxelGrid) -> NDArray[np.bool_]:
    return ((points >= np.array(grid.lower)) & (points < np.array(grid.upper))).all(-1)


def _cells(points: NDArray[np.float64], grid: VoxelGrid) -> tuple[Tensor, ...]:
    """Index of the voxels that hold points inside the grid."""
    index = np.floor((points - np.array(grid.lower)) / grid.resolution).astype(np.int64)
    index = np.minimum(index, np.array(grid.shape) - 1)
    return tuple(torch.from_numpy(index).unbind(-1))


def _grown(mask: Tensor) -> Tensor:
    """The voxels of a mask and all that touch them."""
    return F.max_pool3d(mask[None, None].float(), 3, stride=1, padding=1)[0, 0] > 0


def _share(mask: Tensor) -> float:
    return float(mask.float().mean()) if len(mask) else float('nan')
