"""Group stamped images of several cameras into sets. Pure Python, no ROS, no clock of its own.

A set holds at most one image per camera, and its stamps, less each camera's phase offset, span at
most `tolerance`. A set is given out as soon as nobody is left to wait for, or at the timeout with
the cameras it has. Every image ends in exactly one set or is counted under one reason. An image
costs time in proportion to the number of cameras, and the images held are bounded.
"""

from __future__ import annotations

from collections import Counter
from typing import Generic

from gausstr_core.stamps import SECOND
from gausstr_ros.sets.clock_jumps import CLOCK_JUMP, HeldImages
from gausstr_ros.sets.image_sets import ImageSet, OpenSet, OpenSets, Payload, Stamped
from gausstr_ros.sets.limits import Grouping
from gausstr_ros.sets.rhythm import Rhythm

OPEN_SETS = 32  # sets in the making; the oldest goes out as it is when there would be more
LEARN_AFTER = 4  # cycles between two looks at the phases

DUPLICATE = 'duplicate'
LATE = 'late'
TOO_FEW = 'too few cameras at the timeout'
CLOCK = 'stamp far from the other cameras'
AHEAD = 'stamp ahead of the images after it'


class Synchroniser(Generic[Payload]):
    """Images in, sets out, strictly newer from set to set unless the clock jumps back.

    A set waits for a camera unless that has been missing from many sets, or is so much slower
    than the others that its next image belongs to a later set.

    Args:
        grouping: cameras and limits. The timeout is in the time of the stamps as `add` sees them,
            or of the clock given to `poll` when the stamps stand still.
    """

    def __init__(self, grouping: Grouping) -> None:
        self.cameras = grouping.cameras
        self.drops: Counter[tuple[str, str]] = Counter()  # (camera, reason) -> images
        self.jumps = 0  # how often the clock of the stamps jumped
        self.jumps_back = 0  # how often of these it jumped back
        self._adopt(grouping)
        self._offsets = self._given_offsets()
        self._rhythm = Rhythm(self.cameras)
        self._heard = 0  # images that were grouped
        self._restart()

    def __len__(self) -> int:
        """The number of images held."""
        return sum(len(group.images) for group in self._open) + len(self._apart)

    @property
    def offsets(self) -> dict[str, float]:
        """The phase offsets in force, in seconds."""
        return {name: offset / SECOND for name, offset in self._offsets.items()}

    @property
    def forming(self) -> list[ImageSet[Payload]]:
        """The sets in the making as they are now, oldest first."""
        return [group.finished(self.cameras) for group in self._open]

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
        image = Stamped(stamp, stamp - self._offsets[camera], payload)
        if image.time == self._now.get(camera) or self._open.has(camera, stamp):
            self.drops[camera, DUPLICATE] += 1
            return []
        late = self._is_late(camera, image.time)
        if self._is_apart(camera, image.time, late=late):
            return self._set_apart(camera, image)
        if not late:
            return self._accept(camera, image)
        self.drops[camera, LATE] += 1
        if self._reached() - image.time <= self._timeout:  # its set might have waited
            self._hear(camera, image)
        return []

    def poll(self, now: int) -> list[ImageSet[Payload]]:
        """Return the sets that have waited for the timeout on a clock in nanoseconds.

        A set's time runs from the first poll that sees it, so any clock will do.
        """
        ready = []
        for group in self._open:
            if group.polled is None or now < group.polled or self._is_ahead(group):
                group.polled, group.heard_then = now, self._heard
            elif now - group.polled >= self._timeout:
                ready += self._close_until(group)
        return ready

    def flush(self) -> list[ImageSet[Payload]]:
        """Return what is left at the end of a recording, as if the timeout had come."""
        self._drop_apart()
        return self._close_all()

    def regroup(self, grouping: Grouping) -> list[ImageSet[Payload]]:
        """Group by other limits from now on; gives out the sets in the making as they are.

        Args:
            grouping: of the same cameras. What was learned of their offsets stays unless others
                are given or learning is ended.

        Raises:
            ValueError: it is of other cameras.
        """
        if grouping.cameras != self.cameras:
            raise ValueError(f'the cameras are {", ".join(self.cameras)} and cannot change')
        ready = self._close_all()
        learned = grouping.learn_offsets and grouping.offsets == self._grouping.offsets
        self._adopt(grouping)
        if not learned:
            self._shift(self._given_offsets())
        return ready

    def _adopt(self, grouping: Grouping) -> None:
        self._grouping = grouping
        self._tolerance = round(grouping.tolerance * SECOND)
        self._timeout = round(grouping.timeout * SECOND)
        self._min_cameras = grouping.min_cameras

    def _given_offsets(self) -> dict[str, int]:
        offsets = self._grouping.offsets
        return {name: round(offsets.get(name, 0.0) * SECOND) for name in self.cameras}

    def _shift(self, offsets: dict[str, int]) -> None:
        """Take other phases; no set may be in the making, as its times are by the old ones."""
        for name in self._now:
            self._now[name] += self._offsets[name] - offsets[name]
        self._offsets = offsets

    def _restart(self, given: int | None = None) -> None:
        self._open: OpenSets[Payload] = OpenSets()
        self._apart: HeldImages[Payload] = HeldImages()
        self._now: dict[str, int] = {}  # camera -> time of the image that came last
        self._heard_at: dict[str, int] = {}  # camera -> number of that image
        self._last: dict[str, int] = {}  # camera -> stamp in the set closed last
        self._given = given  # stamp of the set given out last
        self._rhythm.restart()

    def _reached(self) -> int:
        """The time that half of the cameras have reached: one wrong clock moves nothing."""
        alive = [time for name, time in self._now.items() if not self._rhythm.is_silent(name)]
        times = sorted(alive or self._now.values(), reverse=True)
        return times[min(max(2, (len(times) + 1) // 2), len(times)) - 1]

    def _is_late(self, camera: str, time: int) -> bool:
        """Whether its set is gone: that closed last, or an earlier one."""
        if not self._last:
            return False
        times = [stamp - self._offsets[name] for name, stamp in self._last.items()]
        earliest, latest = min(times), max(times)
        if time <= latest:
            return True
        period = self._rhythm.period
        return (
            camera not in self._last
            and period is not None
            and time - earliest <= self._tolerance
            and 2 * time - earliest - latest <= period  # nearer to it than to the next one
        )

    def _is_apart(self, camera: str, time: int, *, late: bool) -> bool:
        """Whether the image is of another clock than the others."""
        if not self._now:
            return False
        behind, own = self._reached() - time, self._now.get(camera)
        if own is not None and behind > 0 and time > own:
            return False  # a camera that was held up delivers in order what it has
        back = own is not None and own - time > self._tolerance + self._timeout
        useless = late or behind > self._timeout
        goes_on = self._apart.goes_on(camera, time)
        return abs(behind) > CLOCK_JUMP or (useless and (back or goes_on))

    def _set_apart(self, camera: str, image: Stamped[Payload]) -> list[ImageSet[Payload]]:
        """Hold an image of another clock back until it is clear which clock holds now.

        The clock has jumped when most cameras say so and none contradicts, or when one says so
        for the length of the timeout and the others are silent. Otherwise its clock is wrong.
        """
        if self._apart.hold(camera, image):
            self.drops[camera, CLOCK] += 1
        agreeing = self._apart.agreeing_with(camera)
        known = sum(not self._rhythm.is_silent(name) for name in self._now)
        patience = self._timeout if self._now.keys() - {camera} else 1
        if 2 * len(agreeing) > max(known, 2) or self._apart.run(camera) >= patience:
            return self._jump_to(agreeing)
        return []

    def _jump_to(self, cameras: list[str]) -> list[ImageSet[Payload]]:
        """Give out what there is, and start afresh with the images held of these cameras."""
        goes_on = all(
            name in self._now and self._apart.starts_after(name, self._now[name])
            for name in cameras
        )
        held = self._apart.take(cameras)
        self._drop_apart()
        back = max(image.time for image in held.values()) < self._reached()
        self.jumps += back or not goes_on  # else the others have only fallen silent
        self.jumps_back += back
        ready = self._close_all()
        self._restart(None if back else self._given)
        for name, image in sorted(held.items(), key=lambda item: item[1].stamp):
            ready += self.add(name, image.stamp, image.payload)
        return ready

    def _drop_apart(self) -> None:
        self.drops.update((name, CLOCK) for name in self._apart.clear())

    def _hear(self, camera: str, image: Stamped[Payload]) -> None:
        """Note an image of our clock: whatever came apart just before was not of the next one."""
        self._drop_apart()
        self._heard += 1
        self._now[camera], self._heard_at[camera] = image.time, self._heard
        self._rhythm.heard(camera, image.stamp)

    def _accept(self, camera: str, image: Stamped[Payload]) -> list[ImageSet[Payload]]:
        self._hear(camera, image)
        pace = max(self._tolerance, 3 * (self._rhythm.period or 0) // 4)
        if dropped := self._open.drop_ahead(camera, image.time, pace):
            self.drops[camera, AHEAD] += dropped
        group = self._open.put(camera, image, self._tolerance)
        ready = self._timed_out()
        if self._is_complete(group):
            ready += self._close_until(group)
        if len(self._open) > OPEN_SETS:
            ready += self._close_until(next(iter(self._open)))
        if self._grouping.learn_offsets and self._heard % (LEARN_AFTER * len(self.cameras)) == 0:
            ready += self._learn_offsets()
        return ready

    def _is_complete(self, group: OpenSet[Payload]) -> bool:
        """Whether there is nobody to wait for; few cameras wait for the others in any case."""
        alive = sum(not self._rhythm.is_silent(name) for name in self.cameras)
        if len(group.images) < self._min_cameras or 2 * len(group.images) < alive:
            return False
        period = self._rhythm.period or 2 * self._tolerance
        until = group.latest + min(self._tolerance, period // 2)
        return not any(
            self._rhythm.may_come(name, self._now.get(name), until)
            for name in self.cameras
            if name not in group.images
        )

    def _is_ahead(self, group: OpenSet[Payload]) -> bool:
        """Whether another camera has sent something older since the last poll of the group."""
        return any(
            heard > group.heard_then and self._now[name] < group.earliest
            for name, heard in self._heard_at.items()
            if name not in group.images
        )

    def _timed_out(self) -> list[ImageSet[Payload]]:
        reached = self._reached()
        expired = [group for group in self._open if reached - group.earliest > self._timeout]
        return self._close_until(expired[-1]) if expired else []

    def _close_all(self) -> list[ImageSet[Payload]]:
        return [given for group in self._open for given in self._close_until(group)]

    def _close_until(self, last: OpenSet[Payload]) -> list[ImageSet[Payload]]:
        """Give out a set and those before it: they come in the order of time."""
        ready = []
        for group in self._open.take_until(last):
            found = group.finished(self.cameras)
            if self._given is not None and found.stamp <= self._given:
                self.drops.update((name, LATE) for name in found.stamps)
            elif len(found.stamps) < self._min_cameras:
                self.drops.update((name, TOO_FEW) for name in found.stamps)
            else:
                ready.append(found)
                self._given = found.stamp
            self._last = found.stamps
            self._rhythm.closed(found.stamps)
        return ready

    def _learn_offsets(self) -> list[ImageSet[Payload]]:
        """Take over the phases of the cameras where ours are too far off."""
        learned = self._rhythm.offsets(self._offsets, self._tolerance // 2)
        if learned is None:
            return []
        ready = self._close_all()
        self._shift(learned)
        return ready
