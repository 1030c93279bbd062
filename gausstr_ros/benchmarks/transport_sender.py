"""Six synthetic cameras and a lidar that publish as drivers do, for measuring the transport."""

from __future__ import annotations

import array
import struct
import time
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from sensor_msgs_py.point_cloud2 import create_cloud, dtype_from_fields
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

HEIGHT, WIDTH, RATE = 900, 1600, 12
LIDAR, POINTS, SPINS = '/lidar_top/points', 35_000, 20  # topic, points of a scan, scans a second
_SENSOR = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_STAMP = struct.Struct('<iI')  # at byte 4 of a serialised message that begins with a header


class Sender:
    """Publishers of images and calibrations, best effort as drivers are; all fire at once.

    That is the hardest case for the transport: a set is one burst. Messages are serialised once,
    and only their stamp is written anew.

    Args:
        node: what the publishers belong to.
        cameras: names.
        compressed: JPEG of a quarter of a megabyte each, or raw bgr8 of 4.3 MB.
        lidar: whether a lidar sends as well.
    """

    def __init__(
        self, node: Node, cameras: Sequence[str], *, compressed: bool, lidar: bool = False
    ) -> None:
        self._topics: list[tuple[Any, bytearray]] = []
        self._clouds: list[tuple[Any, bytearray]] = []
        self.clouds = 0  # sent so far
        kind, topic = (CompressedImage, '/compressed') if compressed else (Image, '')
        image = _jpeg() if compressed else _raw()
        for camera in cameras:
            image.header.frame_id = camera
            self._topics.append(_made(node, kind, f'/{camera}/image_raw{topic}', image))
            info = CameraInfo(height=HEIGHT, width=WIDTH, distortion_model='plumb_bob')
            info.header.frame_id = camera
            info.k = np.array([1260, 0, 800, 0, 1260, 450, 0, 0, 1], np.float64)
            self._topics.append(_made(node, CameraInfo, f'/{camera}/camera_info', info))
        if lidar:
            self._clouds.append(_made(node, PointCloud2, LIDAR, scan()))
        self._static = node.create_publisher(TFMessage, '/tf_static', _LATCHED)
        mounts = [_mounted(camera) for camera in cameras]
        self._static.publish(TFMessage(transforms=[*mounts, _on_roof('lidar')]))

    def run(self, sets: int) -> int:
        """Send sets at the cameras' rate, in real time; returns their number."""
        begun = time.monotonic()
        due = [(number / RATE, self._topics) for number in range(sets)]
        if self._clouds:
            spins = sets * SPINS // RATE + 1
            due += [((number + 0.5) / SPINS, self._clouds) for number in range(spins)]
            self.clouds += spins
        for seconds, topics in sorted(due, key=lambda each: each[0]):
            time.sleep(max(0.0, begun + seconds - time.monotonic()))
            now = time.time_ns()
            for publisher, message in topics:
                _STAMP.pack_into(message, 4, now // 10**9, now % 10**9)
                publisher.publish(bytes(message))
        time.sleep(max(0.0, begun + sets / RATE - time.monotonic()))
        return sets


def scan() -> PointCloud2:
    """A scan of a street as a driver sends it: 22 bytes a point, 0.8 MB."""
    kinds = {'x': 7, 'y': 7, 'z': 7, 'intensity': 7, 'ring': 4, 'time': 7}
    fields, offset = [], 0
    for name, kind in kinds.items():
        fields.append(PointField(name=name, offset=offset, datatype=kind, count=1))
        offset += 2 if kind == PointField.UINT16 else 4
    points = np.zeros(POINTS, dtype_from_fields(fields))
    chance = np.random.default_rng(0)
    distance, azimuth = chance.uniform(3, 60, POINTS), chance.uniform(-np.pi, np.pi, POINTS)
    points['x'], points['y'] = distance * np.cos(azimuth), distance * np.sin(azimuth)
    points['z'] = chance.uniform(-1.8, 4, POINTS)
    return create_cloud(Header(frame_id='lidar'), fields, points)


def _made(node: Node, kind: type, topic: str, message: Any) -> tuple[Any, bytearray]:
    """A publisher and what it sends."""
    publisher = node.create_publisher(kind, topic, _SENSOR)
    return publisher, bytearray(serialize_message(message))


def _jpeg() -> CompressedImage:
    """A picture as hard to compress as a street, about 250 kB."""
    coarse = np.random.default_rng(0).integers(0, 255, (HEIGHT // 6, WIDTH // 6, 3), np.uint8)
    picture = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    data = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    return CompressedImage(format='jpeg', data=array.array('B', data))


def _raw() -> Image:
    data = array.array('B', bytes(3 * HEIGHT * WIDTH))
    return Image(height=HEIGHT, width=WIDTH, encoding='bgr8', step=3 * WIDTH, data=data)


def _mounted(camera: str) -> TransformStamped:
    """Looking ahead, 1.5 m above the ground."""
    message = TransformStamped(child_frame_id=camera)
    message.header.frame_id = 'base_link'
    message.transform.translation.z = 1.5
    turn = message.transform.rotation
    turn.x, turn.y, turn.z, turn.w = -0.5, 0.5, -0.5, 0.5
    return message


def _on_roof(frame: str) -> TransformStamped:
    message = TransformStamped(child_frame_id=frame)
    message.header.frame_id = 'base_link'
    message.transform.translation.z = 1.8
    message.transform.rotation.w = 1.0
    return message
