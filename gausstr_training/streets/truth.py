"""The true voxel grid of an instant and which of it the cameras can see.

A voxel takes the class with most votes. Votes come from points sampled on every triangle at most a
third of a voxel apart, and from the inside of closed solids; an object's vote counts more than the
ground's, so that a kerb does not swallow a cone's foot. As the spacing follows the voxel, a vote
means the same at every resolution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import VoxelGrid
from gausstr_core.nuscenes import NUSCENES_CAMERAS
from gausstr_core.process.parallel import kernel
from gausstr_core.voxels.visibility import observed_voxels
from gausstr_training.streets.classes import BUILDING, CLASSES, FREE, VEGETATION
from gausstr_training.streets.grids import RESOLUTION, moving_name, truth_grid, truth_names
from gausstr_training.streets.rendering.geometry import Geometry
from gausstr_training.streets.rendering.render import Stage
from gausstr_training.streets.scene import shapes

SPACING = 0.13 / RESOLUTION  # voxels between samples of a surface
LEAST_VOTES = 2.0  # a voxel that a surface only grazes stays free
INSIDE_VOTES = 60.0
GROUND_VOTES, LARGE_VOTES, OBJECT_VOTES = 1.0, 2.0, 6.0
BOX, WEDGE, TAPER, CONE = shapes.BOX, shapes.WEDGE, shapes.TAPER, shapes.CONE
CYLINDER, ELLIPSOID, SURFACE = shapes.CYLINDER, shapes.ELLIPSOID, shapes.SURFACE
TAPER_X, TAPER_Y = shapes.TAPER_X, shapes.TAPER_Y


def voxel_truth(
    stage: Stage,
    seconds: float,
    depth: np.ndarray,
    intrinsics: np.ndarray,
    ego_from_camera: np.ndarray,
    resolutions: Sequence[float] = (RESOLUTION,),
    *,
    moving: bool = False,
) -> dict[str, np.ndarray]:
    """`voxels` uint8 [X, Y, Z] and `camera_mask` bool, in the ego frame at a time.

    They go by the names of `grids.truth_names`, on the grids of `grids.truth_grid`.

    Args:
        depth: [6, H, W] true z-depth in metres, 0 = sky.
        intrinsics, ego_from_camera: [6, 3, 3] and [6, 4, 4] of those images.
        resolutions: of the voxels, metres.
        moving: also `moving`, bool, the voxels of bodies that move.
    """
    ego_from_body = np.linalg.inv(stage.world.ego_pose(seconds)) @ stage.poses(seconds)
    height, width = depth.shape[1:]
    rig = CameraRig(
        NUSCENES_CAMERAS,
        torch.from_numpy(intrinsics),
        torch.from_numpy(ego_from_camera),
        ((height, width),) * len(NUSCENES_CAMERAS),
    )
    seen = torch.from_numpy(np.where(depth > 0, depth, np.inf).astype(np.float32))
    arrays = {}
    for resolution in resolutions:
        grid = truth_grid(resolution)
        voxels, mask = truth_names(resolution)
        arrays[voxels] = label_voxels(stage.geometry, ego_from_body, grid)
        arrays[mask] = observed_voxels(seen, rig, grid).numpy()
        if moving:
            alone = label_voxels(stage.moving, ego_from_body, grid)
            arrays[moving_name(resolution)] = (alone == arrays[voxels]) & (alone != FREE)
    return arrays


def label_voxels(geometry: Geometry, ego_from_body: np.ndarray, grid: VoxelGrid) -> np.ndarray:
    """Class of every voxel, FREE where there is nothing: uint8 [X, Y, Z]."""
    classes = len(CLASSES) - 1
    weight = np.full(classes, OBJECT_VOTES)
    weight[:3], weight[[BUILDING, VEGETATION]] = GROUND_VOTES, LARGE_VOTES
    votes = np.zeros((*grid.shape, classes), dtype=np.float32)
    lower = np.array(grid.lower)
    label = geometry.label.astype(np.int64)
    _vote_surfaces(
        geometry.posed(ego_from_body), geometry.triangles, label[geometry.part_of_triangle],
        weight, lower, grid.resolution, votes,
    )  # fmt: skip
    ego_from_unit = ego_from_body[geometry.body_of_part] @ geometry.body_from_unit
    _vote_insides(
        geometry.shape, label, ego_from_unit, np.linalg.inv(ego_from_unit), lower,
        grid.resolution, votes,
    )  # fmt: skip
    winner = votes.argmax(axis=-1).astype(np.uint8)
    enough = votes.max(axis=-1) >= LEAST_VOTES * weight[winner]
    return np.where(enough, winner, np.uint8(FREE)).astype(np.uint8)


@kernel
def _vote_surfaces(
    vertices: np.ndarray,
    triangles: np.ndarray,
    label: np.ndarray,
    weight: np.ndarray,
    lower: np.ndarray,
    resolution: float,
    votes: np.ndarray,
) -> None:
    nx, ny, nz, _ = votes.shape
    size = np.array([nx, ny, nz])
    upper = lower + resolution * size
    spacing = SPACING * resolution
    cell = np.zeros(3, np.int64)
    for t in range(len(triangles)):
        a, b, c = vertices[triangles[t, 0]], vertices[triangles[t, 1]], vertices[triangles[t, 2]]
        outside = False
        for axis in range(3):
            low, high = min(a[axis], b[axis], c[axis]), max(a[axis], b[axis], c[axis])
            outside = outside or high < lower[axis] or low > upper[axis]
        if outside:
            continue
        longest = max(_distance(a, b), _distance(b, c), _distance(c, a))
        steps = max(1, math.ceil(longest / spacing))
        for i in range(steps):
            for j in range(steps - i):
                u, v = (i + 1 / 3) / steps, (j + 1 / 3) / steps
                inside = True
                for axis in range(3):
                    at = a[axis] + u * (b[axis] - a[axis]) + v * (c[axis] - a[axis])
                    cell[axis] = math.floor((at - lower[axis]) / resolution)
                    inside = inside and 0 <= cell[axis] < size[axis]
                if inside:
                    votes[cell[0], cell[1], cell[2], label[t]] += weight[label[t]]


@kernel
def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return math.sqrt((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2)


@kernel
def _is_inside(shape: int, x: float, y: float, z: float) -> bool:
    """Whether a point of the unit cube lies in a unit shape."""
    if abs(x) > 0.5 or abs(y) > 0.5 or abs(z) > 0.5:
        return False
    up = z + 0.5
    if shape == CYLINDER:
        return x * x + y * y <= 0.25
    if shape == ELLIPSOID:
        return x * x + y * y + z * z <= 0.25
    if shape == CONE:
        return math.sqrt(x * x + y * y) <= 0.5 - 0.44 * up
    if shape == TAPER:
        slim_x, slim_y = 1 - (1 - TAPER_X) * up, 1 - (1 - TAPER_Y) * up
        return abs(x) <= 0.5 * slim_x and abs(y) <= 0.5 * slim_y
    if shape == WEDGE:
        return x + up <= 0.5
    return True


@kernel
def _vote_insides(
    shape: np.ndarray,
    label: np.ndarray,
    ego_from_unit: np.ndarray,
    unit_from_ego: np.ndarray,
    lower: np.ndarray,
    resolution: float,
    votes: np.ndarray,
) -> None:
    nx, ny, nz, _ = votes.shape
    size = np.array([nx, ny, nz])
    first, last = np.zeros(3, np.int64), np.zeros(3, np.int64)
    for p in range(len(shape)):
        if shape[p] == SURFACE:
            continue
        for axis in range(3):
            reach = 0.0
            for e in range(3):
                reach += 0.5 * abs(ego_from_unit[p, axis, e])
            middle = ego_from_unit[p, axis, 3] - lower[axis]
            first[axis] = max(0, math.floor((middle - reach) / resolution))
            last[axis] = min(size[axis], math.floor((middle + reach) / resolution) + 1)
        m = unit_from_ego[p]
        for i in range(first[0], last[0]):
            x = lower[0] + (i + 0.5) * resolution
            for j in range(first[1], last[1]):
                y = lower[1] + (j + 0.5) * resolution
                for k in range(first[2], last[2]):
                    z = lower[2] + (k + 0.5) * resolution
                    u = m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]
                    v = m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]
                    w = m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3]
                    if _is_inside(shape[p], u, v, w):
                        votes[i, j, k, label[p]] += INSIDE_VOTES
