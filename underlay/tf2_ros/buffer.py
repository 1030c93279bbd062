"""The tree of frames, and look-ups in it."""

from __future__ import annotations

import logging
import threading
import time as clock

import numpy as np
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from pytransform3d.transformations import pq_from_transform
from rclpy.duration import Duration
from rclpy.time import Time

from tf2_ros.exceptions import (
    ConnectivityException,
    InvalidArgumentException,
    LookupException,
    TransformException,
)
from tf2_ros.history import DynamicHistory, History, StaticHistory

_LOGGER = logging.getLogger(__name__)

_MOST = 2**31 * 1_000_000_000  # nanoseconds; no message holds a later stamp


class Buffer:
    """Transforms of the last `cache_time` (10 s), safe to use from several threads.

    A frame that gets another parent loses what was known of it under the old one.
    """

    def __init__(self, cache_time: Duration | None = None) -> None:
        self._length = 10_000_000_000 if cache_time is None else cache_time.nanoseconds
        self._histories: dict[str, History] = {}
        self._frames: set[str] = set()
        self._changed = threading.Condition()

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Add parent_from_child at the message's stamp; an invalid one is logged and left out."""
        self._insert(transform, authority, static=False)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Add a parent_from_child that holds at every time."""
        self._insert(transform, authority, static=True)

    def clear(self) -> None:
        """Forget all that moves; static transforms and the names of frames stay, as in tf2."""
        with self._changed:
            self._histories = {
                child: history
                for child, history in self._histories.items()
                if isinstance(history, StaticHistory)
            }

    def lookup_transform(
        self, target_frame: str, source_frame: str, time: Time, timeout: Duration | None = None
    ) -> TransformStamped:
        """target_from_source at `time`; time zero means the newest that all links share.

        Args:
            target_frame: frame to express things in.
            source_frame: frame that they are given in.
            time: of both frames.
            timeout: how long to wait for the transform; nothing or zero does not wait.

        Raises:
            LookupException, ConnectivityException, ExtrapolationException: see there.
        """
        with self._changed:
            self._wait(lambda: self._lookup(target_frame, source_frame, time), timeout)
            matrix, stamp = self._lookup(target_frame, source_frame, time)
        return _message(target_frame, source_frame, stamp, matrix)

    def lookup_transform_full(
        self, target_frame: str, target_time: Time, source_frame: str, source_time: Time,
        fixed_frame: str, timeout: Duration | None = None,
    ) -> TransformStamped:  # fmt: skip
        """The target at one time from the source at another, through a frame that stands still.

        Raises as lookup_transform.
        """

        def lookup() -> tuple[NDArray[np.float64], int]:
            target_from_fixed, stamp = self._lookup(target_frame, fixed_frame, target_time)
            fixed_from_source, _ = self._lookup(fixed_frame, source_frame, source_time)
            return target_from_fixed @ fixed_from_source, stamp

        with self._changed:
            self._wait(lookup, timeout)
            matrix, stamp = lookup()
        return _message(target_frame, source_frame, stamp, matrix)

    def can_transform(
        self, target_frame: str, source_frame: str, time: Time, timeout: Duration | None = None
    ) -> bool:
        """Whether lookup_transform would answer, within `timeout`."""
        try:
            self.lookup_transform(target_frame, source_frame, time, timeout)
        except TransformException:
            return False
        return True

    def _insert(self, transform: TransformStamped, authority: str, *, static: bool) -> None:
        parent = transform.header.frame_id.lstrip('/')
        child = transform.child_frame_id.lstrip('/')
        pose = _pose(transform)
        stamp = transform.header.stamp.sec * 1_000_000_000 + transform.header.stamp.nanosec
        problem = _problem(parent, child, stamp, pose)
        if problem:
            _LOGGER.error('transform from "%s" ignored: %s', authority, problem)
            return
        pose[3:] /= np.linalg.norm(pose[3:])
        with self._changed:
            self._frames |= {parent, child}
            if static:
                self._histories[child] = StaticHistory(parent, pose)
            else:
                history = self._histories.get(child)
                if not isinstance(history, DynamicHistory) or history.parent != parent:
                    history = DynamicHistory(parent, child, self._length)
                    self._histories[child] = history
                history.insert(stamp, pose)
            self._changed.notify_all()

    def _wait(self, lookup, timeout: Duration | None) -> None:  # noqa: ANN001
        """Return when `lookup` no longer raises, or at the latest after `timeout`."""
        deadline = clock.monotonic() + (timeout.nanoseconds / 1e9 if timeout else 0.0)
        while (left := deadline - clock.monotonic()) > 0:
            try:
                lookup()
                return
            except TransformException:
                self._changed.wait(left)

    def _lookup(self, target: str, source: str, time: Time) -> tuple[NDArray[np.float64], int]:
        """target_from_source and the stamp that it holds for."""
        for role, frame in (('target', target), ('source', source)):
            if not frame or frame.startswith('/'):
                raise InvalidArgumentException(
                    f'{role}_frame "{frame}" must not be empty or begin with a slash'
                )
            if frame not in self._frames:
                raise LookupException(
                    f'"{frame}" passed to lookupTransform argument {role}_frame does not exist.'
                )
        up, down = self._path(target, source)
        stamp = time.nanoseconds
        if stamp == 0:
            newest = [self._histories[frame].newest() for frame in up + down]
            stamp = min((n for n in newest if n is not None), default=0)
        matrix = np.linalg.inv(self._chain(up, stamp)) @ self._chain(down, stamp)
        return matrix, stamp

    def _path(self, target: str, source: str) -> tuple[list[str], list[str]]:
        """Frames from the target and from the source up to, without, their common ancestor."""
        up, down = self._ancestry(target), self._ancestry(source)
        if up[-1] != down[-1]:
            raise ConnectivityException(
                f"Could not find a connection between '{target}' and '{source}' because they "
                'are not part of the same tree. Tf has two or more unconnected trees.'
            )
        while up and down and up[-1] == down[-1]:
            up.pop()
            down.pop()
        return up, down

    def _ancestry(self, frame: str) -> list[str]:
        frames = [frame]
        while frame in self._histories:
            frame = self._histories[frame].parent
            if frame in frames:
                raise LookupException(f'the tree contains a loop: {" -> ".join([*frames, frame])}')
            frames.append(frame)
        return frames

    def _chain(self, frames: list[str], stamp: int) -> NDArray[np.float64]:
        """ancestor_from_frames[0] [4,4], through all of them."""
        matrix = np.identity(4)
        for frame in frames:
            matrix = self._histories[frame].at(stamp) @ matrix
        return matrix


def _pose(transform: TransformStamped) -> NDArray[np.float64]:
    """Position and wxyz quaternion [7], of any length, as they came."""
    p, q = transform.transform.translation, transform.transform.rotation
    return np.array([p.x, p.y, p.z, q.w, q.x, q.y, q.z])


def _problem(parent: str, child: str, stamp: int, pose: NDArray[np.float64]) -> str:
    """What is wrong with a transform; empty when nothing is. tf2's rules, and the stamp's."""
    if not parent or not child:
        return f'a frame has no name: header.frame_id "{parent}", child_frame_id "{child}"'
    if parent == child:
        return f'"{child}" is its own parent'
    if not 0 <= stamp < _MOST:
        return f'"{child}" has a stamp that is no time: {stamp / 1e9:.3f} s'
    if not np.isfinite(pose).all():
        return f'"{child}" has a value that is not finite: {pose.tolist()}'
    with np.errstate(over='ignore'):
        norm = float(np.linalg.norm(pose[3:]))
    if not 0 < norm < np.inf:
        return f'the quaternion of "{child}" is no rotation: {pose[3:].tolist()} (wxyz)'
    return ''


def _message(
    target: str, source: str, stamp: int, matrix: NDArray[np.float64]
) -> TransformStamped:
    message = TransformStamped(child_frame_id=source)
    message.header.frame_id = target
    message.header.stamp = Time(nanoseconds=stamp).to_msg()
    x, y, z, qw, qx, qy, qz = map(float, pq_from_transform(matrix, strict_check=False))
    translation, rotation = message.transform.translation, message.transform.rotation
    translation.x, translation.y, translation.z = x, y, z
    rotation.x, rotation.y, rotation.z, rotation.w = qx, qy, qz, qw
    return message
