"""One frame of a street: six images, their exact depth and semantics, at their own instants."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from gausstr_training.streets.classes import SKY
from gausstr_training.streets.rendering.geometry import Geometry, body_poses, build_geometry
from gausstr_training.streets.rendering.raycast import LayeredScene, RayScene
from gausstr_training.streets.rendering.shading import develop, shade
from gausstr_training.streets.rig import StreetRig
from gausstr_training.streets.scene.shapes import SURFACE
from gausstr_training.streets.scene.world import World


@dataclass(frozen=True)
class View:
    """What one camera sees at its own instant."""

    image: np.ndarray  # [H, W, 3] uint8 RGB
    depth: np.ndarray  # [H, W] float32 z-depth in metres, 0 = sky
    semantics: np.ndarray  # [H, W] uint8 class index


class Stage:
    """A world ready for rendering: what stands still is built once, the rest at every instant."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.geometry = build_geometry(world)
        self._moves = np.array([False, *(body.moves for body in world.bodies)])
        self._poses = body_poses(world, 0.0)
        standing, numbers = self.geometry.select(~self._moves)
        self._standing = RayScene(standing.posed(self._poses), standing.triangles), numbers
        self._moving, self._moving_numbers = self.geometry.select(self._moves)

    @cached_property
    def moving(self) -> Geometry:
        """The bodies that move, and nothing else; the numbers of bodies and parts stay."""
        shape = np.where(self._moves[self.geometry.body_of_part], self.geometry.shape, SURFACE)
        return replace(self._moving, shape=shape)

    def poses(self, seconds: float) -> np.ndarray:
        """[B, 4, 4] world_from_body at a time."""
        poses = self._poses.copy()
        for index in np.flatnonzero(self._moves):
            body = self.world.bodies[index - 1]
            poses[index] = body.world_from_body(self.world.road, seconds)
        return poses

    def scene(self, poses: np.ndarray) -> LayeredScene:
        """The world's triangles for rays, with the moving bodies at their poses."""
        layers = [self._standing]
        if len(self._moving_numbers):
            moving = RayScene(self._moving.posed(poses), self._moving.triangles)
            layers.append((moving, self._moving_numbers))
        return LayeredScene(layers)


def render_view(stage: Stage, rig: StreetRig, camera: int, seconds: float) -> View:
    """Render one camera of the rig at a time."""
    poses = stage.poses(seconds)
    instant = _Instant(
        stage,
        stage.scene(poses),
        np.linalg.inv(poses),
        stage.world.ego_pose(seconds) @ rig.base_from_camera[camera],
        rig.intrinsics[camera],
    )
    column, row = np.meshgrid(np.arange(rig.width) + 0.5, np.arange(rig.height) + 0.5)
    pixels = np.stack([column.ravel(), row.ravel()], axis=1)
    linear, triangle, distance = instant.trace(pixels)
    geometry = stage.geometry
    part = np.where(triangle >= 0, geometry.part_of_triangle[triangle], -1)
    edges = _edges(part.reshape(rig.height, rig.width)).ravel()
    corners = np.array([(-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25)])
    extra, *_ = instant.trace((pixels[edges] + corners[:, None]).reshape(-1, 2))
    linear[edges] += extra.reshape(4, -1, 3).sum(axis=0)
    linear[edges] /= 5
    size = (rig.height, rig.width)
    label = np.where(part >= 0, geometry.label[part], SKY).astype(np.uint8)
    return View(
        image=develop(linear, stage.world.light, camera).reshape(*size, 3),
        depth=np.where(part >= 0, distance, 0.0).astype(np.float32).reshape(size),
        semantics=label.reshape(size),
    )


@dataclass(frozen=True)
class _Instant:
    """One camera at one time."""

    stage: Stage
    scene: LayeredScene
    body_from_world: np.ndarray  # [B, 4, 4]
    world_from_camera: np.ndarray  # [4, 4]
    intrinsics: np.ndarray  # [3, 3]

    def trace(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Linear RGB [N, 3], triangle [N] (-1 = sky) and z-depth [N] of pixels [N, 2]."""
        light = self.stage.world.light
        homogeneous = np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1)
        turn = self.world_from_camera[:3, :3] @ np.linalg.inv(self.intrinsics)
        directions = homogeneous @ turn.T  # of unit z-depth
        origin = self.world_from_camera[:3, 3]
        triangle, distance, normal = hits = self.scene.first_hits(origin, directions)
        lit = np.zeros(len(pixels), dtype=bool)
        facing = np.flatnonzero((triangle >= 0) & (normal @ light.sun.astype(np.float32) > 0))
        points = origin + distance[facing, None] * directions[facing]
        lit[facing] = ~self.scene.blocked(points, normal[facing], light.sun)
        linear = shade(
            self.stage.world, self.stage.geometry, self.body_from_world, origin, directions,
            hits, lit, 1.0 / self.intrinsics[0, 0],
        )  # fmt: skip
        return linear, triangle, distance


def _edges(part: np.ndarray) -> np.ndarray:
    """Pixels next to another part: only these are worth more rays."""
    edges = np.zeros(part.shape, dtype=bool)
    across, down = part[:, 1:] != part[:, :-1], part[1:] != part[:-1]
    edges[:, 1:] |= across
    edges[:, :-1] |= across
    edges[1:] |= down
    edges[:-1] |= down
    return edges
