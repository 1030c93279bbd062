"""The transforms of one frame to its parent, over time.

Positions are interpolated linearly and rotations on the sphere, as in tf2. A frame's history is
its own sorted list, so that a message costs one insertion: pytransform3d's transform manager
would copy the whole series for every message.
"""

from __future__ import annotations

import bisect
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pytransform3d.rotations import quaternion_slerp
from pytransform3d.transformations import transform_from_pq

from tf2_ros.exceptions import ExtrapolationException


class History(Protocol):
    """What the buffer needs to know of a frame."""

    parent: str

    def newest(self) -> int | None:
        """Stamp of the newest sample in nanoseconds; None where every time is right."""

    def at(self, stamp: int) -> NDArray[np.float64]:
        """parent_from_child [4,4] at a stamp; ExtrapolationException outside the history."""


class StaticHistory:
    """One transform for all times."""

    def __init__(self, parent: str, pose: NDArray[np.float64]) -> None:
        self.parent = parent
        self._matrix = transform_from_pq(pose)

    def newest(self) -> int | None:
        """Static transforms limit no common time."""
        return None

    def at(self, stamp: int) -> NDArray[np.float64]:
        """The transform, whatever the stamp."""
        return self._matrix


class DynamicHistory:
    """Samples of the last `length` nanoseconds, sorted by stamp."""

    def __init__(self, parent: str, child: str, length: int) -> None:
        self.parent = parent
        self._child = child
        self._length = length
        self._stamps: list[int] = []
        self._poses: list[NDArray[np.float64]] = []

    def insert(self, stamp: int, pose: NDArray[np.float64]) -> None:
        """Add position and wxyz quaternion [7]; too old and repeated stamps are left out."""
        if self._stamps and stamp < self._stamps[-1] - self._length:
            return
        index = bisect.bisect_left(self._stamps, stamp)
        if index < len(self._stamps) and self._stamps[index] == stamp:
            return
        self._stamps.insert(index, stamp)
        self._poses.insert(index, pose)
        first = bisect.bisect_left(self._stamps, self._stamps[-1] - self._length)
        del self._stamps[:first], self._poses[:first]

    def newest(self) -> int | None:
        """Stamp of the newest sample."""
        return self._stamps[-1]

    def at(self, stamp: int) -> NDArray[np.float64]:
        """Interpolated between the samples around `stamp`."""
        index = bisect.bisect_left(self._stamps, stamp)
        if index < len(self._stamps) and self._stamps[index] == stamp:
            return transform_from_pq(self._poses[index])
        if index in (0, len(self._stamps)):
            raise ExtrapolationException(self._complaint(stamp))
        before, after = self._poses[index - 1], self._poses[index]
        earlier, later = self._stamps[index - 1], self._stamps[index]
        share = (stamp - earlier) / (later - earlier)
        position = before[:3] + share * (after[:3] - before[:3])
        rotation = quaternion_slerp(before[3:], after[3:], share, shortest_path=True)
        return transform_from_pq(np.concatenate((position, rotation)))

    def _complaint(self, stamp: int) -> str:
        earliest, latest = self._stamps[0] / 1e9, self._stamps[-1] / 1e9
        where = 'future' if stamp > self._stamps[-1] else 'past'
        return (
            f'Lookup would require extrapolation into the {where}. Requested time '
            f'{stamp / 1e9:.6f} but the data of [{self.parent}] -> [{self._child}] reaches from '
            f'{earliest:.6f} to {latest:.6f}'
        )
