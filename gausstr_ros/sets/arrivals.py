"""What to encode next: images as they come, and sets that are complete, the newest first.

The foundation network encodes each image by itself, so its work need not wait for the last image
of a set. Pure logic: it knows neither ROS nor networks; one thread puts in, another takes out.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic

from gausstr_ros.sets.image_sets import ImageSet, Payload
from gausstr_ros.sets.waiting import (
    SUPERSEDED,
    Arrived,
    Inputs,
    Needs,
    NotReady,
    Part,
    TakenSet,
    WaitingSet,
)

# Seconds after which what is not ready is looked at again; nothing is looked at while none waits.
RETRY = 0.01
# So many sets' images may be encoded ahead: one in the making, and one that waits for a transform.
SETS_AHEAD = 2


@dataclass(frozen=True)
class _Kept(Generic[Payload, Needs, Part]):
    image: Arrived[Payload, Needs]
    part: Part
    when: float  # on the clock
    failed: bool  # its set fails with it


class Arrivals(Generic[Payload, Needs, Inputs, Part]):
    """Sets that are complete and sets in the making, and their images as far as they are encoded.

    What was encoded belongs to an image, not to a set: a set gets it for exactly the images that
    it holds, wherever the synchroniser had put them before. What was encoded of images that are in
    no set any more is thrown away.

    Args:
        prepare_image: called with camera and image from the thread that takes; gives what it
            takes to encode the image, or raises NotReady (tried again) or another error (left to
            `prepare`).
        prepare: called likewise with a camera, its set and what it took to encode the image if
            that was done ahead; see `WaitingSet.gather`.
        dropped: called with reason and message for each set that is dropped.
        lacking: called with the cameras of each set that is dropped as too few of them are ready,
            and with why the others are not.
        timeout: seconds that a set may wait for what is not ready; once one has waited in vain
            for a camera, those that come after it do not, until there is news of what it lacks.
        min_cameras: fewest cameras that make a set.
        cameras: how many there are; bounds how much is encoded ahead.
        limit: sets that may wait; the oldest goes first.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        prepare_image: Callable[[str, Payload], Needs],
        prepare: Callable[[str, ImageSet[Payload], Needs | None], Inputs],
        dropped: Callable[[str, str], None],
        *,
        timeout: float,
        min_cameras: int,
        cameras: int,
        lacking: Callable[[Iterable[str], Mapping[str, str]], None] = lambda *_: None,
        limit: int = 16,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prepare_image = prepare_image
        self._prepare = prepare
        self._dropped = dropped
        self._lacking = lacking
        self._timeout = timeout
        self._min_cameras = min_cameras
        self._ahead = SETS_AHEAD * cameras
        self._limit = limit
        self._clock = clock
        self._sets: list[WaitingSet[Payload, Inputs]] = []
        self._forming: Sequence[ImageSet[Payload]] = ()
        # by the identity of the image: the same camera may send the same stamp twice
        self._kept: dict[int, _Kept[Payload, Needs, Part]] = {}
        # cameras that a set has waited for in vain -> `NotReady.newest` then, and when
        self._given_up: dict[str, tuple[int | None, float]] = {}
        self._closed = False
        self._unready = False  # whether something waits for what comes without notice
        self._news = 0
        self._changed = threading.Condition()

    def __len__(self) -> int:
        """How many sets wait."""
        with self._changed:
            return len(self._sets)

    @property
    def encoded(self) -> int:
        """How many images are encoded whose set has not been taken."""
        return len(self._kept)

    def update(
        self, complete: Sequence[ImageSet[Payload]], forming: Sequence[ImageSet[Payload]]
    ) -> None:
        """Take what the synchroniser gave out, and what it holds now; never blocks for long.

        Args:
            complete: new sets.
            forming: all sets in the making, oldest first.
        """
        now = self._clock()
        with self._changed:
            self._sets += [WaitingSet(images, now) for images in complete]
            overflow = max(0, len(self._sets) - self._limit)
            del self._sets[:overflow]
            self._forming = forming
            self._news += 1
            self._changed.notify_all()
        for _ in range(overflow):
            self._dropped(SUPERSEDED, '')

    def set_limits(self, timeout: float, min_cameras: int) -> None:
        """Change how long sets may wait, and for how many cameras."""
        self._timeout, self._min_cameras = timeout, min_cameras

    def close(self) -> None:
        """Wake the thread that takes; from now on it gets None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(
        self, wanted: Callable[[], bool], at_once: int = 1
    ) -> list[Arrived[Payload, Needs]] | TakenSet[Payload, Inputs, Part] | None:
        """Wait for something to do: finish the newest set that is ready, else encode images ahead.

        A set that was begun is gone on with before another one is begun, and that is the newest.

        Args:
            wanted: whether images shall be encoded ahead at all.
            at_once: how many images of one set are best encoded together.
        """
        while True:
            with self._changed:
                if self._closed:
                    return None
                news = self._news
            if (found := self.find(wanted, at_once)) is not None:
                return found
            with self._changed:
                self._changed.wait_for(
                    lambda before=news: self._closed or self._news != before,
                    RETRY if self._unready else None,
                )

    def find(
        self, wanted: Callable[[], bool], at_once: int = 1
    ) -> list[Arrived[Payload, Needs]] | TakenSet[Payload, Inputs, Part] | None:
        """What there is to do now, if anything; arguments and order as `take`."""
        with self._changed:
            waiting = list(self._sets)
        taken = self._newest_ready(waiting)
        with self._changed:
            sets = [*(entry.images for entry in self._sets), *self._forming]
            self._unready = bool(self._sets)
        self._forget(sets)
        return taken or self._to_encode(sets, wanted, at_once) or None

    def keep(self, image: Arrived[Payload, Needs], part: Part, *, failed: bool = False) -> None:
        """Remember what came of an image that was taken.

        Args:
            image: as it was taken.
            part: given back with the set that holds the image.
            failed: its set will fail with it, so that no more of its images need be encoded.
        """
        self._kept[id(image.payload)] = _Kept(image, part, self._clock(), failed)

    def _newest_ready(
        self, waiting: list[WaitingSet[Payload, Inputs]]
    ) -> TakenSet[Payload, Inputs, Part] | None:
        for place in range(len(waiting) - 1, -1, -1):
            entry = waiting[place]
            try:
                ready = entry.gather(
                    self._prepared, partial(self._waits, entry.since), self._min_cameras
                )
            except NotReady as error:
                self._remove([entry])
                self._lacking(entry.images.payloads, entry.faults)
                self._dropped(error.reason, str(error))
                continue
            finally:
                self._note(entry)
            if ready:
                for _ in range(self._remove(waiting[: place + 1]) - 1):
                    self._dropped(SUPERSEDED, '')
                return self._taken(entry)
        return None

    def _note(self, entry: WaitingSet[Payload, Inputs]) -> None:
        """Remember for which cameras a set has waited in vain."""
        now = self._clock()
        for camera, newest in entry.late.items():
            if camera not in self._given_up or self._given_up[camera][0] != newest:
                self._given_up[camera] = newest, now
        for camera in entry.inputs:
            self._given_up.pop(camera, None)

    def _waits(self, since: float, camera: str, missing: NotReady) -> bool:
        """One set waits for a camera whose transforms have stopped, those after it do not."""
        newest, when = self._given_up.get(camera, (None, math.inf))
        hopeless = missing.newest == newest and since >= when
        return self._clock() - since < self._timeout and not hopeless

    def _prepared(self, camera: str, images: ImageSet[Payload]) -> Inputs:
        kept = self._kept.get(id(images.payloads[camera]))
        return self._prepare(camera, images, kept.image.needs if kept else None)

    def _taken(self, entry: WaitingSet[Payload, Inputs]) -> TakenSet[Payload, Inputs, Part]:
        kept = {
            camera: self._kept.pop(id(payload))
            for camera, payload in entry.images.payloads.items()
            if id(payload) in self._kept
        }
        return TakenSet(
            entry.since,
            entry.images,
            entry.inputs,
            entry.faults,
            {camera: each.part for camera, each in kept.items() if camera in entry.inputs},
            sum(each.when <= entry.since for each in kept.values()),
        )

    def _remove(self, gone: list[WaitingSet[Payload, Inputs]]) -> int:
        """Take sets out; returns how many were still there."""
        with self._changed:
            before = len(self._sets)
            self._sets = [item for item in self._sets if not any(item is other for other in gone)]
            return before - len(self._sets)

    def _forget(self, sets: list[ImageSet[Payload]]) -> None:
        """Throw away what was encoded of images that are in no set any more."""
        held = {id(payload) for images in sets for payload in images.payloads.values()}
        self._kept = {key: kept for key, kept in self._kept.items() if key in held}

    def _to_encode(
        self, sets: list[ImageSet[Payload]], wanted: Callable[[], bool], at_once: int
    ) -> list[Arrived[Payload, Needs]]:
        """Images of one set to encode next."""
        room = self._ahead - len(self._kept)
        if not sets or room <= 0 or not wanted():
            return []
        for images in self._in_turn(sets):
            if any(k.failed for p in images.payloads.values() if (k := self._kept.get(id(p)))):
                continue
            found = []
            for camera, payload in images.payloads.items():
                if id(payload) in self._kept:
                    continue
                try:
                    found.append(Arrived(camera, payload, self._prepare_image(camera, payload)))
                except Exception as error:  # of those that nothing is waited for, its set tells
                    self._unready |= isinstance(error, NotReady)
                if len(found) == min(room, at_once):
                    break
            if found:
                return found
        return []

    def _in_turn(self, sets: list[ImageSet[Payload]]) -> Iterator[ImageSet[Payload]]:
        """Sets that are begun, the oldest first, then the others, the newest first."""
        begun = [any(id(p) in self._kept for p in s.payloads.values()) for s in sets]
        yield from (images for images, known in zip(sets, begun, strict=True) if known)
        yield from (sets[place] for place in reversed(range(len(sets))) if not begun[place])
