"""Writes a drive as a rosbag2 folder: MCAP, CDR, ROS 2 Jazzy types.

Topics: per camera <name>/image_raw/compressed and <name>/camera_info, /tf with odom -> base_link,
/tf_static with base_link -> camera, offered transient local so that a player latches it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from gausstr_core.contracts import quaternion_from_matrix
from gausstr_training.streets.rig import CAMERA_NAMES, StreetRig

FIXED_FRAME, BASE_FRAME = 'odom', 'base_link'
JPEG_QUALITY = 92
_FOREVER = QosTime(2147483647, 4294967295)
_LATCHED = Qos(
    QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL,
    _FOREVER, _FOREVER, QosLiveliness.AUTOMATIC, _FOREVER, False,
)  # fmt: skip
_STORE = get_typestore(Stores.ROS2_JAZZY)


def image_topic(camera: str) -> str:
    """The topic of a camera's JPEG images."""
    return f'/{camera}/image_raw/compressed'


def info_topic(camera: str) -> str:
    """The topic of a camera's CameraInfo."""
    return f'/{camera}/camera_info'


def encode_jpeg(image: np.ndarray) -> np.ndarray:
    """JPEG bytes [n] uint8 of an RGB image [H, W, 3]."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    done, data = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), settings)
    assert done
    return np.asarray(data).ravel()


class DriveWriter:
    """Collects the messages of a drive and writes them in the order of time."""

    def __init__(self, path: Path, rig: StreetRig) -> None:
        self._path, self._rig = path, rig
        self._messages: list[tuple[int, str, str, Any]] = []

    def add_image(self, camera: int, stamp: int, image: np.ndarray) -> None:
        """Add an RGB image [H, W, 3] and its CameraInfo at a stamp in ns."""
        name = CAMERA_NAMES[camera]
        types = _STORE.types
        header = _header(stamp, name)
        message = types['sensor_msgs/msg/CompressedImage'](header, 'jpeg', encode_jpeg(image))
        self._messages.append(
            (stamp, image_topic(name), 'sensor_msgs/msg/CompressedImage', message)
        )
        info = _camera_info(header, self._rig.intrinsics[camera], image.shape[:2])
        self._messages.append((stamp, info_topic(name), 'sensor_msgs/msg/CameraInfo', info))

    def add_ego_pose(self, stamp: int, odom_from_ego: np.ndarray) -> None:
        """Add odom -> base_link [4, 4] at a stamp in ns."""
        message = _transforms([_transform(stamp, FIXED_FRAME, BASE_FRAME, odom_from_ego)])
        self._messages.append((stamp, '/tf', 'tf2_msgs/msg/TFMessage', message))

    def write(self) -> None:
        """Write the bag; the static transforms come first.

        Raises:
            OSError: the folder cannot be written.
        """
        start = min(stamp for stamp, *_ in self._messages)
        static = _transforms(
            [
                _transform(start, BASE_FRAME, name, pose)
                for name, pose in zip(CAMERA_NAMES, self._rig.base_from_camera, strict=True)
            ]
        )
        first = [(start, '/tf_static', 'tf2_msgs/msg/TFMessage', static)]
        ordered = first + sorted(self._messages, key=lambda item: (item[0], item[1]))
        with Writer(self._path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            connections = _connect(writer, ((topic, kind) for _, topic, kind, _ in ordered))
            for stamp, topic, kind, message in ordered:
                writer.write(connections[topic], stamp, _STORE.serialize_cdr(message, kind))


def _connect(writer: Writer, topics: Iterable[tuple[str, str]]) -> dict[str, Any]:
    connections: dict[str, Any] = {}
    for topic, kind in topics:
        if topic not in connections:
            profiles = [_LATCHED] if topic == '/tf_static' else []
            connections[topic] = writer.add_connection(
                topic, kind, typestore=_STORE, offered_qos_profiles=profiles
            )
    return connections


def _header(stamp: int, frame: str) -> Any:
    time = _STORE.types['builtin_interfaces/msg/Time'](stamp // 10**9, stamp % 10**9)
    return _STORE.types['std_msgs/msg/Header'](time, frame)


def _camera_info(header: Any, intrinsics: np.ndarray, size: tuple[int, int]) -> Any:
    types = _STORE.types
    intrinsics = intrinsics.copy()
    intrinsics[:2, 2] -= 0.5  # ROS counts from the centre of the first pixel, we from its corner
    projection = np.concatenate([intrinsics, np.zeros((3, 1))], axis=1)
    whole_image = types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
    return types['sensor_msgs/msg/CameraInfo'](
        header, size[0], size[1], 'plumb_bob', np.zeros(5), intrinsics.ravel(),
        np.eye(3).ravel(), projection.ravel(), 0, 0, whole_image,
    )  # fmt: skip


def _transforms(transforms: list[Any]) -> Any:
    return _STORE.types['tf2_msgs/msg/TFMessage'](transforms)


def _transform(stamp: int, parent: str, child: str, parent_from_child: np.ndarray) -> Any:
    types = _STORE.types
    x, y, z = (float(value) for value in parent_from_child[:3, 3])
    translation = types['geometry_msgs/msg/Vector3'](x, y, z)
    rotation = types['geometry_msgs/msg/Quaternion'](*quaternion_xyzw(parent_from_child))
    return types['geometry_msgs/msg/TransformStamped'](
        _header(stamp, parent), child, types['geometry_msgs/msg/Transform'](translation, rotation)
    )


def quaternion_xyzw(matrix: np.ndarray) -> tuple[float, float, float, float]:
    """The unit quaternion in ROS order, w >= 0, of a rotation matrix [3, 3] or pose [4, 4]."""
    rotation = torch.from_numpy(np.ascontiguousarray(matrix[:3, :3], dtype=np.float64))
    w, x, y, z = quaternion_from_matrix(rotation).tolist()
    return x, y, z, w
