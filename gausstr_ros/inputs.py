"""What the node has heard and not yet used: depth images to pair, calibrations, transforms."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
import tf2_ros
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from gausstr_core.undistortion import Undistorter
from gausstr_ros.messages.stamps import stamp_of
from gausstr_ros.sets.image_sets import ImageSet
from gausstr_ros.sets.waiting import NotReady
from gausstr_ros.settings.settings import Settings
from gausstr_ros.transforms import Outrun, ego_from_camera

NO_INFO = 'no CameraInfo'
NO_DEPTH = 'no depth image with its stamp'
LOST_INFOS = 2  # images in a row without their own CameraInfo, of a camera that sends it with each


@dataclass(frozen=True)
class Shot:
    """What one camera gave at one stamp."""

    image: Image | CompressedImage
    depth: Image | CompressedImage | None = None


@dataclass(frozen=True)
class ImageInputs:
    """What an image needs to be seen, before it is known which set it will be in."""

    info: CameraInfo
    # [4, 4] ego_from_camera, both at the image's stamp: how the camera hangs over the ground
    mount: NDArray[np.float64]
    undistorter: Undistorter = field(default_factory=Undistorter)
    rectified: bool = False  # the image is undistorted already


@dataclass(frozen=True)
class CameraInputs:
    """What the rig of a set needs of one camera."""

    image: ImageInputs
    # [4, 4] ego_from_camera: the camera at its image's stamp, the ego frame at the set's
    pose: NDArray[np.float64]


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
        self._images: deque[int] = deque(maxlen=16)  # stamps

    @property
    def newest(self) -> int | None:
        """The stamp of the last one that came; None where none has."""
        return stamp_of(self._infos[-1].header) if self._infos else None

    def add(self, info: CameraInfo) -> None:
        """Remember a calibration."""
        self._infos.append(info)

    def heard(self, stamp: int) -> None:
        """Note that the camera has sent an image."""
        self._images.append(stamp)

    def at(self, stamp: int) -> CameraInfo | None:
        """The calibration with the stamp of an image, else the last one before it.

        None where it should still come: when the last one came with an image, the next one is
        waited for, as it may be another one. A camera that stops to send any costs `LOST_INFOS`
        images and keeps the last one. When an image is asked for changes nothing in the answer
        to another.
        """
        infos = list(self._infos)
        if not infos:
            return None
        newest = stamp_of(infos[-1].header)
        known = {stamp_of(info.header): info for info in infos}
        if stamp in known:
            return known[stamp]
        images = set(self._images)
        since = sum(newest < image <= stamp for image in images | {stamp})
        if newest < stamp and newest in images and since <= LOST_INFOS:
            return None
        before = [at for at in known if at <= stamp]
        return known[max(before) if before else min(known)]


class RigSource:
    """Calibrations and transforms as they come in; filled by one thread and read by another."""

    def __init__(self, settings: Settings, buffer: tf2_ros.Buffer) -> None:
        self._settings = settings
        self.buffer = buffer  # replaced by another one where transforms start afresh
        self._calibrations = {camera.name: Calibrations() for camera in settings.cameras}
        self.outrun = Outrun()
        self._undistorter = Undistorter()
        self._rectified = frozenset(c.name for c in settings.cameras if c.rectified)

    def add_info(self, camera: str, info: CameraInfo) -> None:
        """Remember a calibration."""
        self._calibrations[camera].add(info)

    def heard(self, camera: str, stamp: int) -> None:
        """Note that a camera has sent an image: its calibration may be on its way."""
        self._calibrations[camera].heard(stamp)

    def image_inputs(self, camera: str, shot: Shot) -> ImageInputs:
        """What an image needs to be seen; never waits.

        Raises:
            NotReady: a CameraInfo or a transform has not come yet; camera and topic are named.
            ValueError: an image without frame_id.
        """
        stamp = stamp_of(shot.image.header)
        info = self._info(camera, stamp)
        mount = self._pose(camera, shot, stamp, fixed_frame='')
        return ImageInputs(info, mount, self._undistorter, camera in self._rectified)

    def camera_inputs(
        self, camera: str, images: ImageSet[Shot], own: ImageInputs | None = None
    ) -> CameraInputs:
        """What a camera's image needs to be seen and mapped with its set.

        Args:
            camera: one of the set's.
            images: the set.
            own: what its image was seen with, if that was before.

        Raises:
            NotReady, ValueError: as `image_inputs`.
        """
        shot, fixed_frame = images.payloads[camera], self._settings.fixed_frame
        try:
            pose = self._pose(camera, shot, images.stamp, fixed_frame=fixed_frame)
        except NotReady as error:
            self.outrun.failed(error.newest, images.stamp)
            raise
        self.outrun.succeeded()
        return CameraInputs(own or self.image_inputs(camera, shot), pose)

    def _pose(
        self, camera: str, shot: Shot, stamp: int, *, fixed_frame: str
    ) -> NDArray[np.float64]:
        header = shot.image.header
        return ego_from_camera(
            self.buffer,
            self._settings.base_frame,
            fixed_frame,
            stamp,
            camera,
            (header.frame_id, stamp_of(header)),
        )

    def _info(self, camera: str, stamp: int) -> CameraInfo:
        found = self._calibrations[camera].at(stamp)
        if found is None:
            topic = next(c for c in self._settings.cameras if c.name == camera).camera_info_topic
            raise NotReady(
                NO_INFO,
                f'camera {camera}: no CameraInfo for its image at {stamp / 1e9:.3f} s has come on '
                f'{topic}',
                newest=self._calibrations[camera].newest,
            )
        return found
