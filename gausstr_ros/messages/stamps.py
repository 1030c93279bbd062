"""Stamps: nanoseconds as one whole number <-> the messages of ROS."""

from __future__ import annotations

from builtin_interfaces.msg import Time
from std_msgs.msg import Header


def stamp_of(header: Header) -> int:
    """The stamp of a header in nanoseconds."""
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec


def is_time(stamp: int) -> bool:
    """Whether a stamp in nanoseconds is a time that a message can hold.

    A header can have others: its seconds may be negative, its nanoseconds more than a second.
    """
    return 0 <= stamp < 2**31 * 1_000_000_000


def time_message(stamp: int) -> Time:
    """A message of a stamp in nanoseconds.

    Raises:
        ValueError: it is none, see `is_time`.
    """
    if not is_time(stamp):
        raise ValueError(f'expected a stamp from 0 to 2**31 s, got {stamp / 1e9:.3f} s')
    seconds, nanoseconds = divmod(stamp, 1_000_000_000)
    return Time(sec=seconds, nanosec=nanoseconds)


def header_message(stamp: int, frame: str) -> Header:
    """A header with a stamp in nanoseconds."""
    return Header(stamp=time_message(stamp), frame_id=frame)
