"""Sets of images that wait for the worker, and for transforms that come later than the images."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from gausstr_ros.synchroniser import ImageSet

Payload = TypeVar('Payload')
Inputs = TypeVar('Inputs')

SUPERSEDED = 'a newer set was ready'
BAD_INPUT = 'bad input'
# How often a set that is not ready is looked at again; nothing is looked at while none waits.
RETRY = 0.01


class NotReady(Exception):
    """Something that a set needs is not there yet; `reason` is short, the message names it."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class WaitingSets(Generic[Payload, Inputs]):
    """A bounded queue out of which the newest set that is ready is taken.

    Args:
        prepare: called from the thread that takes; gives what a set needs besides its images, or
            raises NotReady (tried again) or ValueError (the set is dropped).
        dropped: called with reason and message for each set that is dropped.
        timeout: seconds that a set may wait for what is not ready.
        limit: sets that may wait; the oldest goes first.
    """

    def __init__(
        self,
        prepare: Callable[[ImageSet[Payload]], Inputs],
        dropped: Callable[[str, str], None],
        timeout: float,
        limit: int = 16,
    ) -> None:
        self._prepare = prepare
        self._dropped = dropped
        self._timeout = timeout
        self._limit = limit
        self._sets: list[tuple[float, ImageSet[Payload]]] = []
        self._closed = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        with self._changed:
            return len(self._sets)

    def put(self, images: ImageSet[Payload]) -> None:
        """Add a set; called by the executor's thread, never blocks for long."""
        with self._changed:
            self._sets.append((time.monotonic(), images))
            overflow = len(self._sets) > self._limit
            if overflow:
                self._sets.pop(0)
            self._changed.notify_all()
        if overflow:
            self._dropped(SUPERSEDED, '')

    def close(self) -> None:
        """Wake the thread that takes; from now on it gets None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self) -> tuple[float, ImageSet[Payload], Inputs] | None:
        """Wait for a set that is ready: (when it came, on time.monotonic; the set; its inputs)."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._sets or self._closed)
                if self._closed:
                    return None
                waiting = list(self._sets)
            found = self._newest_ready(waiting)
            if found is not None:
                return found
            with self._changed:
                if self._sets and not self._closed and self._sets[-1] is waiting[-1]:
                    self._changed.wait(RETRY)

    def _newest_ready(
        self, waiting: list[tuple[float, ImageSet[Payload]]]
    ) -> tuple[float, ImageSet[Payload], Inputs] | None:
        for place in range(len(waiting) - 1, -1, -1):
            arrival, images = waiting[place]
            try:
                inputs = self._prepare(images)
            except NotReady as error:
                if time.monotonic() - arrival >= self._timeout:
                    self._remove([waiting[place]])
                    self._dropped(error.reason, str(error))
            except ValueError as error:
                self._remove([waiting[place]])
                self._dropped(BAD_INPUT, str(error))
            else:
                for _ in range(self._remove(waiting[: place + 1]) - 1):
                    self._dropped(SUPERSEDED, '')
                return arrival, images, inputs
        return None

    def _remove(self, gone: list[tuple[float, ImageSet[Payload]]]) -> int:
        """Take sets out; returns how many were still there."""
        with self._changed:
            before = len(self._sets)
            self._sets = [item for item in self._sets if not any(item is other for other in gone)]
            return before - len(self._sets)
