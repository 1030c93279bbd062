"""The CameraInfo messages of one camera, and which of them an image goes with."""

from __future__ import annotations

from collections import deque

from sensor_msgs.msg import CameraInfo

from gausstr_core.stamps import nanoseconds

LOST_INFOS = 2  # images in a row without their own CameraInfo, of a camera that sends it with each


class Calibrations:
    """The CameraInfo messages of one camera; filled by one thread and read by another."""

    def __init__(self) -> None:
        # a deque's append and a copy of it are atomic
        self._infos: deque[CameraInfo] = deque(maxlen=16)
        self._images: deque[int] = deque(maxlen=16)  # stamps

    @property
    def newest(self) -> int | None:
        """The stamp of the last one that came; None where none has."""
        return nanoseconds(self._infos[-1].header.stamp) if self._infos else None

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
        newest = nanoseconds(infos[-1].header.stamp)
        known = {nanoseconds(info.header.stamp): info for info in infos}
        if stamp in known:
            return known[stamp]
        images = set(self._images)
        since = sum(newest < image <= stamp for image in images | {stamp})
        if newest < stamp and newest in images and since <= LOST_INFOS:
            return None
        before = [at for at in known if at <= stamp]
        return known[max(before) if before else min(known)]
