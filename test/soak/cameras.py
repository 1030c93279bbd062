"""Synthetic cameras at 10 Hz and a lidar, with all that goes with them, over real DDS."""

from __future__ import annotations

import array
import heapq
import itertools
import random
import threading
import time
from typing import Any

import cv2
import numpy as np
from faults import Delivery, Fault
from geometry_msgs.msg import TransformStamped
from lidar import FRAME, HEIGHT, TOPIC, Lidar
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2
from tf2_msgs.msg import TFMessage
from tf_transformations import quaternion_from_matrix

from gausstr_ros.messages.stamps import header_message

CAMERAS = ('front', 'left', 'right')
YAWS = (0.0, 2.1, -2.1)
PERIOD = 0.1
STAGGER = 5_000_000  # nanoseconds between two cameras
SIZE = (90, 160)
PICTURES = 8  # the scene repeats, so that each map has one to compare with
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def picture(seed: int, size: tuple[int, int] = SIZE) -> bytes:
    """A JPEG of soft blotches."""
    chance = np.random.default_rng(seed)
    pixels = chance.integers(0, 255, (9, 16, 3), np.uint8)
    return cv2.imencode('.jpg', cv2.resize(pixels, size[::-1]))[1].tobytes()


class Cameras:
    """Publishes one cycle after the other; `cycle` is the number of the next one."""

    def __init__(self, node: Node, seed: int, *, lidar: bool = False) -> None:
        self._images = {
            c: node.create_publisher(CompressedImage, f'/{c}/image_raw/compressed', 10)
            for c in CAMERAS
        }
        self._infos = {
            c: node.create_publisher(CameraInfo, f'/{c}/camera_info', 10) for c in CAMERAS
        }
        self.lidar = Lidar() if lidar else None
        self._clouds = [node.create_publisher(PointCloud2, TOPIC, 10)] if lidar else []
        self._tf = node.create_publisher(TFMessage, '/tf', 10)
        self._tf_static = node.create_publisher(TFMessage, '/tf_static', LATCHED)
        self._pictures = {
            c: [picture(100 * n + i) for i in range(PICTURES)] for n, c in enumerate(CAMERAS)
        }
        self._chance = random.Random(seed)
        self._due: list[tuple[float, int, Delivery | PointCloud2]] = []
        self._order = itertools.count()
        self._never = threading.Event()
        self._shift = 0  # nanoseconds from the wall clock to the stamps
        self.cycle = 0
        self.index_of: dict[int, int] = {}  # newest stamp of a cycle -> its number
        self.transforms = True
        self._ego = np.eye(4)  # odom_from_base
        self._start = time.monotonic()
        self._epoch = time.time_ns()
        self._node = node
        self._latched: dict[str, Any] = {}  # camera -> publisher of its only CameraInfo
        roof = np.eye(4)
        roof[2, 3] = HEIGHT
        self._tf_static.publish(
            TFMessage(
                transforms=[
                    _link('base_link', FRAME, 0, roof),
                    *(
                        mount
                        for camera, yaw in zip(CAMERAS, YAWS, strict=True)
                        for mount in (_mounted(camera, yaw), _body(f'{camera}_link', yaw))
                    ),
                ]
            )
        )

    def matched(self) -> bool:
        """Whether the node listens to everything."""
        publishers = [*self._images.values(), *self._infos.values(), self._tf, *self._clouds]
        publishers += self._latched.values()
        return all(p.get_subscription_count() for p in publishers)

    def loop_back(self, seconds: float) -> None:
        """Let the stamps jump back, as a bag does that starts again."""
        self._shift -= round(seconds * 1e9)

    def carry(self, metres: float) -> None:
        """Let the odometry jump, as where it finds its place again."""
        self._ego[0, 3] += metres

    def latch(self, camera: str) -> None:
        """Send a camera's CameraInfo once, and none with its images any more."""
        made = self._node.create_publisher(CameraInfo, f'/{camera}/camera_info', LATCHED)
        made.publish(_info(camera, self._epoch + self._shift, Delivery.focal))
        self._latched[camera] = made

    def unlatch(self) -> None:
        """Send CameraInfo with all images again."""
        for publisher in self._latched.values():
            self._node.destroy_publisher(publisher)
        self._latched.clear()

    def play(self, fault: Fault | None, camera: str) -> float | None:
        """Wait for the next cycle and play it; when the fault took effect, on time.monotonic."""
        due = self._start + self.cycle * PERIOD
        self._send_until(due)
        base = self._epoch + round(self.cycle * PERIOD * 1e9) + self._shift
        if self.transforms:
            for stamp in (base - 50_000_000, base + 50_000_000):
                self._tf.publish(
                    TFMessage(transforms=[_link('odom', 'base_link', stamp, self._ego)])
                )
        for after, cloud in self.lidar.scans(base) if self.lidar else ():
            heapq.heappush(self._due, (due + after / 1e9, next(self._order), cloud))
        effect = None
        for number, name in enumerate(CAMERAS):
            stamp = base + number * STAGGER
            good = Delivery(name, stamp, self._pictures[name][self.cycle % PICTURES])
            sent = [good]
            if fault is not None and fault.change is not None and name == camera:
                sent = fault.change(good, self._chance)
                effect = time.monotonic() if sent != [good] else None
            for each in sent:
                item = (due + number * STAGGER / 1e9 + each.delay, next(self._order), each)
                heapq.heappush(self._due, item)
        self.index_of[stamp] = self.cycle
        self._send_until(due + len(CAMERAS) * STAGGER / 1e9)
        self.cycle += 1
        return effect

    def _send_until(self, end: float) -> None:
        """Send what is due until then, each at its time."""
        while self._due and self._due[0][0] <= end:
            at, _, delivery = heapq.heappop(self._due)
            self._never.wait(max(0.0, at - time.monotonic()))
            self._send(delivery)
        self._never.wait(max(0.0, end - time.monotonic()))

    def _send(self, delivery: Delivery | PointCloud2) -> None:
        if isinstance(delivery, PointCloud2):
            self._clouds[0].publish(delivery)
            return
        if delivery.camera not in self._latched:
            info = _info(delivery.camera, delivery.stamp, delivery.focal)
            self._infos[delivery.camera].publish(info)
        header = header_message(delivery.stamp, delivery.frame or delivery.camera)
        data = array.array('B', delivery.picture)
        self._images[delivery.camera].publish(
            CompressedImage(header=header, format='jpeg', data=data)
        )


