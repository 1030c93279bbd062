"""Stamps in nanoseconds -> the messages of ROS."""

from __future__ import annotations

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from gausstr_core.stamps import SECOND, is_time


def time_message(stamp: int) -> Time:
    """A message of a stamp in nanoseconds.

    Raises:
        ValueError: it is none, see `is_time`.
    """
    if not is_time(stamp):
        raise ValueError(f'expected a stamp from 0 to 2**31 s, got {stamp / 1e9:.3f} s')
    return Time(sec=stamp // SECOND, nanosec=stamp % SECOND)


def header_message(stamp: int, frame: str) -> Header:
    """A header with a stamp in nanoseconds."""
    return Header(stamp=time_message(stamp), frame_id=frame)
