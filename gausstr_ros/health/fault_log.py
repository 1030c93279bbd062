"""Faults in the log: each when it begins, and now and then how often it came since."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable

EVERY = 60.0  # seconds between two lines on one fault
MOST = 256  # faults that are remembered: what a message says may be in them
# The digits that do not tell one fault from another; those in a camera's name do. A topic's name
# has letters, digits and _ only, and each text on a camera says `camera <name>` (sets/waiting.py).
_NUMBER = re.compile(r'(\bcamera \w+)|\d+')


class FaultLog:
    """Logs faults that may come with every set, so that neither disk nor eye is flooded.

    May be used from several threads.

    Args:
        logger: where the lines go.
        clock: seconds that only go forward.
    """

    def __init__(
        self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._clock = clock
        self._lock = threading.Lock()
        self._told: dict[str, tuple[float, int]] = {}  # fault -> when, and how many since

    def note(
        self, text: str, *, error: Exception | None = None, level: int = logging.ERROR
    ) -> None:
        """Log a fault unless the same one was logged in the last minute.

        Args:
            text: the line; another one that differs in numbers only is the same fault, unless
                they are in the name of a camera.
            error: its traceback is logged as well.
            level: of the line.
        """
        fault, now = _NUMBER.sub(r'\1', text), self._clock()
        with self._lock:
            when, missed = self._told.get(fault, (now - EVERY, 0))
            if now - when < EVERY:
                self._told[fault] = when, missed + 1
                return
            self._told.pop(fault, None)  # to the end: the first is the one that came longest ago
            self._told[fault] = now, 0
            if len(self._told) > MOST:
                del self._told[next(iter(self._told))]
        more = f' ({missed} more like this in {now - when:.0f} s)' if missed else ''
        self._logger.log(level, '%s%s', text, more, exc_info=error)
