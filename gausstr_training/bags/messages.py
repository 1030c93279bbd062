"""The topics, frames and messages of the bags that are written here.

Per camera <name>/image_raw/compressed and <name>/camera_info; /tf with odom -> base_link;
/tf_static with base_link -> sensor, offered transient local so that a player latches it. A
message is logged at its own stamp, and the frame of a sensor has the sensor's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gausstr_core.bags.messages import TYPES
from gausstr_core.stamps import SECOND

FIXED_FRAME, BASE_FRAME = 'odom', 'base_link'
TF, TF_STATIC = '/tf', '/tf_static'
COMPRESSED, INFO = 'sensor_msgs/msg/CompressedImage', 'sensor_msgs/msg/CameraInfo'
TRANSFORMS = 'tf2_msgs/msg/TFMessage'


def image_topic(camera: str) -> str:
    """The topic of a camera's images, JPEG or PNG."""
    return f'/{camera}/image_raw/compressed'


def info_topic(camera: str) -> str:
    """The topic of a camera's CameraInfo."""
    return f'/{camera}/camera_info'


def header(stamp: int, frame: str) -> Any:
    """std_msgs/Header of a stamp in ns."""
    time = TYPES['builtin_interfaces/msg/Time'](stamp // SECOND, stamp % SECOND)
    return TYPES['std_msgs/msg/Header'](time, frame)


def compressed_image(stamp: int, frame: str, data: np.ndarray, kind: str = 'jpeg') -> Any:
    """CompressedImage of the bytes [n] uint8 of a file, as they are."""
    return TYPES[COMPRESSED](header(stamp, frame), kind, data)


def camera_info(
    stamp: int,
    frame: str,
    matrix: np.ndarray,
    height: int,
    width: int,
    distortion: Sequence[float] = (),
) -> Any:
    """CameraInfo of a camera, undistorted or not.

    Args:
        matrix: [3, 3] pixels, as ROS and OpenCV count them: the centre of the first pixel is
            (0, 0), half a pixel less than in the rest of this project.
        distortion: up to 5 coefficients of plumb_bob, or those of rational_polynomial.
    """
    model = 'plumb_bob' if len(distortion) <= 5 else 'rational_polynomial'
    coefficients = np.zeros(max(5, len(distortion)))
    coefficients[: len(distortion)] = distortion
    projection = np.concatenate([matrix, np.zeros((3, 1))], axis=1)
    whole_image = TYPES['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
    return TYPES[INFO](
        header(stamp, frame), height, width, model, coefficients, matrix.ravel(),
        np.eye(3).ravel(), projection.ravel(), 0, 0, whole_image,
    )  # fmt: skip


def transform(
    stamp: int,
    parent: str,
    child: str,
    translation: Sequence[float],
    quaternion_xyzw: Sequence[float],
) -> Any:
    """TransformStamped of the child's pose in its parent: metres, quaternion in ROS order."""
    return TYPES['geometry_msgs/msg/TransformStamped'](
        header(stamp, parent),
        child,
        TYPES['geometry_msgs/msg/Transform'](
            TYPES['geometry_msgs/msg/Vector3'](*translation),
            TYPES['geometry_msgs/msg/Quaternion'](*quaternion_xyzw),
        ),
    )


def transforms(links: Sequence[Any]) -> Any:
    """TFMessage of some TransformStamped."""
    return TYPES[TRANSFORMS](list(links))
