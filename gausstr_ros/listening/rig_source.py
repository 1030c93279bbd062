"""What the rig of a set needs: calibrations and transforms as they come in."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import tf2_ros
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo

from gausstr_core.camera.undistortion import Undistorter
from gausstr_core.stamps import nanoseconds
from gausstr_ros.listening.calibrations import Calibrations
from gausstr_ros.listening.clouds import Clouds, Scan
from gausstr_ros.listening.depth_pairing import Shot
from gausstr_ros.listening.mounts import wrong_axis
from gausstr_ros.listening.transforms import (
    Outrun,
    ego_from_camera,
    ego_from_cloud,
    fixed_from_ego,
)
from gausstr_ros.sets.image_sets import ImageSet
from gausstr_ros.sets.waiting import NotReady
from gausstr_ros.settings.settings import Settings

NO_INFO = 'no CameraInfo'


@dataclass(frozen=True)
class PosedScan:
    """A lidar's scan, and where it was taken."""

    scan: Scan
    pose: NDArray[np.float64]  # [4, 4] ego_from_cloud, the ego frame at the image's stamp


@dataclass(frozen=True)
class ImageInputs:
    """What an image needs to be encoded, before it is known which set it will be in."""

    info: CameraInfo
    # [4, 4] ego_from_camera, both at the image's stamp: how the camera hangs over the ground
    mount: NDArray[np.float64]
    undistorter: Undistorter = field(default_factory=Undistorter)
    rectified: bool = False  # the image is undistorted already
    doubt: str = ''  # why the mount can hardly be right
    scans: tuple[PosedScan, ...] = ()  # of the lidars, where depth comes from them


@dataclass(frozen=True)
class CameraInputs:
    """What the rig of a set needs of one camera."""

    image: ImageInputs
    # [4, 4] ego_from_camera: the camera at its image's stamp, the ego frame at the set's
    pose: NDArray[np.float64]


class RigSource:
    """Calibrations and transforms as they come in; filled by one thread and read by another."""

    def __init__(self, settings: Settings, buffer: tf2_ros.Buffer) -> None:
        self._settings = settings
        self._buffer = buffer
        self._calibrations = {camera.name: Calibrations() for camera in settings.cameras}
        self.outrun = Outrun()
        self._undistorter = Undistorter()
        self.clouds = Clouds(settings.lidar_topics, settings.lidar_max_age, settings.lidar_sweeps)
        self._rectified = frozenset(c.name for c in settings.cameras if c.rectified)

    def add_info(self, camera: str, info: CameraInfo, *, latched: bool = False) -> None:
        """Remember a calibration; see `Calibrations.add`."""
        self._calibrations[camera].add(info, latched=latched)

    def heard(self, camera: str, stamp: int) -> None:
        """Note that a camera has sent an image: its calibration may be on its way."""
        self._calibrations[camera].heard(stamp)

    def image_inputs(self, camera: str, shot: Shot) -> ImageInputs:
        """What an image needs to be encoded; never waits.

        Raises:
            NotReady: a CameraInfo, a transform or a cloud has not come yet; camera and topic are
                named.
            ValueError: an image without frame_id.
        """
        stamp = nanoseconds(shot.image.header.stamp)
        info = self._info(camera, stamp)
        mount = self._pose(camera, shot, stamp, fixed_frame='')
        frame, base_frame = shot.image.header.frame_id, self._settings.base_frame
        doubt = wrong_axis(camera, frame, base_frame, mount)
        scans = self._scans(camera, stamp)
        rectified = camera in self._rectified
        return ImageInputs(info, mount, self._undistorter, rectified, doubt, scans)

    def camera_inputs(
        self, camera: str, images: ImageSet[Shot], own: ImageInputs | None = None
    ) -> CameraInputs:
        """What a camera's image needs to be encoded and mapped with its set.

        Args:
            camera: one of the set's.
            images: the set.
            own: what its image was encoded with, if that was before.

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

    def ego_pose(self, stamp: int) -> NDArray[np.float64]:
        """Where the ego was in the fixed frame, [4, 4]; errors as `fixed_from_ego`."""
        settings = self._settings
        return fixed_from_ego(self._buffer, settings.base_frame, settings.fixed_frame, stamp)

    def _pose(
        self, camera: str, shot: Shot, stamp: int, *, fixed_frame: str
    ) -> NDArray[np.float64]:
        header = shot.image.header
        return ego_from_camera(
            self._buffer,
            self._settings.base_frame,
            fixed_frame,
            stamp,
            camera,
            (header.frame_id, nanoseconds(header.stamp)),
        )

    def _scans(self, camera: str, stamp: int) -> tuple[PosedScan, ...]:
        """The scans that an image goes with; without those before them that TF does not reach."""
        if not self._settings.lidar_topics:
            return ()
        found = []
        for nearest, *earlier in self.clouds.at(camera, stamp):
            found.append(self._posed(camera, stamp, nearest))
            for scan in earlier:
                try:
                    found.append(self._posed(camera, stamp, scan))
                except NotReady:  # the robot has just started: what was before never comes
                    break
        return tuple(found)

    def _posed(self, camera: str, stamp: int, scan: Scan) -> PosedScan:
        base_frame, fixed_frame = self._settings.base_frame, self._settings.fixed_frame
        names, cloud = (camera, scan.topic), (scan.frame, scan.stamp)
        pose = ego_from_cloud(self._buffer, base_frame, fixed_frame, stamp, names, cloud)
        return PosedScan(scan, pose)

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
