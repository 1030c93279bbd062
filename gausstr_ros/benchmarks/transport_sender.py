"""Six synthetic cameras that publish as a driver does, for measuring the transport."""

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
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

HEIGHT, WIDTH, RATE = 900, 1600, 12
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
    """

    def __init__(self, node: Node, cameras: Sequence[str], *, compressed: bool) -> None:
        self._topics: list[tuple[Any, bytearray]] = []
        kind, topic = (CompressedImage, '/compressed') if compressed else (Image, '')
        image = _jpeg() if compressed else _raw()
        for camera in cameras:
            image.header.frame_id = camera
            self._add(node, kind, f'/{camera}/image_raw{topic}', image)
            info = CameraInfo(height=HEIGHT, width=WIDTH, distortion_model='plumb_bob')
            info.header.frame_id = camera
            info.k = np.array([1260, 0, 800, 0, 1260, 450, 0, 0, 1], np.float64)
            self._add(node, CameraInfo, f'/{camera}/camera_info', info)
        self._static = node.create_publisher(TFMessage, '/tf_static', _LATCHED)
        self._static.publish(TFMessage(transforms=[_mounted(camera) for camera in cameras]))

    def run(self, sets: int) -> int:
        """Send sets at the cameras' rate, in real time; returns their number."""
        begun = time.monotonic()
        for number in range(sets):
            time.sleep(max(0.0, begun + number / RATE - time.monotonic()))
            now = time.time_ns()
            for publisher, message in self._topics:
                _STAMP.pack_into(message, 4, now // 10**9, now % 10**9)
                publisher.publish(bytes(message))
        time.sleep(max(0.0, begun + sets / RATE - time.monotonic()))
        return sets

    def _add(self, node: Node, kind: type, topic: str, message: Any) -> None:
        publisher = node.create_publisher(kind, topic, _SENSOR)
        self._topics.append((publisher, bytearray(serialize_message(message))))


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
