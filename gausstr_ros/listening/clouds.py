"""The clouds of the lidars, and which of them an image goes with.

That is decided by stamps alone, so that a recording gives the same depth as the drive did: the
scan nearest in time, which is known as soon as none that comes later can be nearer.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2

from gausstr_core.stamps import SECOND, is_time, nanoseconds
from gausstr_ros.messages.point_clouds import check_cloud, cloud_points
from gausstr_ros.sets.synchroniser import DUPLICATE
from gausstr_ros.sets.waiting import NotReady

NO_CLOUD = 'no cloud'
TOO_OLD = 'cloud too old'
REFUSED = 'cannot be read'
KEPT = 40  # scans of a lidar beside those that are joined: two seconds at 20 Hz
KEPT_BYTES = 256 * 2**20  # of a lidar
GAPS = 3  # between the last scans, from which the next one is foreseen


class Scan:
    """One cloud; its points are read when they are first asked for.

    Args:
        topic: where it came.
        message: the cloud.
    """

    def __init__(self, topic: str, message: PointCloud2) -> None:
        self.topic = topic
        self.stamp = nanoseconds(message.header.stamp)
        self.frame = message.header.frame_id
        self._message: PointCloud2 | None = message
        self._points: NDArray[np.floating] | None = None
        self._fault = ''

    @property
    def nbytes(self) -> int:
        """What it holds in memory."""
        message, points = self._message, self._points
        return len(message.data) if message is not None else 0 if points is None else points.nbytes

    def points(self) -> NDArray[np.floating]:
        """Finite points [P, 3] in the cloud's frame, metres; to be called by one thread.

        Raises:
            ValueError: it cannot be read, or has none; topic and stamp are named.
        """
        if self._message is not None:
            try:
                self._points = cloud_points(self._message)
                if not len(self._points):
                    count = self._message.width * self._message.height
                    raise ValueError(f'none of its {count} points is finite')
            except ValueError as error:
                self._fault = f'lidar {self.topic}: cloud at {self.stamp / 1e9:.3f} s: {error}'
            self._message = None  # its other fields are of no use
        if self._fault:
            raise ValueError(self._fault)
        assert self._points is not None
        return self._points


class Clouds:
    """The last scans of each lidar; filled by one thread and read by another.

    Args:
        topics: of the lidars.
        max_age: seconds that a scan may lie before or after an image.
        sweeps: scans that are joined.
    """

    def __init__(self, topics: Sequence[str], max_age: float, sweeps: int) -> None:
        self._max_age = round(max_age * SECOND)
        self._sweeps = sweeps
        # in the order in which they came; another tuple takes its place when one comes, so that
        # who reads it never sees it change
        self._scans: dict[str, tuple[Scan, ...]] = dict.fromkeys(topics, ())
        self._ended = False  # whether none can come any more
        self._refused: dict[str, str] = {}  # topic -> why its last cloud was
        self.drops: Counter[tuple[str, str]] = Counter()  # (topic, reason) -> clouds

    def add(self, topic: str, message: PointCloud2) -> str:
        """Remember a cloud; why not, where it cannot be used, else ''. Its points wait."""
        try:
            check_cloud(message)
            stamp = nanoseconds(message.header.stamp)
            if not is_time(stamp):
                raise ValueError(f'a cloud whose stamp, {stamp / 1e9:.3f} s, is no time')
        except ValueError as error:
            self.drops[topic, REFUSED] += 1
            self._refused[topic] = f'lidar {topic}: {error}'
            return self._refused[topic]
        self._refused.pop(topic, None)
        before = self._scans[topic]
        if any(scan.stamp == stamp for scan in before):
            self.drops[topic, DUPLICATE] += 1
            return ''
        kept = (*before, Scan(topic, message))[-KEPT - self._sweeps :]
        sizes = itertools.accumulate(scan.nbytes for scan in reversed(kept))
        room = sum(size <= KEPT_BYTES for size in sizes)
        self._scans[topic] = kept[-max(room, 1) :]
        return ''

    def end(self) -> None:
        """Wait for no scan any more, as at the end of a recording."""
        self._ended = True

    def start_afresh(self, now: int) -> None:
        """Forget what is of another time than the images, whose stamps have jumped back.

        Args:
            now: stamp of the images, in nanoseconds; scans up to `max_age` ahead of it stay.
        """
        for topic, scans in self._scans.items():
            self._scans[topic] = tuple(s for s in scans if s.stamp <= now + self._max_age)

    def at(self, camera: str, stamp: int) -> list[tuple[Scan, ...]]:
        """The scans that an image goes with, of each lidar that has some.

        Of a lidar these are the nearest one and the `sweeps` - 1 before it, the nearest first. A
        lidar that has stopped is not waited for once another one is `max_age` beyond the image.

        Args:
            camera: its name, for messages.
            stamp: of the image, in nanoseconds.

        Raises:
            NotReady: a nearer scan may still come, or none is near enough; lidar and camera are
                named.
        """
        held = dict(self._scans)
        newest = {topic: max(scans, key=_stamp, default=None) for topic, scans in held.items()}
        reached = max((scan.stamp for scan in newest.values() if scan), default=stamp)
        found, lacks = [], []
        for topic, scans in held.items():
            nearest = _nearest(scans, stamp)
            awaited = reached <= stamp + self._max_age and not self._ended
            if nearest is None and awaited:
                raise self._missing(camera, stamp, topic, newest[topic], final=False)
            nearest = nearest or newest[topic]
            if nearest is None or abs(nearest.stamp - stamp) > self._max_age:
                lacks.append((topic, nearest))
            else:
                found.append(self._joined(scans, nearest))
        if not found:
            raise self._missing(camera, stamp, *lacks[0], final=True)
        return found

    def _missing(
        self, camera: str, stamp: int, topic: str, scan: Scan | None, *, final: bool
    ) -> NotReady:
        """Why an image has no scan of a lidar, the nearest of which is given."""
        image, newest = f'its image at {stamp / 1e9:.3f} s', scan.stamp if scan else None
        if scan is None or abs(scan.stamp - stamp) <= self._max_age:
            text = f'camera {camera}: no cloud for {image} has come on {topic}'
            refused = self._refused.get(topic)
            text += f': {refused}' if refused else ''
            return NotReady(NO_CLOUD, text, newest=newest, final=final)
        age = (stamp - scan.stamp) / 1e9
        return NotReady(
            TOO_OLD,
            f'camera {camera}: the nearest cloud on {topic} is {abs(age):.3f} s '
            f'{"older" if age > 0 else "younger"} than {image}, '
            f'lidar.max_age is {self._max_age / 1e9:g} s',
            newest=newest,
            final=final,
        )

    def _joined(self, scans: Sequence[Scan], nearest: Scan) -> tuple[Scan, ...]:
        before = sorted((s for s in scans if s.stamp <= nearest.stamp), key=_stamp, reverse=True)
        return tuple(before[: self._sweeps])


def _stamp(scan: Scan) -> int:
    return scan.stamp


def _nearest(scans: Sequence[Scan], stamp: int) -> Scan | None:
    """The scan nearest to a stamp; None while one that has not come may be nearer.

    One that came half a period before the stamp or less is taken at once: that the next is not
    nearer is clear before it comes. The answer stays the same whatever comes after.
    """
    before = sorted((s for s in scans if s.stamp <= stamp), key=_stamp)[-GAPS - 1 :]
    gaps = [late.stamp - early.stamp for early, late in itertools.pairwise(before)]
    if gaps and 2 * (stamp - before[-1].stamp) <= min(gaps):
        return before[-1]
    after = min((s for s in scans if s.stamp >= stamp), key=_stamp, default=None)
    if after is None or not before:
        return after
    return min(before[-1], after, key=lambda s: abs(s.stamp - stamp))
