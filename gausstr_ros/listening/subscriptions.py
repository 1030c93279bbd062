"""What the node listens to. The callbacks only store: they run on the executor's thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import tf2_ros
from rclpy.clock import Clock, ClockType
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from gausstr_core.stamps import is_time, nanoseconds
from gausstr_ros.health.diagnostics import Health
from gausstr_ros.health.fault_log import FaultLog
from gausstr_ros.listening.awaited import AwaitedTopics
from gausstr_ros.listening.connections import LATCHED, is_latched, unheard_publishers
from gausstr_ros.listening.depth_pairing import UNPAIRED, DepthPairing, Shot, drops_by_camera
from gausstr_ros.listening.rig_source import CameraInputs, ImageInputs, RigSource
from gausstr_ros.listening.transform_buffer import AFRESH, TransformBuffer
from gausstr_ros.sets.arrivals import Arrivals
from gausstr_ros.sets.clock_jumps import JUMPED
from gausstr_ros.sets.image_sets import ImageSet
from gausstr_ros.sets.synchroniser import Synchroniser
from gausstr_ros.settings.settings import CameraSettings, Settings

_LOGGER = logging.getLogger(__name__)

POLLS = 2  # while the timeout of a stalled stream runs
# Seconds beyond transform_timeout for which no look-up succeeds though newer transforms are there,
# after which those are taken for wrong.
AHEAD = 1.0


class Subscriptions:
    """Images, depth, calibrations, clouds and transforms; sets go to `self.arrivals`.

    Args:
        node: that subscribes.
        settings: of the node.
        health: told of everything.
        buffer: gets the transforms; what was static in it before still is.
        forget: called with a reason, and from which stamp on, where nothing of what was mapped
            before can be carried over.
    """

    def __init__(
        self,
        node: Node,
        settings: Settings,
        health: Health,
        buffer: TransformBuffer,
        forget: Callable[[str, int], None],
    ) -> None:
        self._node = node
        self._settings = settings
        self._health = health
        self._synchroniser: Synchroniser[Shot] = Synchroniser(settings.grouping)
        self._jumps = self._jumps_back = 0
        self._forget = forget
        self._pairing = {name: DepthPairing() for name in settings.names}
        self._faults = FaultLog(_LOGGER)
        self._transforms_forgotten = 0
        self._buffer = buffer
        self._buffer.clear()
        self._set_stamp = 0  # of the last set, nanoseconds
        self._rigs = RigSource(settings, buffer)
        self.ego_pose = self._rigs.ego_pose
        self.arrivals: Arrivals[Shot, ImageInputs, CameraInputs, Any] = Arrivals(
            self._rigs.image_inputs,
            self._rigs.camera_inputs,
            self._dropped,
            timeout=settings.transform_timeout,
            min_cameras=settings.min_cameras,
            cameras=len(settings.cameras),
            lacking=self._lacking,
        )
        self._subscriptions: dict[tuple[str, str], Any] = {}  # by stream and topic
        self._latched: dict[str, Any] = {}  # camera -> one more subscription to its CameraInfo
        # (stream, topic) -> id of a publisher that cannot be heard -> the policy at fault
        self._unheard: dict[tuple[str, str], dict[tuple[int, ...], str]] = {}
        with ExitStack() as opened:  # all of it, or nothing
            opened.callback(self.arrivals.close)
            opened.callback(tf2_ros.TransformListener(buffer, node).unregister)
            for camera in settings.cameras:
                self._listen(camera, opened)
            for lidar in settings.lidar_topics:
                on_cloud = partial(self._on_cloud, lidar)
                made = self._subscribe(PointCloud2, lidar, on_cloud, self._sensor_qos(), opened)
                self._subscriptions[lidar, lidar] = made
            self._awaited = AwaitedTopics(node, settings, self._subscriptions, health)
            # Sets of a stalled stream time out on a clock that no bag stops.
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._timer = node.create_timer(settings.timeout / POLLS, self._poll, clock=steady)
            opened.callback(node.destroy_timer, self._timer)
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Stop listening."""
        self._opened.close()

    def _listen(self, camera: CameraSettings, opened: ExitStack) -> None:
        kind = CompressedImage if self._settings.compressed else Image
        heard = [
            (kind, camera.image_topic, self._on_image),
            (CameraInfo, camera.camera_info_topic, self._on_info),
        ]
        if self._settings.depth_images:
            kind = CompressedImage if camera.compressed_depth else Image
            heard.append((kind, camera.depth_topic, self._on_depth))
        for message, topic, callback in heard:
            called = partial(callback, camera)
            made = self._subscribe(message, topic, called, self._sensor_qos(), opened)
            self._subscriptions[camera.name, topic] = made
        self._listen_to_latched(camera, opened)

    def _sensor_qos(self) -> QoSProfile:
        reliable = self._settings.reliable
        return QoSProfile(
            depth=5,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        )

    def _listen_to_latched(self, camera: CameraSettings, opened: ExitStack) -> None:
        """Hear what was sent before us as well, where a publisher of CameraInfo keeps it.

        Only there: such a subscription hears no publisher that keeps nothing, whose log would
        complain of it. What both subscriptions hear is one calibration.
        """
        topic = camera.camera_info_topic
        heard = self._subscriptions[camera.name, topic].topic_name
        if camera.name not in self._latched and is_latched(self._node, heard):
            callback = partial(self._on_info, camera, latched=True)
            made = self._subscribe(CameraInfo, topic, callback, LATCHED, opened)
            self._latched[camera.name] = made

    def _subscribe(
        self,
        kind: type,
        topic: str,
        callback: Callable[[Any], None],
        qos: QoSProfile,
        opened: ExitStack,
    ) -> Any:
        made = self._node.create_subscription(
            kind,
            topic,
            callback,
            qos,
            event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
        )
        opened.callback(self._node.destroy_subscription, made)
        return made

    def regroup(self, settings: Settings) -> None:
        """Make sets by other limits; where these change, sets in the making go out as they are."""
        if settings.grouping != self._settings.grouping:
            self._forward(self._synchroniser.regroup(settings.grouping))
            self._timer.timer_period_ns = round(1e9 * settings.timeout / POLLS)
        self.arrivals.set_limits(settings.transform_timeout, settings.min_cameras)
        self._settings = settings

    def check(self) -> None:
        """Tell of publishers that cannot be heard and of silent topics; listen to new ones."""
        for each in self._settings.cameras:
            self._listen_to_latched(each, self._opened)
        self._awaited.check()
        for (stream, topic), subscription in self._subscriptions.items():
            found = unheard_publishers(self._node, subscription)
            before = self._unheard.get((stream, topic), {})
            for policy in {found[endpoint] for endpoint in found.keys() - before}:
                text = (
                    f'{topic}: a publisher offers an incompatible {policy}, nothing is received '
                    'from it; see the parameter image_reliability'
                )
                _LOGGER.error(text)
                self._health.connection_fault(stream, topic, text)
            if before and not found:
                self._health.connected(stream, topic)
            self._unheard[stream, topic] = found

    def _on_info(
        self, camera: CameraSettings, message: CameraInfo, *, latched: bool = False
    ) -> None:
        self._health.connected(camera.name, camera.camera_info_topic)
        self._awaited.heard(camera.name, camera.camera_info_topic)
        self._rigs.add_info(camera.name, message, latched=latched)

    def _on_image(self, camera: CameraSettings, message: Image | CompressedImage) -> None:
        stamp = nanoseconds(message.header.stamp)
        self._health.received(camera.name, stamp, self._node.get_clock().now().nanoseconds)
        self._awaited.heard(camera.name, camera.image_topic)
        if not is_time(stamp):
            self._refuse(camera.name, stamp)
            return
        self._rigs.heard(camera.name, stamp)
        if not self._settings.depth_images:
            self._add(camera.name, Shot(message))
            return
        pairing = self._pairing[camera.name]
        given_up = pairing.drops[UNPAIRED]
        if (shot := pairing.add_image(message)) is not None:
            self._add(camera.name, shot)
        elif pairing.drops[UNPAIRED] > given_up:
            self._health.unpaired(
                camera.name,
                f'camera {camera.name}: no depth image with the stamp of its image has come on '
                f'{camera.depth_topic}',
            )

    def _refuse(self, camera: str, stamp: int) -> None:
        """An output could not carry such a stamp."""
        text = f'camera {camera}: the stamp of its image, {stamp / 1e9:.3f} s, is no time'
        self._faults.note(text)
        self._health.read([camera], {camera: text}, {})

    def _on_depth(self, camera: CameraSettings, message: Image | CompressedImage) -> None:
        self._health.connected(camera.name, camera.depth_topic)
        self._awaited.heard(camera.name, camera.depth_topic)
        if (shot := self._pairing[camera.name].add_depth(message)) is not None:
            self._add(camera.name, shot)

    def _on_cloud(self, lidar: str, message: PointCloud2) -> None:
        stamp = nanoseconds(message.header.stamp)
        self._health.received(lidar, stamp, self._node.get_clock().now().nanoseconds)
        self._awaited.heard(lidar, lidar)
        if refusal := self._rigs.clouds.add(lidar, message):
            self._faults.note(refusal)
            self._health.refused(lidar, refusal)

    def _add(self, camera: str, shot: Shot) -> None:
        stamp = nanoseconds(shot.image.header.stamp)
        self._forward(self._synchroniser.add(camera, stamp, shot))
        if self._synchroniser.jumps > self._jumps:
            self._jumps = self._synchroniser.jumps
            self._forget(JUMPED, stamp)
        if self._synchroniser.jumps_back > self._jumps_back:
            self._jumps_back = self._synchroniser.jumps_back
            self._forget_transforms('the stamps of the images jumped back', stamp)

    def _poll(self) -> None:
        self._forward(self._synchroniser.poll(time.monotonic_ns()))
        if self._rigs.outrun.lasts(self._settings.transform_timeout + AHEAD):
            why = 'a transform has a stamp far ahead of all images'
            self._forget_transforms(why, self._set_stamp)
        self._health.camera_drops(self._synchroniser.drops + drops_by_camera(self._pairing))
        self._health.cloud_drops(self._rigs.clouds.drops)
        self._health.phase_offsets(self._synchroniser.offsets)
        for key, count in (
            ('clock jumps', self._synchroniser.jumps),
            ('clock jumps back', self._synchroniser.jumps_back),
            (AFRESH, self._transforms_forgotten),
            ('queue: images', len(self._synchroniser)),
            ('queue: sets', len(self.arrivals)),
        ):
            self._health.note(key, str(count))

    def _forward(self, sets: list[ImageSet[Shot]]) -> None:
        for images in sets:
            self._health.absent(images.missing)
            self._set_stamp = images.stamp
        self.arrivals.update(sets, self._synchroniser.forming)

    def _forget_transforms(self, why: str, stamp: int) -> None:
        """Tf2 leaves out what is older than its newest, as in a loop; static ones stay."""
        self._faults.note(f'{why}: transforms start afresh', level=logging.WARNING)
        self._transforms_forgotten += 1
        self._buffer.start_afresh(stamp)
        self._rigs.clouds.start_afresh(stamp)
        self._rigs.outrun.start_afresh()
        self._forget(AFRESH, 0)

    def _lacking(self, cameras: Iterable[str], lacks: Mapping[str, str]) -> None:
        """Tell why a set is dropped, camera by camera."""
        self._health.prepared(cameras, lacks)
        for text in lacks.values():
            self._faults.note(f'set dropped, {text}')

    def _dropped(self, reason: str, text: str) -> None:
        self._health.dropped(reason, text)
