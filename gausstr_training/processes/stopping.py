"""SIGTERM and SIGINT while training: the step ends, a checkpoint is written, then we go."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


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
    """Turn the signals into a request; the second one acts as it always does.

    Call it in the main thread: Python gives signals to no other.
    """
    request = StopRequest()
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def ask(number: int, frame: FrameType | None) -> None:
        request.asked = True
        signal.signal(number, before[signal.Signals(number)])

    for number in SIGNALS:
        signal.signal(number, ask)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
