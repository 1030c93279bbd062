"""Where a camera or a lidar was, from TF: at its own stamp, in the ego frame at another one."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import tf2_ros
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from rclpy.clock import ClockType
from rclpy.time import Time
from tf_transformations import quaternion_matrix

from gausstr_core.stamps import nanoseconds
from gausstr_ros.sets.waiting import NotReady

NO_TRANSFORM = 'no transform'
FARTHEST = 1e8  # metres from the origin of the fixed frame; cells are counted from there


class Outrun:
    """Whether transforms of the future have pushed out the true ones.

    tf2 keeps what is at most ten seconds older than its newest, so one transform with a wrong
    stamp makes every look-up fail until that time has come. One thread notes, another one asks.

    Args:
        clock: seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failing: tuple[float, float] | None = None  # from the first failure to the last
        self._in_vain = 0  # fresh starts since the last success

    def failed(self, newest: int | None, stamp: int) -> None:
        """Note a look-up that failed at a stamp, and the newest transform there is."""
        if newest is not None and newest > stamp:
            now = self._clock()
            self._failing = (self._failing or (now, now))[0], now

    def succeeded(self) -> None:
        """Note a look-up that did not fail."""
        self._failing, self._in_vain = None, 0

    def lasts(self, patience: float) -> bool:
        """Whether nothing else was noted for so many seconds; longer where that did not help."""
        failing = self._failing
        limit = patience * 2 ** min(self._in_vain, 6)
        return failing is not None and failing[1] - failing[0] > limit

    def start_afresh(self) -> None:
        """Note that there are no transforms any more."""
        self._failing = None
        self._in_vain += 1


def ego_from_camera(
    buffer: tf2_ros.Buffer,
    base_frame: str,
    fixed_frame: str,
    stamp: int,
    camera: str,
    image: tuple[str, int],
) -> NDArray[np.float64]:
    """Look up where a camera was; never waits.

    Args:
        buffer: filled by a TransformListener or from a bag.
        base_frame: the ego frame.
        fixed_frame: a frame that stands still while the set is taken, such as odom, through which
            the ego motion between the stamps is taken out; empty: the camera as it is mounted.
        stamp: of the set, in nanoseconds.
        camera: its name, for messages.
        image: frame_id, and stamp in nanoseconds.

    Returns:
        The optical camera -> ego transform [4, 4] in metres.

    Raises:
        NotReady: a look-up failed; a later one may succeed. Camera and link are named, and what
            to do about a link that nothing makes.
        ValueError: the image has no frame_id, or one that no frame can have, or the transforms
            on the way are too large.
    """
    frame, _ = image
    if not frame:
        raise ValueError(f'camera {camera}: its images have an empty frame_id')
    return _ego_from(buffer, base_frame, fixed_frame, stamp, ('camera', camera, ''), image)


def ego_from_cloud(
    buffer: tf2_ros.Buffer,
    base_frame: str,
    fixed_frame: str,
    stamp: int,
    names: tuple[str, str],
    cloud: tuple[str, int],
) -> NDArray[np.float64]:
    """Look up where the frame of a cloud was; never waits.

    Args:
        buffer, base_frame, fixed_frame: as `ego_from_camera`.
        stamp: of the image for which the cloud is wanted, in nanoseconds.
        names: of the camera and of the cloud's topic, for messages.
        cloud: frame_id, and stamp in nanoseconds.

    Returns:
        The transform cloud -> ego [4, 4] in metres, the ego frame at `stamp`.

    Raises:
        NotReady, ValueError: as `ego_from_camera`.
    """
    camera, topic = names
    what = ('lidar', camera, f'cloud on {topic}: ')
    return _ego_from(buffer, base_frame, fixed_frame, stamp, what, cloud)


