"""Group stamped images of several cameras into sets. Pure Python, no ROS, no clock of its own.

A set holds at most one image per camera, and its stamps, less each camera's phase offset, span at
most `tolerance`. A set is given out as soon as it is complete, or at the timeout with the cameras
it has. Every image ends in exactly one set or is counted under one reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Payload = TypeVar('Payload')

NANOSECONDS = 1_000_000_000
# Stamps further than this from the other cameras' are another clock, not a late message.
CLOCK_JUMP = 2 * NANOSECONDS

DUPLICATE = 'duplicate'
LATE = 'late'
TOO_FEW = 'too few cameras at the timeout'
CLOCK = 'stamp far from the other cameras'


@dataclass(frozen=True)
class ImageSet(Generic[Payload]):
    """The images of one cycle."""

    stamp: int  # nanoseconds: the newest stamp of its images
    stamps: dict[str, int]  # nanoseconds per camera, in the order of the rig
    payloads: dict[str, Payload]  # same keys
    missing: tuple[str, ...]  # cameras that did not come before the timeout


@dataclass
class _Group(Generic[Payload]):
    """A set in the making; times are stamps less the phase offset of the camera."""

    earliest: int
    latest: int
    images: dict[str, tuple[int, Payload]] = field(default_factory=dict)
    first_poll: int | None = None


class Synchroniser(Generic[Payload]):
    """Images in, sets out, strictly newer from set to set.

    Args:
        cameras: names, in the order of the rig.
        tolerance: seconds that the images of a set may lie apart.
        timeout: seconds after which a set goes out incomplete; in the time of the stamps as
            `add` sees them, or of the clock given to `poll` when the stamps stand still.
        min_cameras: fewest cameras that make a set.
        offsets: seconds by which a camera fires later than the first camera of a set. It is used
            for grouping only, the stamps stay.

    Raises:
        ValueError: arguments contradict each other.
    """

    def __init__(
        self,
        cameras: Sequence[str],
        tolerance: float,
        timeout: float,
        min_cameras: int = 1,
        offsets: Mapping[str, float] | None = None,
    ) -> None:
        offsets = offsets or {}
        _check(cameras, tolerance, timeout, min_cameras, offsets)
        self.cameras = tuple(cameras)
        self.drops: Counter[tuple[str, str]] = Counter()  # (camera, reason) -> images
        self.jumps = 0  # how often the clock of the stamps jumped
        self._tolerance = round(tolerance * NANOSECONDS)
        self._timeout = round(timeout * NANOSECONDS)
        self._min_cameras = min_cameras
        self._offsets = {name: round(offsets.get(name, 0.0) * NANOSECONDS) for name in cameras}
        self._restart()

    def add(self, camera: str, stamp: int, payload: Payload) -> list[ImageSet[Payload]]:
        """Take one image and return the sets that it completes or times out, oldest first.

        Args:
            camera: one of the cameras.
            stamp: of the image, in nanoseconds.
            payload: given back in the set as it is.

        Raises:
            ValueError: not one of the cameras.
        """
        if camera not in self._offsets:
            raise ValueError(f'no camera {camera!r}; there are {", ".join(self.cameras)}')
        if self._is_apart(camera, stamp - self._offsets[camera]):
            return self._set_apart(camera, stamp, payload)
        return self._accept(camera, stamp, payload)

    def poll(self, now: int) -> list[ImageSet[Payload]]:
        """Return the sets that have waited for the timeout on a clock in nanoseconds.

        A set's time runs from the first poll that sees it, so any clock will do.
        """
        ready = []
        for group in list(self._groups):
            if group.first_poll is None:
                group.first_poll = now
            elif now - group.first_poll >= self._timeout:
                ready += self._close_until(group)
        return ready

    def flush(self) -> list[ImageSet[Payload]]:
        """Return what is left at the end of a recording, as if the timeout had come."""
        return self._close_until(self._groups[-1]) if self._groups else []

    def _restart(self) -> None:
        self._groups: list[_Group[Payload]] = []  # by time
        self._newest: dict[str, int] = {}  # camera -> newest time
        self._given: int | None = None  # newest time in a set given out
        self._apart: dict[str, tuple[int, Payload]] = {}  # of another clock, maybe the next one

    def _reached(self) -> int:
        """The time that at least two cameras have reached: one wrong clock moves nothing."""
        return sorted(self._newest.values())[-2:][0]

    def _is_apart(self, camera: str, time: int) -> bool:
        if not self._newest:
            return False
        own = self._newest.get(camera)
        near = [self._reached()] if own is None or len(self._newest) > 1 else [own]
        return all(abs(time - other) > CLOCK_JUMP for other in near)

    def _set_apart(self, camera: str, stamp: int, payload: Payload) -> list[ImageSet[Payload]]:
        """Hold an image of another clock back until it is clear which clock holds now.

        The clock has jumped when most cameras say so, or when one says so twice while the others
        are silent. Otherwise the camera's clock is wrong.
        """
        again = camera in self._apart
        if again:
            self.drops[camera, CLOCK] += 1
        self._apart[camera] = (stamp, payload)
        if not again and 2 * len(self._apart) <= len(self._newest):
            return []
        ready = self.flush()
        waiting = self._apart
        self._restart()
        self.jumps += 1
        for name, (held, what) in sorted(waiting.items(), key=lambda item: item[1][0]):
            ready += self.add(name, held, what)
        return ready

    def _accept(self, camera: str, stamp: int, payload: Payload) -> list[ImageSet[Payload]]:
        for name in self._apart:
            self.drops[name, CLOCK] += 1
        self._apart.clear()
        time = stamp - self._offsets[camera]
        if time == self._newest.get(camera) or any(
            camera in group.images and group.images[camera][0] == stamp for group in self._groups
        ):
            self.drops[camera, DUPLICATE] += 1
            return []
        if self._given is not None and time <= self._given:
            self.drops[camera, LATE] += 1
            return []
        self._newest[camera] = max(time, self._newest.get(camera, time))
        group = self._group_for(camera, time)
        group.images[camera] = (stamp, payload)
        ready = self._timed_out()
        if len(group.images) == len(self.cameras) and group in self._groups:
            ready += self._close_until(group)
        return ready

    def _group_for(self, camera: str, time: int) -> _Group[Payload]:
        """The nearest group that the image fits into, or a new one."""
        fitting = [
            group
            for group in self._groups
            if camera not in group.images
            and max(group.latest, time) - min(group.earliest, time) <= self._tolerance
        ]
        if not fitting:
            group: _Group[Payload] = _Group(time, time)
            self._groups.append(group)
        else:
            group = min(fitting, key=lambda g: abs(2 * time - g.earliest - g.latest))
            group.earliest, group.latest = min(group.earliest, time), max(group.latest, time)
        self._groups.sort(key=lambda g: g.latest)
        return group

    def _timed_out(self) -> list[ImageSet[Payload]]:
        reached = self._reached()
        expired = [group for group in self._groups if reached - group.earliest > self._timeout]
        return self._close_until(expired[-1]) if expired else []

    def _close_until(self, last: _Group[Payload]) -> list[ImageSet[Payload]]:
        """Give out a group and those before it: sets come in the order of time."""
        ready = []
        while self._groups:
            group = self._groups.pop(0)
            if group.latest == self._given:  # a second image of the instant just given out
                self.drops.update((name, LATE) for name in group.images)
            elif len(group.images) >= self._min_cameras:
                ready.append(self._finish(group))
            else:
                self.drops.update((name, TOO_FEW) for name in group.images)
            self._given = group.latest
            if group is last:
                break
        return ready

    def _finish(self, group: _Group[Payload]) -> ImageSet[Payload]:
        present = [name for name in self.cameras if name in group.images]
        stamps = {name: group.images[name][0] for name in present}
        payloads = {name: group.images[name][1] for name in present}
        missing = tuple(name for name in self.cameras if name not in group.images)
        return ImageSet(max(stamps.values()), stamps, payloads, missing)


def _check(
    cameras: Sequence[str],
    tolerance: float,
    timeout: float,
    min_cameras: int,
    offsets: Mapping[str, float],
) -> None:
    if not cameras or len(set(cameras)) != len(cameras):
        raise ValueError(f'cameras must be at least one name, each once, got {list(cameras)}')
    if not tolerance >= 0:
        raise ValueError(f'sync.tolerance must be >= 0 s, got {tolerance}')
    if not timeout >= tolerance:
        raise ValueError(
            f'sync.timeout must not be shorter than sync.tolerance, got {timeout} s and '
            f'{tolerance} s: a set would time out before its last image may come'
        )
    if not 1 <= min_cameras <= len(cameras):
        raise ValueError(
            f'sync.min_cameras must be from 1 to the number of cameras ({len(cameras)}), '
            f'got {min_cameras}'
        )
    unknown = sorted(set(offsets) - set(cameras))
    if unknown:
        raise ValueError(f'time_offset given for {", ".join(unknown)}, which is no camera')
