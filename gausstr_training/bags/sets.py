"""What a frame is made of, and the frames of a bag as arrays."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gausstr_core.camera.camera_info import Calibration
from gausstr_training.bags.scan import Layout


@dataclass(frozen=True)
class BagSettings:
    """What makes a frame; times in seconds.

    Raises:
        ValueError: a number is out of range, or a camera comes twice.
    """

    cameras: tuple[str, ...] = ()  # in the order of the rig; none: all that a bag has
    layout: Layout = field(default_factory=Layout)
    fixed_frames: tuple[str, ...] = ('odom', 'map')  # the first that the ego hangs on is used
    tolerance: float = 0.06  # that the images of a set may lie apart
    period: float = 0.0  # least time from frame to frame
    keyframes_only: bool = False  # only sets that the bag has a token for
    keyframes_if_any: bool = False  # the same, and no period, for bags that have tokens
    pose_gap: float = 1.0  # most time between the poses around a stamp
    points: bool = False  # read the lidar as well
    neighbours: bool = False  # read the frames before and after as well
    neighbour_gap: float = 1.0  # most time to a neighbour

    def __post_init__(self) -> None:
        for name in ('tolerance', 'period', 'pose_gap', 'neighbour_gap'):
            if not 0 <= getattr(self, name) < float('inf'):
                raise ValueError(f'{name} must be >= 0 s, got {getattr(self, name)}')
        if len(set(self.cameras)) != len(self.cameras):
            raise ValueError(f'cameras must each come once, got {list(self.cameras)}')
        if not self.fixed_frames:
            raise ValueError('fixed_frames must name at least one frame, such as odom')


@dataclass(frozen=True)
class BagSets:
    """The frames of one bag as arrays over S sets and C cameras: small enough for any worker."""

    path: Path
    name: str
    version: str
    file: str  # `Bag.file`
    cameras: tuple[str, ...]
    topics: tuple[str, ...]  # of the images
    calibrations: tuple[tuple[Calibration, ...], ...]  # per camera
    stamps: NDArray[np.int64]  # [S] ns, strictly ascending
    tokens: tuple[str, ...]  # [S] of keyframes, '' elsewhere
    image_stamps: NDArray[np.int64]  # [S, C] ns
    logged: NDArray[np.int64]  # [S, C] ns at which the image was recorded
    calibration: NDArray[np.int64]  # [S, C] which of the camera's calibrations holds
    odom_from_ego: NDArray[np.float64]  # [S, 4, 4] at `stamps`; odom: the fixed frame
    ego_from_camera: NDArray[np.float64]  # [S, C, 4, 4] camera at its own stamp
    cloud: Clouds | None
    skipped: Counter[str]  # reason, with the topic where it is of one -> messages or sets
    lost: dict[str, str]  # keyframes without a frame: token -> reason

    def __len__(self) -> int:
        return len(self.stamps)


@dataclass(frozen=True)
class Clouds:
    """The lidar cloud of every set that has one."""

    topic: str
    stamps: NDArray[np.int64]  # [S] ns; -1: no cloud within the tolerance
    logged: NDArray[np.int64]  # [S]
    ego_from_lidar: NDArray[np.float64]  # [S, 4, 4] lidar at its own stamp
