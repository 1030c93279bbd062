"""One cycle of a synthetic street in memory: what six cameras see, and where they are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gausstr_core.nuscenes import NUSCENES_CAMERAS
from gausstr_training.streets.rendering.render import Stage, View, render_view
from gausstr_training.streets.rig import StreetRig, sample_rig
from gausstr_training.streets.scene.layout import sample_world
from gausstr_training.streets.scene.world import World

START = 1_700_000_000_000_000_000


@dataclass(frozen=True)
class StreetCycle:
    """Images, exact depth and poses of six cameras at their own stamps."""

    world: World
    rig: StreetRig
    stage: Stage
    views: dict[str, View]
    stamps: dict[str, int]  # nanoseconds

    @property
    def stamp(self) -> int:
        """Of the set: the newest of its images."""
        return max(self.stamps.values())

    def ego_pose(self, stamp: int) -> np.ndarray:
        """[4, 4] world_from_ego at a stamp."""
        return self.world.ego_pose((stamp - START) / 1e9)

    def ego_from_camera(self, camera: str, stamp: int) -> np.ndarray:
        """[4, 4] of a camera at its own stamp, in the ego frame at another."""
        ego_from_world = np.linalg.inv(self.ego_pose(stamp))
        mounted = self.rig.base_from_camera[NUSCENES_CAMERAS.index(camera)]
        return ego_from_world @ self.ego_pose(self.stamps[camera]) @ mounted

    def intrinsics(self, camera: str) -> np.ndarray:
        """[3, 3] pixels, pixel centres at +0.5."""
        return self.rig.intrinsics[NUSCENES_CAMERAS.index(camera)]


def street_cycle(
    seed: int, *, size: tuple[int, int] = (180, 320), stagger: int = 0, speed: float | None = None
) -> StreetCycle:
    """Render one cycle.

    Args:
        seed: of the street and of the rig.
        size: height and width of the images.
        stagger: nanoseconds between two cameras; 0 takes the rig's own delays.
        speed: of the ego in m/s; None takes the street's own.
    """
    chance = np.random.default_rng(seed)
    rig = sample_rig(chance, size[1], size[0])
    world = sample_world(chance, 1.0)
    if speed is not None:
        world = replace(world, ego_speed=speed)
    stage = Stage(world)
    delays = np.arange(6) * stagger if stagger else rig.delays
    views = [render_view(stage, rig, c, int(delay) / 1e9) for c, delay in enumerate(delays)]
    stamps = {name: START + int(d) for name, d in zip(NUSCENES_CAMERAS, delays, strict=True)}
    return StreetCycle(world, rig, stage, dict(zip(NUSCENES_CAMERAS, views, strict=True)), stamps)
