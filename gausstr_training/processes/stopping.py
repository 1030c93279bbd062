"""SIGTERM and SIGINT while training: the step ends, a checkpoint is written, then we go."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)
IN_EARNEST = 2.0  # seconds after the first signal from which Ctrl-C ends at once


def outlast_signals(worker: int) -> None:
    """For a DataLoader's workers: a terminal's Ctrl-C reaches them too, and the step needs them.

    They end with the process that started them.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class Stopped(Exception):
    """Training was asked to stop, and everything is in a checkpoint."""


class StopRequest:
    """Whether somebody has asked."""

    def __init__(self) -> None:
        self.asked = False


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Turn the signals into a request; Ctrl-C once more, in earnest, acts as it always does.

    A scheduler and torchrun's agent may both signal a process, one right after the other: what
    comes at once after the first, and every further SIGTERM, changes nothing. Who cannot wait
    sends SIGKILL.

    Call it in the main thread: Python gives signals to no other.
    """
    request = StopRequest()
    first = 0.0
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal first
        now = time.monotonic()
        if not request.asked:
            request.asked, first = True, now
        elif number == signal.SIGINT and now - first > IN_EARNEST:
            signal.signal(number, before[signal.SIGINT])
            signal.raise_signal(number)

    for number in SIGNALS:
        signal.signal(number, ask)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
