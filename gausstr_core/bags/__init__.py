"""Bags of ROS 2 without ROS: raw messages read from any storage, written to MCAP."""

import re
from importlib.metadata import version

_OLDEST = (0, 11, 6)  # older ones lose the last message of a chunk, and lack parts used here


def _expect_rosbags(found: str) -> None:
    """Refuse a version of rosbags that is too old, before it fails in a place of its own.

    Raises:
        ImportError: it is.
    """
    numbers = tuple(int(number) for number in re.findall(r'\d+', found)[:3])
    if numbers < _OLDEST:
        raise ImportError(
            f'rosbags {found} is installed, expected {".".join(map(str, _OLDEST))} or newer: '
            "pip install 'rosbags>=0.11.6,<0.12'"
        )


_expect_rosbags(version('rosbags'))