def _info(camera: str, stamp: int, focal: float) -> CameraInfo:
    info = CameraInfo(
        header=header_message(stamp, camera),
        height=SIZE[0],
        width=SIZE[1],
        distortion_model='plumb_bob',
    )
    info.k = [focal, 0.0, SIZE[1] / 2 - 0.5, 0.0, focal, SIZE[0] / 2 - 0.5, 0.0, 0.0, 1.0]
    return info


def _body(frame: str, yaw: float) -> TransformStamped:
    """A frame whose x axis looks where the camera looks."""
    c, s = np.cos(yaw), np.sin(yaw)
    pose = np.eye(4)
    pose[:2, :2] = [[c, -s], [s, c]]
    pose[:3, 3] = c, s, 1.5
    return _link('base_link', frame, 0, pose)


def _mounted(camera: str, yaw: float) -> TransformStamped:
    c, s = np.cos(yaw), np.sin(yaw)
    pose = np.eye(4)
    pose[:3, :3] = [[s, 0, c], [-c, 0, s], [0, -1, 0]]
    pose[:3, 3] = c, s, 1.5
    return _link('base_link', camera, 0, pose)


def _link(parent: str, child: str, stamp: int, pose: Any) -> TransformStamped:
    message = TransformStamped(header=header_message(stamp, parent), child_frame_id=child)
    shift, turn = message.transform.translation, message.transform.rotation
    shift.x, shift.y, shift.z = map(float, pose[:3, 3])
    turn.x, turn.y, turn.z, turn.w = map(float, quaternion_from_matrix(pose))
    return message
