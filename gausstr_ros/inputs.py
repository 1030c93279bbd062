"""What the node has heard and not yet used: depth images to pair, calibrations, transforms."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
import tf2_ros
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from gausstr_core.undistortion import Undistorter
from gausstr_ros.conversions import stamp_of
from gausstr_ros.settings import Settings
from gausstr_ros.synchroniser import ImageSet
from gausstr_ros.transforms import ego_from_camera
from gausstr_ros.waiting import NotReady

NO_INFO = 'no CameraInfo'
NO_DEPTH = 'no depth image with its stamp'
LOST_INFOS = 2  # images in a row without their own CameraInfo, of a camera that sends it with each


@dataclass(frozen=True)
class Shot:
    """What one camera gave at one stamp."""

    image: Image | CompressedImage
    depth: Image | CompressedImage | None = None


@dataclass(frozen=True)
class RigInputs:
    """What a rig is made of, for the cameras of one set."""

    infos: dict[str, CameraInfo]
    poses: dict[str, NDArray[np.float64]]  # [4, 4] ego_from_camera
    undistorter: Undistorter = field(default_factory=Undistorter)
    rectified: frozenset[str] = frozenset()  # cameras whose images are undistorted already


class DepthPairing:
    """Brings together the image and the depth image that one camera took at the same stamp."""

    def __init__(self, limit: int = 8) -> None:
        self._images: dict[int, Image | CompressedImage] = {}
        self._depths: dict[int, Image | CompressedImage] = {}
        self._limit = limit
        self.unpaired = 0  # images given up

    def add_image(self, message: Image | CompressedImage) -> Shot | None:
        """Take an image; returns the pair if its depth was there first."""
        stamp = stamp_of(message.header)
        if stamp in self._depths:
            return Shot(message, self._depths.pop(stamp))
        self._images[stamp] = message
        if len(self._images) > self._limit:
            del self._images[next(iter(self._images))]  # the first to come, whatever its stamp
            self.unpaired += 1
        return None

    def add_depth(self, message: Image | CompressedImage) -> Shot | None:
        """Take a depth image; returns the pair if its image was there first."""
        stamp = stamp_of(message.header)
        if stamp in self._images:
            return Shot(self._images.pop(stamp), message)
        self._depths[stamp] = message
        if len(self._depths) > self._limit:
            del self._depths[next(iter(self._depths))]
        return None


class Calibrations:
    """The CameraInfo messages of one camera; filled by one thread and read by another."""

    def __init__(self) -> None:
        # a deque's append and a copy of it are atomic
        self._infos: deque[CameraInfo] = deque(maxlen=16)
        self._matched: int | None = None  # stamp of the newest that came with an image
        self._waiting: set[int] = set()  # stamps of images whose own has not come

    def add(self, info: CameraInfo) -> None:
        """Remember a calibration."""
        self._infos.append(info)

    def at(self, stamp: int) -> CameraInfo | None:
        """The calibration with the stamp of an image, else the last one before it.

        None where it should still come: when the last one came with an image, the next one is
        waited for, as it may be another one. A camera that stops to send any costs `LOST_INFOS`
        sets and keeps the last one.
        """
        infos = list(self._infos)
        if not infos:
            return None
        newest = stamp_of(infos[-1].header)
        known = {stamp_of(info.header): info for info in infos}
        if stamp in known:
            if stamp == newest:
                self._matched = stamp
                self._waiting.clear()
            return known[stamp]
        if stamp > newest == self._matched and len(self._waiting | {stamp}) <= LOST_INFOS:
            self._waiting.add(stamp)
            return None
        before = [at for at in known if at <= stamp]
        return known[max(before) if before else min(known)]


class RigSource:
    """Calibrations and transforms as they come in; filled by one thread and read by another."""

    def __init__(self, settings: Settings, buffer: tf2_ros.Buffer) -> None:
        self._settings = settings
        self.buffer = buffer  # replaced by another one when the clock jumps back
        self._calibrations = {camera.name: Calibrations() for camera in settings.cameras}
        self._undistorter = Undistorter()
        self._rectified = frozenset(c.name for c in settings.cameras if c.rectified)

    def add_info(self, camera: str, info: CameraInfo) -> None:
        """Remember a calibration."""
        self._calibrations[camera].add(info)

    def inputs_for(self, images: ImageSet[Shot]) -> RigInputs:
        """Calibrations and poses of the cameras of a set.

        Raises:
            NotReady: a CameraInfo or a transform has not come yet; camera and topic are named.
            ValueError: an image without frame_id.
        """
        infos = {name: self._info(name, stamp) for name, stamp in images.stamps.items()}
        cameras = {
            name: (shot.image.header.frame_id, images.stamps[name])
            for name, shot in images.payloads.items()
        }
        settings = self._settings
        poses = ego_from_camera(
            self.buffer, settings.base_frame, settings.fixed_frame, images.stamp, cameras
        )
        return RigInputs(infos, poses, self._undistorter, self._rectified)

    def _info(self, camera: str, stamp: int) -> CameraInfo:
        found = self._calibrations[camera].at(stamp)
        if found is None:
            topic = next(c for c in self._settings.cameras if c.name == camera).camera_info_topic
            raise NotReady(
                NO_INFO,
                f'camera {camera}: no CameraInfo for its image at {stamp / 1e9:.3f} s has come on '
                f'{topic}',
            )
        return found
