"""A lidar's sweep of a street, for depth that is measured: made when asked for, never stored.

The street is built again from the settings that its street.json states, so the beams also meet
what no camera sees: through the gaps between them the near hides the far as with a real sensor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gausstr_training.streets.drive import EPOCH, drawn
from gausstr_training.streets.reader import Street, StreetFrame


@dataclass(frozen=True)
class Lidar:
    """A spinning lidar such as nuScenes has: where it sits and how it shoots."""

    position: tuple[float, float, float] = (0.94, 0.0, 1.84)  # metres, ego frame
    beams: int = 32
    lowest: float = -30.67  # degrees
    highest: float = 10.67
    turns: int = 1084  # directions of each beam
    reach: float = 80.0  # metres
    noise: float = 0.02  # metres, standard deviation along the beam

    def directions(self) -> np.ndarray:
        """Unit vectors [beams * turns, 3], ego frame."""
        up = np.radians(np.linspace(self.lowest, self.highest, self.beams))[:, None]
        around = np.radians(np.linspace(0, 360, self.turns, endpoint=False))[None]
        flat = np.cos(up)
        parts = flat * np.cos(around), flat * np.sin(around), np.sin(up) + 0 * around
        return np.stack(parts, axis=-1).reshape(-1, 3)


def sweep(street: Street, frame: StreetFrame, lidar: Lidar | None = None) -> np.ndarray:
    """Points [P, 3] float32 in the ego frame at the frame's stamp, metres; what moved stands.

    Raises:
        ValueError: there is no ray caster.
    """
    lidar = lidar or Lidar()
    _, stage = drawn(street.settings)
    seconds = (frame.stamp - EPOCH) / 1e9
    world_from_ego = stage.world.ego_pose(seconds)
    directions = lidar.directions()
    origin = world_from_ego[:3, :3] @ np.array(lidar.position) + world_from_ego[:3, 3]
    scene = stage.scene(stage.poses(seconds))
    triangle, distance, _ = scene.first_hits(origin, directions @ world_from_ego[:3, :3].T)
    # seeded by street and frame: the same sweep at every run
    random = np.random.default_rng([street.seed, frame.stamp - EPOCH])
    ranges = distance + random.normal(0.0, lidar.noise, len(distance))
    hit = (triangle >= 0) & (distance <= lidar.reach)
    points = np.array(lidar.position) + ranges[hit, None] * directions[hit]
    return points.astype(np.float32)
