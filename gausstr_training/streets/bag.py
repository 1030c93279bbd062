"""Writes a drive as a bag: six cameras, the ego pose and the rig."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from gausstr_core.bags.messages import encode
from gausstr_core.bags.writing import BagWriter
from gausstr_core.contracts import quaternion_from_matrix
from gausstr_core.nuscenes import NUSCENES_CAMERAS
from gausstr_training.bags.messages import (
    BASE_FRAME,
    FIXED_FRAME,
    TF,
    TF_STATIC,
    camera_info,
    compressed_image,
    image_topic,
    info_topic,
    transform,
    transforms,
)
from gausstr_training.streets.rig import StreetRig

JPEG_QUALITY = 92


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
        self._messages: list[tuple[int, str, Any]] = []

    def add_image(self, camera: int, stamp: int, image: np.ndarray) -> None:
        """Add an RGB image [H, W, 3] and its CameraInfo at a stamp in ns."""
        name = NUSCENES_CAMERAS[camera]
        message = compressed_image(stamp, name, encode_jpeg(image))
        self._messages.append((stamp, image_topic(name), message))
        matrix = self._rig.intrinsics[camera].copy()
        matrix[:2, 2] -= 0.5  # ROS counts from the centre of the first pixel, we from its corner
        info = camera_info(stamp, name, matrix, *image.shape[:2])
        self._messages.append((stamp, info_topic(name), info))

    def add_ego_pose(self, stamp: int, odom_from_ego: np.ndarray) -> None:
        """Add odom -> base_link [4, 4] at a stamp in ns."""
        message = transforms([_posed(stamp, FIXED_FRAME, BASE_FRAME, odom_from_ego)])
        self._messages.append((stamp, TF, message))

    def write(self) -> None:
        """Write the bag; the static transforms come first.

        Raises:
            ValueError: the folder exists.
            OSError: it cannot be written.
        """
        start = min(stamp for stamp, *_ in self._messages)
        static = transforms(
            [
                _posed(start, BASE_FRAME, name, pose)
                for name, pose in zip(NUSCENES_CAMERAS, self._rig.base_from_camera, strict=True)
            ]
        )
        first = [(start, TF_STATIC, static)]
        ordered = first + sorted(self._messages, key=lambda item: (item[0], item[1]))
        topics = {topic: message.__msgtype__ for _, topic, message in ordered}
        with BagWriter(self._path, topics, latched=[TF_STATIC]) as writer:
            for stamp, topic, message in ordered:
                writer.write(topic, stamp, encode(message))


def _posed(stamp: int, parent: str, child: str, parent_from_child: np.ndarray) -> Any:
    position = [float(value) for value in parent_from_child[:3, 3]]
    return transform(stamp, parent, child, position, quaternion_xyzw(parent_from_child))


def quaternion_xyzw(matrix: np.ndarray) -> tuple[float, float, float, float]:
    """The unit quaternion in ROS order, w >= 0, of a rotation matrix [3, 3] or pose [4, 4]."""
    rotation = torch.from_numpy(np.ascontiguousarray(matrix[:3, :3], dtype=np.float64))
    w, x, y, z = quaternion_from_matrix(rotation).tolist()
    return x, y, z, w
