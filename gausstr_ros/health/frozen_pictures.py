"""Cameras whose stamps go on while their picture stands still."""

from __future__ import annotations

from typing import Any

import numpy as np

# Seconds of stamps over which one and the same picture is no chance: sensors have noise.
FROZEN_AFTER = 0.4
_SAMPLE = 997  # bytes; odd, so that rows do not fall into step


class FrozenPictures:
    """Compares the bytes of each camera's images with those of the image before."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[int, Any]] = {}  # stamp from which the bytes are these

    def look(self, camera: str, stamp: int, data: Any) -> str:
        """What to say of an image; '' where its picture moves.

        Args:
            camera: whose.
            stamp: of the image, in nanoseconds.
            data: its bytes as the message holds them; kept, not copied.
        """
        since, before = self._first.get(camera, (stamp, None))
        if before is None or stamp < since or not _equal(before, data):
            self._first[camera] = (stamp, data)
            return ''
        frozen = (stamp - since) / 1e9
        if frozen < FROZEN_AFTER:
            return ''
        return (
            f'camera {camera}: each image of the last {frozen:.1f} s is the same to the byte: has '
            'it frozen?'
        )


def _equal(one: Any, other: Any) -> bool:
    if len(one) != len(other) or not len(one):
        return False  # nothing is no picture
    a, b = np.frombuffer(one, np.uint8), np.frombuffer(other, np.uint8)
    # pictures that differ do so nearly everywhere: a few bytes tell most of them apart
    return np.array_equal(a[::_SAMPLE], b[::_SAMPLE]) and np.array_equal(a, b)
