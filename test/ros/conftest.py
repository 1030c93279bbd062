"""A player of small drives and a listener, over real DDS, beside the node under test."""

from __future__ import annotations

import array
import os
import threading
import time

import pytest

rclpy = pytest.importorskip('rclpy')

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TransformStamped
from lifecycle_msgs.srv import GetState
from nav_msgs.msg import OccupancyGrid
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage
from tf2_msgs.msg import TFMessage
from tf_transformations import quaternion_from_matrix

from gausstr_core.stamps import nanoseconds
from gausstr_ros.demo.spinning import SpinningThread
from gausstr_ros.messages.stamps import header_message
from gausstr_ros.transport import use_shared_memory_profile

CAMERAS = ('CAM_A', 'CAM_B', 'CAM_C')
YAWS = {'CAM_A': 0.0, 'CAM_B': 2.1, 'CAM_C': -2.1}
START = 1_700_000_000_000_000_000
PERIOD = 100_000_000
SIZE = (90, 160)
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SENSOR = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)


class Tester:
    """Plays sets of images and listens; `node` is a plain rclpy node."""

    def __init__(self, cameras=CAMERAS):
        self.cameras = cameras
        self.node = rclpy.create_node('tester')
        self.changed = threading.Condition()
        self.heard: dict[str, list] = {}
        self.diagnostics: list[DiagnosticArray] = []
        self.listen('/diagnostics', DiagnosticArray)
        self.images = {
            c: self.publisher(CompressedImage, f'/{c}/image_raw/compressed') for c in cameras
        }
        self.infos = {c: self.publisher(CameraInfo, f'/{c}/camera_info') for c in cameras}
        self.tf = self.publisher(TFMessage, '/tf')
        self.tf_static = self.node.create_publisher(TFMessage, '/tf_static', LATCHED)
        self.spinning = SpinningThread(self.node)

    def publisher(self, kind, topic):
        return self.node.create_publisher(kind, topic, SENSOR)

    def listen(self, topic, kind, qos=10):
        self.heard[topic] = []

        def store(message):
            with self.changed:
                self.heard[topic].append(message)
                self.changed.notify_all()

        return self.node.create_subscription(kind, topic, store, qos)

    def wait(self, condition, timeout=20.0, what='condition'):
        """Wait until `condition()` is true; it is looked at as messages come."""
        end = time.monotonic() + timeout
        with self.changed:
            while not (found := condition()):
                left = end - time.monotonic()
                assert left > 0, f'no {what} within {timeout} s; diagnostics: {self.texts()[-8:]}'
                self.changed.wait(min(left, 0.05))
        return found

    def texts(self):
        """Messages and reasons of all diagnostics so far."""
        return [
            text
            for report in self.heard['/diagnostics']
            for status in report.status
            for text in (
                status.message,
                *(f'{pair.key}={pair.value}' for pair in status.values),
            )
        ]

    def status(self, name):
        """The newest status of 'pipeline' or a camera; an empty one before the first report."""
        reports = self.heard['/diagnostics'][-1:]
        found = (s for report in reports for s in report.status if s.name == f'gausstr: {name}')
        return next(found, DiagnosticStatus())

    def wait_for_report(self):
        """Wait for diagnostics that are not there yet."""
        count = len(self.heard['/diagnostics'])
        self.wait(lambda: len(self.heard['/diagnostics']) > count, what='report')

    def state(self):
        """The state of the node's lifecycle."""
        return self.call('/gausstr/get_state', GetState, GetState.Request()).current_state.label

    def wait_for_text(self, *parts, timeout=20.0):
        """Wait for a diagnostic that holds all the parts."""
        return self.wait(
            lambda: [text for text in self.texts() if all(part in text for part in parts)],
            timeout,
            f'diagnostic with {parts}',
        )

    def wait_matched(self):
        """Wait until the node under test has found all publishers."""
        publishers = [*self.images.values(), *self.infos.values(), self.tf]
        self.wait(
            lambda: all(p.get_subscription_count() for p in publishers),
            20,
            'matched subscriptions',
        )

    def play_transforms(self, leave_out=()):
        message = TFMessage(
            transforms=[
                transform('base_link', camera, START, camera_pose(YAWS[camera]))
                for camera in self.cameras
                if camera not in leave_out
            ]
        )
        self.tf_static.publish(message)

    def play_ego(self, stamp, x=0.0):
        pose = np.eye(4)
        pose[0, 3] = x
        self.tf.publish(TFMessage(transforms=[transform('odom', 'base_link', stamp, pose)]))

    def play_set(self, index, *, leave_out=(), images=None, infos=None, frames=None):
        """One set with the stamps START + index * PERIOD + 5 ms per camera; returns its stamp."""
        base = START + index * PERIOD
        self.play_ego(base - PERIOD, x=0.1 * (index - 1))
        self.play_ego(base + PERIOD, x=0.1 * (index + 1))
        stamps = []
        for number, camera in enumerate(self.cameras):
            if camera in leave_out:
                continue
            stamps.append(base + number * 5_000_000)
            header = header_message(stamps[-1], (frames or {}).get(camera, camera))
            info = (infos or {}).get(camera) or camera_info()
            info.header = header
            self.infos[camera].publish(info)
            image = (images or {}).get(camera) or jpeg(index)
            image.header = header
            self.images[camera].publish(image)
        return stamps[-1]

    def stamps(self, topic):
        return [nanoseconds(message.header.stamp) for message in self.heard[topic]]

    def call(self, service, kind, request, timeout=20.0):
        client = self.node.create_client(kind, service)
        assert client.wait_for_service(10)
        future = client.call_async(request)
        self.wait(future.done, timeout, f'reply of {service}')
        self.node.destroy_client(client)
        return future.result()

    def close(self):
        self.spinning.close()
        self.node.destroy_node()


