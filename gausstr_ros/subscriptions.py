"""What the node listens to. The callbacks only store: they run on the executor's thread."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any

import tf2_ros
from rclpy.clock import Clock, ClockType
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from gausstr_ros.arrivals import Arrivals
from gausstr_ros.connections import unheard_publishers
from gausstr_ros.conversions import stamp_of
from gausstr_ros.diagnostics import Health
from gausstr_ros.image_sets import ImageSet
from gausstr_ros.inputs import CameraInputs, DepthPairing, ImageInputs, RigSource, Shot
from gausstr_ros.settings import CameraSettings, Settings
from gausstr_ros.synchroniser import Synchroniser

_LOGGER = logging.getLogger(__name__)

POLLS = 2  # while the timeout of a stalled stream runs


class Subscriptions:
    """Images, depth, calibrations and transforms of all cameras; sets go to `self.arrivals`."""

    def __init__(self, node: Node, settings: Settings, health: Health) -> None:
        self._node = node
        self._settings = settings
        self._health = health
        self._synchroniser: Synchroniser[Shot] = Synchroniser(settings.grouping)
        self._jumps_back = 0
        self._pairing = {name: DepthPairing() for name in settings.names}
        buffer = tf2_ros.Buffer(node=node)
        self._listener = tf2_ros.TransformListener(buffer, node)
        self._rigs = RigSource(settings, buffer)
        self.arrivals: Arrivals[Shot, ImageInputs, CameraInputs, Any] = Arrivals(
            self._rigs.image_inputs,
            self._rigs.camera_inputs,
            self._dropped,
            timeout=settings.transform_timeout,
            min_cameras=settings.min_cameras,
            cameras=len(settings.cameras),
        )
        self._subscriptions: dict[tuple[str, str], Any] = {}  # by camera and topic
        for camera in settings.cameras:
            self._subscriptions |= self._listen(camera)
        # (camera, topic) -> id of a publisher that cannot be heard -> the policy at fault
        self._unheard: dict[tuple[str, str], dict[tuple[int, ...], str]] = {}
        # Sets of a stalled stream time out on a clock that no bag stops.
        self._timer = node.create_timer(
            settings.timeout / POLLS, self._poll, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def close(self) -> None:
        """Stop listening."""
        self._node.destroy_timer(self._timer)
        for subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)
        self._listener.unregister()
        self.arrivals.close()

    def _listen(self, camera: CameraSettings) -> dict[tuple[str, str], Any]:
        kind = CompressedImage if self._settings.compressed else Image
        heard = [
            (kind, camera.image_topic, self._on_image),
            (CameraInfo, camera.camera_info_topic, self._on_info),
        ]
        if self._settings.measured_depth:
            kind = CompressedImage if camera.compressed_depth else Image
            heard.append((kind, camera.depth_topic, self._on_depth))
        reliable = self._settings.reliable
        qos = QoSProfile(
            depth=5,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        )
        return {
            (camera.name, topic): self._node.create_subscription(
                message,
                topic,
                partial(callback, camera),
                qos,
                event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
            )
            for message, topic, callback in heard
        }

    def regroup(self, settings: Settings) -> None:
        """Make sets by other limits; where these change, sets in the making go out as they are."""
        if settings.grouping != self._settings.grouping:
            self._forward(self._synchroniser.regroup(settings.grouping))
            self._timer.timer_period_ns = round(1e9 * settings.timeout / POLLS)
        self.arrivals.set_limits(settings.transform_timeout, settings.min_cameras)
        self._settings = settings

    def check(self) -> None:
        """Tell of publishers that cannot be heard, and when they are gone."""
        for (camera, topic), subscription in self._subscriptions.items():
            found = unheard_publishers(self._node, subscription)
            before = self._unheard.get((camera, topic), {})
            for policy in {found[endpoint] for endpoint in found.keys() - before}:
                text = (
                    f'{topic}: a publisher offers an incompatible {policy}, nothing is received '
                    'from it; see the parameter image_reliability'
                )
                _LOGGER.error(text)
                self._health.connection_fault(camera, topic, text)
            if before and not found:
                self._health.connected(camera, topic)
            self._unheard[camera, topic] = found

    def _on_info(self, camera: CameraSettings, message: CameraInfo) -> None:
        self._health.connected(camera.name, camera.camera_info_topic)
        self._rigs.add_info(camera.name, message)

    def _on_image(self, camera: CameraSettings, message: Image | CompressedImage) -> None:
        stamp = stamp_of(message.header)
        self._health.received(camera.name, stamp)
        self._rigs.heard(camera.name, stamp)
        if not self._settings.measured_depth:
            self._add(camera.name, Shot(message))
        elif (shot := self._pairing[camera.name].add_image(message)) is not None:
            self._add(camera.name, shot)

    def _on_depth(self, camera: CameraSettings, message: Image | CompressedImage) -> None:
        self._health.connected(camera.name, camera.depth_topic)
        if (shot := self._pairing[camera.name].add_depth(message)) is not None:
            self._add(camera.name, shot)

    def _add(self, camera: str, shot: Shot) -> None:
        stamp = stamp_of(shot.image.header)
        self._forward(self._synchroniser.add(camera, stamp, shot))
        if self._synchroniser.jumps_back > self._jumps_back:
            self._jumps_back = self._synchroniser.jumps_back
            self._forget_transforms()

    def _poll(self) -> None:
        self._forward(self._synchroniser.poll(time.monotonic_ns()))
        unpaired = {name: pairing.unpaired for name, pairing in self._pairing.items()}
        self._health.camera_drops(self._synchroniser.drops, unpaired)
        self._health.phase_offsets(self._synchroniser.offsets)
        for key, count in (
            ('clock jumps', self._synchroniser.jumps),
            ('clock jumps back', self._synchroniser.jumps_back),
            ('queue: images', len(self._synchroniser)),
            ('queue: sets', len(self.arrivals)),
        ):
            self._health.note(key, str(count))

    def _forward(self, sets: list[ImageSet[Shot]]) -> None:
        for images in sets:
            self._health.absent(images.missing)
        self.arrivals.update(sets, self._synchroniser.forming)

    def _forget_transforms(self) -> None:
        """Start a new buffer: tf2 leaves out what is older than its newest, as in a loop."""
        _LOGGER.warning('the stamps of the images jumped back: transforms start afresh')
        self._listener.unregister()
        self._rigs.buffer = tf2_ros.Buffer(node=self._node)
        self._listener = tf2_ros.TransformListener(self._rigs.buffer, self._node)

    def _dropped(self, reason: str, text: str) -> None:
        if text:
            _LOGGER.error('set dropped, %s', text)
        self._health.dropped(reason, text)
