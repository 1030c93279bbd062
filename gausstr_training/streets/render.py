"""One frame of a street: six images, their exact depth and semantics, at their own instants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gausstr_training.streets.classes import SKY
from gausstr_training.streets.geometry import Geometry, body_poses
from gausstr_training.streets.raycast import RayScene
from gausstr_training.streets.rig import StreetRig
from gausstr_training.streets.shading import develop, shade
from gausstr_training.streets.world import World


@dataclass(frozen=True)
class View:
    """What one camera sees at its own instant."""

    image: np.ndarray  # [H, W, 3] uint8 RGB
    depth: np.ndarray  # [H, W] float32 z-depth in metres, 0 = sky
    semantics: np.ndarray  # [H, W] uint8 class index


def render_view(
    world: World, geometry: Geometry, rig: StreetRig, camera: int, seconds: float
) -> View:
    """Render one camera of the rig at a time."""
    poses = body_poses(world, seconds)
    scene = RayScene(geometry.posed(poses), geometry.triangles)
    world_from_camera = world.ego_pose(seconds) @ rig.base_from_camera[camera]
    intrinsics = rig.intrinsics[camera]
    column, row = np.meshgrid(np.arange(rig.width) + 0.5, np.arange(rig.height) + 0.5)
    pixels = np.stack([column.ravel(), row.ravel()], axis=1)
    linear, hits = _trace(world, geometry, scene, poses, world_from_camera, intrinsics, pixels)
    triangle, distance, _ = hits
    part = np.where(triangle >= 0, geometry.part_of_triangle[triangle], -1)
    edges = _edges(part.reshape(rig.height, rig.width)).ravel()
    for shift in ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25)):
        extra, _ = _trace(
            world, geometry, scene, poses, world_from_camera, intrinsics, pixels[edges] + shift
        )
        linear[edges] += np.minimum(extra, 2.0)
    linear[edges] /= 5
    size = (rig.height, rig.width)
    label = np.where(part >= 0, geometry.label[part], SKY).astype(np.uint8)
    return View(
        image=develop(linear, world.light).reshape(*size, 3),
        depth=np.where(part >= 0, distance, 0.0).astype(np.float32).reshape(size),
        semantics=label.reshape(size),
    )


def _edges(part: np.ndarray) -> np.ndarray:
    """Pixels next to another part: only these are worth more rays."""
    edges = np.zeros(part.shape, dtype=bool)
    across, down = part[:, 1:] != part[:, :-1], part[1:] != part[:-1]
    edges[:, 1:] |= across
    edges[:, :-1] |= across
    edges[1:] |= down
    edges[:-1] |= down
    return edges


def _trace(
    world: World,
    geometry: Geometry,
    scene: RayScene,
    poses: np.ndarray,
    world_from_camera: np.ndarray,
    intrinsics: np.ndarray,
    pixels: np.ndarray,
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Linear RGB [N, 3] and hits of pixels [N, 2]; ray lengths count in z-depth."""
    homogeneous = np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1)
    local = homogeneous @ np.linalg.inv(intrinsics).T
    directions = local @ world_from_camera[:3, :3].T
    origin = world_from_camera[:3, 3]
    triangle, distance, normal = hits = scene.first_hits(origin, directions)
    lit = np.zeros(len(pixels), dtype=bool)
    facing = (triangle >= 0) & (normal @ world.light.sun.astype(np.float32) > 0)
    points = origin + distance[facing, None] * directions[facing]
    lit[facing] = ~scene.blocked(points, normal[facing], world.light.sun)
    linear = shade(
        geometry, world.road, world.light, np.linalg.inv(poses), origin, directions, hits, lit,
        1.0 / intrinsics[0, 0],
    )  # fmt: skip
    return linear, hits
