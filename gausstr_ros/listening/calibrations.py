"""The CameraInfo messages of one camera, and which of them an image goes with."""

from __future__ import annotations

from collections import deque
from typing import Any

from sensor_msgs.msg import CameraInfo

from gausstr_core.stamps import nanoseconds

LOST_INFOS = 2  # images in a row without their own CameraInfo, of a camera that sends it with each
CHANGES = 256  # of the calibration that are remembered: images wait for seconds, zooms take less


class Calibrations:
    """The CameraInfo messages of one camera; filled by one thread and read by another.

    Remembered are the changes, so that no number of messages that say the same pushes out what an
    image goes with.
    """

    def __init__(self) -> None:
        # stamp from which it holds -> calibration, in the order in which they came; another dict
        # takes its place when one comes, so that who reads it never sees it change
        self._changes: dict[int, CameraInfo] = {}
        self._forgotten = False  # whether a change is no longer known
        self._latched = False  # whether a publisher keeps what it has sent
        # a deque's append and a copy of it are atomic
        self._stamps: deque[int] = deque(maxlen=256)  # of the messages
        self._images: deque[int] = deque(maxlen=16)  # stamps

    @property
    def newest(self) -> int | None:
        """The stamp of the last one that came; None where none has."""
        return self._stamps[-1] if self._stamps else None

    def add(self, info: CameraInfo, *, latched: bool = False) -> None:
        """Remember a calibration; one without a stamp holds from the next image on.

        Args:
            info: may come more than once.
            latched: its publisher keeps it for those who subscribe late.
        """
        self._latched |= latched
        stamp = nanoseconds(info.header.stamp)
        since = stamp or max(self._images, default=-1) + 1
        known = _last_before(self._changes, since)
        if known is None or _content(known) != _content(info):
            changes = {at: each for at, each in self._changes.items() if at != since}
            changes[since] = info
            if len(changes) > CHANGES:
                del changes[next(iter(changes))]
                self._forgotten = True
            self._changes = changes
        if stamp != self.newest:
            self._stamps.append(stamp)

    def heard(self, stamp: int) -> None:
        """Note that the camera has sent an image."""
        self._images.append(stamp)

    def at(self, stamp: int) -> CameraInfo | None:
        """The calibration with the stamp of an image, else the last one before it.

        None where it should still come: when the last one came with an image, the next one is
        waited for, as it may be another one. A camera that stops to send any costs `LOST_INFOS`
        images and keeps the last one; one that latches it may never send another, and is waited
        for only where two images in a row had theirs. An image before all that are known gets the
        first of those that come on their own, as a latched one does, but none that came with a
        later image. When an image is asked for changes nothing in the answer to another.
        """
        # in this order: a change is known before its stamp is
        stamps, images, changes = list(self._stamps), set(self._images), self._changes
        if not stamps:
            return None
        with_images = stamps[-1] in images
        if self._latched:
            before, newest = stamps[-2:] if len(stamps) > 1 else (-1, stamps[-1])
            between = any(before < image < newest for image in images)
            with_images = with_images and before in images and not between
        since = sum(stamps[-1] < image <= stamp for image in images | {stamp})
        awaited = stamps[-1] < stamp and with_images and since <= LOST_INFOS
        if awaited and stamp not in stamps:
            return None
        found = _last_before(changes, stamp)
        if found is None and not with_images and not self._forgotten:
            return changes[min(changes)]
        return found


def _last_before(changes: dict[int, CameraInfo], stamp: int) -> CameraInfo | None:
    """What holds at a stamp."""
    before = [at for at in changes if at <= stamp]
    return changes[max(before)] if before else None


def _content(info: CameraInfo) -> tuple[Any, ...]:
    """All that a calibration says but its header."""
    matrices = (bytes(memoryview(each)) for each in (info.d, info.k, info.r, info.p))
    size = info.height, info.width, info.binning_x, info.binning_y
    roi = info.roi.x_offset, info.roi.y_offset, info.roi.height, info.roi.width
    return info.distortion_model, *size, *roi, info.roi.do_rectify, *matrices
