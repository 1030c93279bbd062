"""Writes rosbag2 bags: MCAP, CDR, ROS 2 Jazzy types, the topics and frames of every bag here.

Per camera <name>/image_raw/compressed and <name>/camera_info; /tf with odom -> base_link;
/tf_static with base_link -> sensor, offered transient local so that a player latches it. A
message is logged at its own stamp, and the frame of a sensor has the sensor's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from gausstr_core.stamps import SECOND

FIXED_FRAME, BASE_FRAME = 'odom', 'base_link'
TF, TF_STATIC = '/tf', '/tf_static'
IMAGE, INFO = 'sensor_msgs/msg/CompressedImage', 'sensor_msgs/msg/CameraInfo'
TRANSFORMS = 'tf2_msgs/msg/TFMessage'
_FOREVER = QosTime(2147483647, 4294967295)
_LATCHED = Qos(
    QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL,
    _FOREVER, _FOREVER, QosLiveliness.AUTOMATIC, _FOREVER, False,
)  # fmt: skip
_STORE = get_typestore(Stores.ROS2_JAZZY)
TYPES: Mapping[str, Any] = _STORE.types


def image_topic(camera: str) -> str:
    """The topic of a camera's JPEG images."""
    return f'/{camera}/image_raw/compressed'


def info_topic(camera: str) -> str:
    """The topic of a camera's CameraInfo."""
    return f'/{camera}/camera_info'


class BagWriter:
    """A new bag folder; used as a context, and left without an index where that fails.

    Args:
        path: a folder that does not exist.
        topics: name and type of every topic.
        notes: the custom data of the bag's metadata.
        compress: whether chunks are compressed (zstd, as rosbag2's own MCAP writer can do).

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(
        self,
        path: Path,
        topics: Mapping[str, str],
        *,
        notes: Mapping[str, str] | None = None,
        compress: bool = False,
    ) -> None:
        self._writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        if compress:
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        for key, value in (notes or {}).items():
            self._writer.set_custom_data(key, value)
        self._topics = topics

    def __enter__(self) -> BagWriter:
        """Open."""
        self._writer.open()
        self._connections = {
            topic: self._writer.add_connection(
                topic,
                kind,
                typestore=_STORE,
                offered_qos_profiles=[_LATCHED] * (topic == TF_STATIC),
            )
            for topic, kind in self._topics.items()
        }
        return self

    def __exit__(self, *error: Any) -> None:
        """Close, or abort after an error."""
        self._writer.__exit__(*error)

    def write(self, topic: str, stamp: int, message: Any) -> None:
        """Write a message that is logged at a stamp in ns."""
        connection = self._connections[topic]
        raw = _STORE.serialize_cdr(message, connection.msgtype)
        self._writer.write(connection, stamp, raw)


def header(stamp: int, frame: str) -> Any:
    """std_msgs/Header of a stamp in ns."""
    time = TYPES['builtin_interfaces/msg/Time'](stamp // SECOND, stamp % SECOND)
    return TYPES['std_msgs/msg/Header'](time, frame)


def compressed_image(stamp: int, frame: str, jpeg: np.ndarray) -> Any:
    """CompressedImage of JPEG bytes [n] uint8, as they are."""
    return TYPES[IMAGE](header(stamp, frame), 'jpeg', jpeg)


def camera_info(stamp: int, frame: str, matrix: np.ndarray, height: int, width: int) -> Any:
    """CameraInfo of an undistorted camera.

    Args:
        matrix: [3, 3] pixels, as ROS and OpenCV count them: the centre of the first pixel is
            (0, 0), half a pixel less than in the rest of this project.
    """
    projection = np.concatenate([matrix, np.zeros((3, 1))], axis=1)
    whole_image = TYPES['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
    return TYPES[INFO](
        header(stamp, frame), height, width, 'plumb_bob', np.zeros(5), matrix.ravel(),
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
