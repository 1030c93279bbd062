"""Stamps of ROS messages as one whole number of nanoseconds, whichever library decoded them."""

from __future__ import annotations

from typing import Protocol

SECOND = 1_000_000_000  # nanoseconds


class Stamp(Protocol):
    """The fields of builtin_interfaces/Time."""

    sec: int
    nanosec: int


def nanoseconds(stamp: Stamp) -> int:
    """A stamp in nanoseconds; no time where a message says nonsense, see `is_time`."""
    return int(stamp.sec) * SECOND + int(stamp.nanosec)


def is_time(stamp: int) -> bool:
    """Whether a stamp in nanoseconds is a time that a message can hold.

    A header can have others: its seconds may be negative, its nanoseconds more than a second.
    """
    return 0 <= stamp < 2**31 * SECOND
