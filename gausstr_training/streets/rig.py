"""The six cameras of a synthetic car: a surround rig of the usual kind, in round numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gausstr_training.streets.scene.shapes import rotation

# In the order of NUSCENES_CAMERAS: x, y, z in metres (base_link: on the ground under the rear
# axle), yaw in degrees, focal length in pixels of a 1600 pixel wide image, and when it fires after
# the start of the cycle in ms.
_CAMERAS = (
    (1.70, 0.00, 1.50, 0.0, 1266.0, 8.0),
    (1.55, -0.50, 1.50, -55.0, 1266.0, 16.0),
    (1.55, 0.50, 1.50, 55.0, 1266.0, 0.0),
    (0.00, 0.00, 1.55, 180.0, 809.0, 33.0),
    (1.00, 0.50, 1.55, 108.0, 1266.0, 42.0),
    (1.00, -0.50, 1.55, -108.0, 1266.0, 25.0),
)
_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # level, to +x


@dataclass(frozen=True)
class StreetRig:
    """Where the cameras sit on the car and when each fires within a cycle."""

    intrinsics: np.ndarray  # [6, 3, 3] pixels
    base_from_camera: np.ndarray  # [6, 4, 4] optical frames
    delays: np.ndarray  # [6] int64 ns after the start of the cycle
    width: int
    height: int


def sample_rig(random: np.random.Generator, width: int, height: int) -> StreetRig:
    """Draw a rig: the nominal one with a little play in poses, focal lengths and firing times."""
    intrinsics = np.tile(np.eye(3), (6, 1, 1))
    poses = np.tile(np.eye(4), (6, 1, 1))
    delays = np.zeros(6, dtype=np.int64)
    for index, (x, y, z, yaw, focal, delay) in enumerate(_CAMERAS):
        focal = focal * width / 1600 * random.uniform(0.98, 1.02)
        intrinsics[index] = [
            [focal, 0.0, width / 2 + random.normal(0, 0.005 * width)],
            [0.0, focal, height * 0.54 + random.normal(0, 0.005 * width)],
            [0.0, 0.0, 1.0],
        ]
        angles = np.deg2rad(random.normal([yaw, 0.3, 0.0], [1.0, 0.5, 0.3]))
        poses[index, :3, :3] = rotation(*angles) @ _OPTICAL
        poses[index, :3, 3] = np.array([x, y, z]) + random.normal(0, 0.02, 3)
        delays[index] = int(1e6 * delay) + int(random.integers(0, 1_000_000))
    return StreetRig(intrinsics, poses, delays, width, height)
