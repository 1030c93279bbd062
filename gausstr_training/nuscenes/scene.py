"""A scene of nuScenes: what is needed of its tables, linked and checked."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

LIDARS = ('LIDAR_TOP', 'LIDAR_CONCAT')  # the first that is there, of several: nuScenes, TIER IV
_SAME_PLACE = 1e-3  # metres
_SAME_TURN = 1e-4  # radians: 5 mm at 50 m, and what a quaternion of four decimals leaves open


@dataclass(frozen=True, slots=True)  # slots: there are millions
class Pose:
    """A frame in its parent."""

    translation: tuple[float, ...]  # x y z in metres
    rotation: tuple[float, ...]  # unit quaternion w x y z, as recorded

    def agrees(self, other: Pose) -> bool:
        """Whether both are one pose: to a millimetre, whatever the quaternions' signs."""
        own, its = (
            [value / math.hypot(*pose.rotation) for value in pose.rotation]
            for pose in (self, other)
        )
        chord = min(math.dist(own, its), math.dist(own, [-value for value in its]))
        apart = math.dist(self.translation, other.translation)
        return apart <= _SAME_PLACE and 4 * math.asin(chord / 2) <= _SAME_TURN


@dataclass(frozen=True)
class Sensor:
    """A sensor as calibrated."""

    channel: str
    pose: Pose  # in the ego frame; a camera's is optical
    # [3][3] pixels; as OpenCV counts them, the centre of the first pixel is (0, 0). None: a lidar
    intrinsics: tuple[tuple[float, ...], ...] | None
    # of a camera: none, 4 or 5 of plumb_bob, or 8, 12 or 14 of rational_polynomial. Not in the
    # repr, by which bags know their tables: see `receipt.source_of`
    distortion: tuple[float, ...] = field(default=(), repr=False)

    @property
    def camera(self) -> bool:
        """Whether it takes images."""
        return self.intrinsics is not None


@dataclass(frozen=True, slots=True)
class Recording:
    """One file of one sensor, and where the car was at that instant."""

    channel: str
    stamp: int  # ns
    file: str  # below the root of the data set
    keyframe: bool
    sample: str  # token
    size: tuple[int, int]  # height and width in pixels; 0, 0 of a lidar
    ego: Pose  # in the global frame


@dataclass(frozen=True)
class Box:
    """An annotated object."""

    instance: str  # token; the same object at another sample has the same
    category: str  # such as vehicle.car
    pose: Pose  # of the centre, in the global frame
    size: tuple[float, ...]  # metres: width (y), length (x), height (z)


@dataclass(frozen=True)
class Sample:
    """A keyframe."""

    token: str
    stamp: int  # ns; that of its lidar sweep, or of sample.json where it has none
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Scene:
    """About 20 s of driving."""

    name: str
    description: str
    version: str  # of nuScenes, such as v1.0-mini
    sensors: dict[str, Sensor]  # by channel
    recordings: tuple[Recording, ...]  # ordered by stamp, then channel
    samples: tuple[Sample, ...]  # ordered by stamp
    # files in no bag, by what they are; no part of what a bag is made from
    left_out: Counter[str] = field(default_factory=Counter, repr=False)