def transform(parent, child, stamp, pose):
    message = TransformStamped(header=header_message(stamp, parent), child_frame_id=child)
    shift, turn = message.transform.translation, message.transform.rotation
    shift.x, shift.y, shift.z = map(float, pose[:3, 3])
    turn.x, turn.y, turn.z, turn.w = map(float, quaternion_from_matrix(pose))
    return message


def camera_pose(yaw, height=1.5):
    """base_from_camera [4,4] of an optical camera that looks along `yaw`."""
    c, s = np.cos(yaw), np.sin(yaw)
    pose = np.eye(4)
    pose[:3, :3] = [[s, 0, c], [-c, 0, s], [0, -1, 0]]
    pose[:3, 3] = c, s, height
    return pose


def camera_info(size=SIZE, focal=100.0):
    info = CameraInfo(height=size[0], width=size[1], distortion_model='plumb_bob')
    matrix = [[focal, 0, size[1] / 2 - 0.5], [0, focal, size[0] / 2 - 0.5], [0, 0, 1]]
    info.k = np.array(matrix, np.float64).ravel()
    return info


def jpeg(seed=0, size=SIZE):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 255, (9, 16, 3), np.uint8)
    pixels = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_CUBIC)
    data = cv2.imencode('.jpg', pixels)[1].tobytes()
    return CompressedImage(format='jpeg', data=array.array('B', data))


# Test files cannot import this one: they reach these through the fixture.
Tester.start = START
Tester.camera_info = staticmethod(camera_info)
Tester.camera_pose = staticmethod(camera_pose)
Tester.header = staticmethod(header_message)
Tester.jpeg = staticmethod(jpeg)
Tester.transform = staticmethod(transform)


@pytest.fixture(scope='session')
def ros(tmp_path_factory):
    """rclpy, in the domain that no other test session of this machine uses."""
    os.environ['ROS_LOG_DIR'] = str(tmp_path_factory.mktemp('ros_log'))
    use_shared_memory_profile(os.environ)
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture
def tester(ros):
    made = Tester()
    yield made
    made.close()


@pytest.fixture
def start_node(ros):
    """Start a node in this process: start_node(name=value, ...); stopped after the test."""
    from gausstr_ros.health.ros_logging import RosHandler
    from gausstr_ros.node.lifecycle_node import GaussTRNode

    running = []

    def start(activate=True, **parameters):
        values = {
            'preset': 'tiny',
            'weights': 'untrained',
            'cameras': list(CAMERAS),
            'sync.tolerance': 0.03,
            'sync.timeout': 0.15,
            'grid.range': [-20.0, -20.0, -1.0, 20.0, 20.0, 5.4],
            'diagnostics_period': 0.1,
            **parameters,
        }
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        node = GaussTRNode(parameter_overrides=overrides)
        handler = RosHandler(node.get_logger())
        handler.__enter__()
        if activate:
            node.trigger_configure()
            assert not node.fault, node.fault
            node.trigger_activate()
            assert not node.fault, node.fault
        running.append((node, SpinningThread(node), handler))
        return node

    yield start
    for node, spinning, handler in running:
        spinning.close()
        node.close()
        handler.__exit__(None, None, None)
        node.destroy_node()


@pytest.fixture
def start(start_node, tester):
    """Start a node whose map is listened to, as `start_node`, and give it transforms."""

    def start(**parameters):
        tester.listen('/gausstr/occupancy_grid', OccupancyGrid)
        node = start_node(**parameters)
        tester.wait_matched()
        tester.play_transforms()
        return node

    return start
