"""Faults in the log: each when it begins, and now and then how often it came since."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

EVERY = 60.0  # seconds between two lines on one fault


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
        self._told: dict[str, tuple[float, int]] = {}  # kind -> when, and how many since

    def note(
        self,
        kind: str,
        text: str,
        *,
        error: Exception | None = None,
        level: int = logging.ERROR,
    ) -> None:
        """Log a fault unless one of its kind was logged in the last minute.

        Args:
            kind: what counts as the same fault.
            text: the line.
            error: its traceback is logged as well.
            level: of the line.
        """
        now = self._clock()
        with self._lock:
            when, missed = self._told.get(kind, (now - EVERY, 0))
            if now - when < EVERY:
                self._told[kind] = when, missed + 1
                return
            self._told[kind] = now, 0
        more = f' ({missed} more of this kind in {now - when:.0f} s)' if missed else ''
        self._logger.log(level, '%s%s', text, more, exc_info=error)
