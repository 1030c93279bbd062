"""A scene of nuScenes: what is needed of its tables, linked and checked."""

from __future__ import annotations

from dataclasses import dataclass, field

from gausstr_core.nuscenes import NUSCENES_CAMERAS

LIDAR = 'LIDAR_TOP'
CHANNELS = (*NUSCENES_CAMERAS, LIDAR)


@dataclass(frozen=True, slots=True)  # slots: there are millions
class Pose:
    """A frame in its parent."""

    translation: tuple[float, ...]  # x y z in metres
    rotation: tuple[float, ...]  # unit quaternion w x y z, as recorded


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
    stamp: int  # ns; that of its lidar sweep
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
    # how many recordings its maker marked as invalid, by channel; left out of the others, and of
    # the repr
    invalid: dict[str, int] = field(default_factory=dict, repr=False)
