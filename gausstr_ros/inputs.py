"""What the node has heard and not yet used: depth images to pair, calibrations, transforms."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import tf2_ros
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from gausstr_ros.conversions import stamp_of
from gausstr_ros.parameters import Settings
from gausstr_ros.synchroniser import ImageSet
from gausstr_ros.transforms import ego_from_camera
from gausstr_ros.waiting import NotReady

NO_INFO = 'no CameraInfo'
NO_DEPTH = 'no depth image with its stamp'


@dataclass(frozen=True)
class Shot:
    """What one camera gave at one stamp."""

    image: Image | CompressedImage
    depth: Image | None = None


@dataclass(frozen=True)
class RigInputs:
    """What a rig is made of, for the cameras of one set."""

    infos: dict[str, CameraInfo]
    poses: dict[str, NDArray[np.float64]]  # [4, 4] ego_from_camera


class DepthPairing:
    """Brings together the image and the depth image that one camera took at the same stamp."""

    def __init__(self, limit: int = 8) -> None:
        self._images: dict[int, Image | CompressedImage] = {}
        self._depths: dict[int, Image] = {}
        self._limit = limit
        self.unpaired = 0  # images given up

    def add_image(self, message: Image | CompressedImage) -> Shot | None:
        """Take an image; returns the pair if its depth was there first."""
        stamp = stamp_of(message.header)
        if stamp in self._depths:
            return Shot(message, self._depths.pop(stamp))
        self._images[stamp] = message
        if len(self._images) > self._limit:
            del self._images[min(self._images)]
            self.unpaired += 1
        return None

    def add_depth(self, message: Image) -> Shot | None:
        """Take a depth image; returns the pair if its image was there first."""
        stamp = stamp_of(message.header)
        if stamp in self._images:
            return Shot(self._images.pop(stamp), message)
        self._depths[stamp] = message
        if len(self._depths) > self._limit:
            del self._depths[min(self._depths)]
        return None


class RigSource:
    """Calibrations and transforms as they come in; filled by one thread and read by another."""

    def __init__(self, settings: Settings, buffer: tf2_ros.Buffer) -> None:
        self._settings = settings
        self.buffer = buffer  # replaced by another one when the clock jumps
        # a deque's append and a copy of it are atomic
        self._infos: dict[str, deque[CameraInfo]] = {
            camera.name: deque(maxlen=16) for camera in settings.cameras
        }

    def add_info(self, camera: str, info: CameraInfo) -> None:
        """Remember a calibration."""
        self._infos[camera].append(info)

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
        return RigInputs(infos, poses)

    def _info(self, camera: str, stamp: int) -> CameraInfo:
        """The calibration with the image's stamp, else the newest one."""
        known = list(self._infos[camera])
        if not known:
            topic = next(c for c in self._settings.cameras if c.name == camera).camera_info_topic
            raise NotReady(NO_INFO, f'camera {camera}: no CameraInfo has come on {topic}')
        return next((info for info in known if stamp_of(info.header) == stamp), known[-1])