def fixed_from_ego(
    buffer: tf2_ros.Buffer, base_frame: str, fixed_frame: str, stamp: int
) -> NDArray[np.float64]:
    """Look up where the ego was; never waits.

    Returns:
        The transform base_frame -> fixed_frame [4, 4] in metres at `stamp`, in nanoseconds.

    Raises:
        NotReady: the look-up failed.
        ValueError: the frames have names that none can have, or what TF says is no place.
    """
    try:
        found = buffer.lookup_transform(fixed_frame, base_frame, _time(stamp))
    except tf2_ros.InvalidArgumentException as error:
        raise ValueError(f'no transform from {base_frame}: {error}') from error
    except tf2_ros.TransformException as error:
        raise NotReady(
            NO_TRANSFORM, f'no transform from {base_frame} to {fixed_frame}: {error}'
        ) from error
    matrix = _matrix(found)
    if not np.isfinite(matrix).all() or np.abs(matrix[:3, 3]).max() > FARTHEST:
        raise ValueError(
            f'the transform from {base_frame} to {fixed_frame} must be finite and within '
            f'{FARTHEST:g} m, got {matrix[:3, 3].tolist()}'
        )
    return matrix


def _ego_from(
    buffer: tf2_ros.Buffer,
    base_frame: str,
    fixed_frame: str,
    stamp: int,
    who: tuple[str, str, str],
    source: tuple[str, int],
) -> NDArray[np.float64]:
    """As `ego_from_camera`; `who` is a kind of sensor, the camera, and of what it is more."""
    sensor, camera, more = who
    frame, own = source
    try:
        if fixed_frame:
            found = buffer.lookup_transform_full(
                base_frame, _time(stamp), frame, _time(own), fixed_frame
            )
        else:
            found = buffer.lookup_transform(base_frame, frame, _time(own))
    except tf2_ros.InvalidArgumentException as error:
        raise ValueError(f'camera {camera}: {more}no transform from {frame}: {error}') from error
    except tf2_ros.TransformException as error:
        through = f' through {fixed_frame}' if fixed_frame else ''
        raise NotReady(
            NO_TRANSFORM,
            f'camera {camera}: {more}no transform from {frame} to {base_frame}{through}: {error}'
            + _advice(buffer, base_frame, fixed_frame, frame, sensor),
            newest=_newest(buffer, base_frame, fixed_frame, frame),
        ) from error
    matrix = _matrix(found)
    if not np.isfinite(matrix).all():
        raise ValueError(
            f'camera {camera}: {more}its transform from {frame} to {base_frame} is not finite'
        )
    return matrix


def _advice(
    buffer: tf2_ros.Buffer, base_frame: str, fixed_frame: str, frame: str, sensor: str
) -> str:
    """What to do about links that nothing has made so far; '' where all are known."""
    missing = []
    if not _linked(buffer, base_frame, frame):
        missing.append(
            f'nothing links {frame} to {base_frame} (base_frame): publish how the '
            f'{sensor} is mounted on /tf_static'
        )
    if fixed_frame and not _linked(buffer, base_frame, fixed_frame):
        missing.append(
            f'nothing links {base_frame} to {fixed_frame} (fixed_frame): start the odometry, set '
            "fixed_frame to a frame that there is, or to '' for a robot that stands still"
        )
    return ''.join(f'; {text}' for text in missing)


def _linked(buffer: tf2_ros.Buffer, base_frame: str, other: str) -> bool:
    """Whether there is a way between two frames at any time."""
    try:
        buffer.lookup_transform(base_frame, other, _time(0))
    except (tf2_ros.LookupException, tf2_ros.ConnectivityException):
        return False
    except tf2_ros.TransformException:
        pass  # at no common time: it is late, not missing
    return True


def _newest(buffer: tf2_ros.Buffer, base_frame: str, fixed_frame: str, frame: str) -> int | None:
    """Up to which stamp both links are known; None where one is not known at all."""
    links = [(base_frame, fixed_frame), (fixed_frame, frame)] if fixed_frame else []
    try:
        found = [
            nanoseconds(buffer.lookup_transform(*link, _time(0)).header.stamp)
            for link in links or [(base_frame, frame)]
        ]
    except tf2_ros.TransformException:
        return None
    return min(filter(None, found), default=None)  # 0: it stands still


def _time(stamp: int) -> Time:
    return Time(nanoseconds=stamp, clock_type=ClockType.ROS_TIME)


def _matrix(message: TransformStamped) -> NDArray[np.float64]:
    rotation, shift = message.transform.rotation, message.transform.translation
    # ROS and tf_transformations: xyzw
    matrix = quaternion_matrix([rotation.x, rotation.y, rotation.z, rotation.w])
    matrix[:3, 3] = shift.x, shift.y, shift.z
    return matrix
