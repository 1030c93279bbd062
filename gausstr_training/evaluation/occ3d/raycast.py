"""What a lidar would see in a grid of labels: the first occupied voxel along each ray.

Distances are those of RayIoU as published: SparseOcc's kernel (lib/dvr/dvr.cu at af4d9df) takes
the face where the ray leaves that voxel, not the one where it enters.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from gausstr_core.contracts import VoxelGrid
from gausstr_core.process.parallel import kernel, parallel_kernel, run

HIGHEST_PITCH = 0.21  # rad; where the upper end of the field of view of nuScenes' lidar is
GROUND_RINGS = 10
APPROACH = 1000  # voxels after which a ray from outside the grid counts as one that misses it


def lidar_directions() -> np.ndarray:
    """[R, 3] float64 unit vectors, the rays of RayIoU (SparseOcc, arXiv 2312.17118).

    One azimuth per degree. The ten lowest pitches meet the ground at horizontal distances of
    1, 2, ... 10 times the height of the sensor; from there the last step is repeated until the
    rays leave the field of view of the nuScenes lidar.
    """
    pitches = [-(math.pi / 2 - math.atan(ring)) for ring in range(1, GROUND_RINGS + 1)]
    while pitches[-1] < HIGHEST_PITCH:
        pitches.append(2 * pitches[-1] - pitches[-2])
    pitch, azimuth = np.meshgrid(pitches, np.radians(np.arange(360)), indexing='ij')
    level = np.cos(pitch)
    rays = (level * np.cos(azimuth), level * np.sin(azimuth), np.sin(pitch))
    return np.stack(rays, axis=-1).reshape(-1, 3)


def first_hits(
    labels: np.ndarray, grid: VoxelGrid, origins: np.ndarray, directions: np.ndarray, free: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cast rays through a grid of labels.

    Args:
        labels: uint8 [X, Y, Z], `free` where nothing is.
        grid: of the labels, ego frame.
        origins: [N, 3] metres, ego frame; a ray from outside the grid counts from its entry on.
        directions: [R, 3] unit vectors.
        free: the label that rays pass through.

    Returns:
        uint8 [N, R] label of the first occupied voxel, `free` where the ray leaves the grid, and
        float64 [N, R] distance in metres from the origin to where the ray leaves that voxel, or
        the grid; 0 where it never enters the grid.

    Raises:
        ValueError: the labels do not cover the grid, or origins or directions are not [., 3].
    """
    if labels.shape != grid.shape or labels.dtype != np.uint8:
        raise ValueError(
            f'labels must be uint8 {grid.shape} like the grid, got {labels.dtype} {labels.shape}'
        )
    for what, array in (('origins', origins), ('directions', directions)):
        if array.ndim != 2 or array.shape[1] != 3 or not np.isfinite(array).all():
            raise ValueError(f'{what} of rays must be finite [N, 3], got {array.shape}')
    # in units of voxels from the grid's lower corner
    starts = (origins.astype(np.float64) - np.array(grid.lower)) / grid.resolution
    found = np.full((len(origins), len(directions)), free, dtype=np.uint8)
    distance = np.zeros(found.shape)
    rays = np.ascontiguousarray(directions, dtype=np.float64)
    run(_cast, np.ascontiguousarray(labels), starts, rays, np.uint8(free), found, distance)
    return found, distance * grid.resolution


@parallel_kernel
def _cast(
    labels: np.ndarray, starts: np.ndarray, directions: np.ndarray, free: int,
    found: np.ndarray, distance: np.ndarray,
) -> None:  # fmt: skip
    for r in numba.prange(directions.shape[0]):
        for n in range(starts.shape[0]):
            found[n, r], distance[n, r] = _march(labels, starts[n], directions[r], free)


@kernel
def _march(
    labels: np.ndarray, start: np.ndarray, direction: np.ndarray, free: int
) -> tuple[int, float]:
    """Step from voxel to voxel across the nearest face (Amanatides and Woo 1987)."""
    cell, step = np.empty(3, np.int64), np.empty(3, np.int64)
    due, width = np.empty(3), np.empty(3)  # ray length to the next face, and between faces
    for axis in range(3):
        cell[axis] = math.floor(start[axis])
        step[axis] = np.sign(direction[axis])
        due[axis] = width[axis] = np.inf
        if direction[axis] != 0:
            face = cell[axis] + (1 if direction[axis] > 0 else 0)
            due[axis] = (face - start[axis]) / direction[axis]
            width[axis] = abs(1 / direction[axis])
    travelled = 0.0
    for _ in range(APPROACH + labels.shape[0] + labels.shape[1] + labels.shape[2]):
        inside, past = _place(cell, step, labels.shape)
        if past:
            break
        axis = _nearest(due)
        if inside:
            travelled = due[axis]
            label = labels[cell[0], cell[1], cell[2]]
            if label != free:
                return label, travelled
        cell[axis] += step[axis]
        due[axis] += width[axis]
    return free, travelled


@kernel
def _place(cell: np.ndarray, step: np.ndarray, shape: tuple[int, int, int]) -> tuple[bool, bool]:
    """Whether a cell lies in the grid, and whether it lies where no step leads back into it."""
    inside, past = True, False
    for axis in range(3):
        if cell[axis] < 0:
            inside, past = False, past or step[axis] <= 0
        elif cell[axis] >= shape[axis]:
            inside, past = False, past or step[axis] >= 0
    return inside, past


@kernel
def _nearest(due: np.ndarray) -> int:
    """The axis of the nearest face; through an edge the published kernel steps z, y, x."""
    axis = 2
    if due[1] < due[axis]:
        axis = 1
    if due[0] < due[axis]:
        axis = 0
    return axis
