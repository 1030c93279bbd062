"""The node's work on the messages of a bag, one after the other, without a graph."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import tf2_ros
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from gausstr_core.stamps import nanoseconds
from gausstr_ros.cycle.build import build_pipeline, remembering_in_force, rule_in_force
from gausstr_ros.cycle.past import Past
from gausstr_ros.cycle.steps import encode_set, join_set, map_set
from gausstr_ros.health.diagnostics import REPLAY, Health
from gausstr_ros.health.fault_log import FaultLog
from gausstr_ros.health.stage_times import StageTimes
from gausstr_ros.listening.depth_pairing import DepthPairing, Shot, drops_by_camera
from gausstr_ros.listening.rig_source import CameraInputs, RigSource
from gausstr_ros.messages.serialised import serialised
from gausstr_ros.publishing.outputs import Outputs
from gausstr_ros.replay.journal import Journal, StoredSet
from gausstr_ros.sets.clock_jumps import JUMPED
from gausstr_ros.sets.image_sets import ImageSet
from gausstr_ros.sets.synchroniser import Synchroniser
from gausstr_ros.sets.waiting import BAD_INPUT, NotReady, WaitingSet
from gausstr_ros.settings.settings import Settings

_LOGGER = logging.getLogger(__name__)

# Seconds of work after which what is remembered is written down: up to 30 MB, a third of a second.
KEEP_EVERY = 10.0


class Replay:
    """The node without a graph: messages in by topic, results of sets out.

    Args:
        settings: as of the node.
        buffer: all transforms of the bag.
        names: outputs to make.
        journal: results of an earlier run, which are not made again; the new ones are added.
    """

    def __init__(
        self, settings: Settings, buffer: tf2_ros.Buffer, names: Sequence[str], journal: Journal
    ) -> None:
        self.settings = settings
        self._outputs = Outputs(settings)
        self._names = list(names)
        self._journal = journal
        self._pipeline = build_pipeline(settings)
        self._rule = rule_in_force(self._pipeline, settings)
        self._memory = remembering_in_force(self._pipeline, settings, self._rule)
        self._past = Past()
        if self._memory is not None:
            self._take_up_memory()
        self._kept = time.monotonic()  # when what is remembered was written down
        self._jumps = 0
        self.vocabulary = self._pipeline.load_vocabulary(settings.vocabulary_file or None)
        self._now = 0  # of the bag, nanoseconds
        # what differs from run to run would make a bag of each run another one
        self.health = Health(clock=lambda: self._now / 1e9, measured=False)
        self.stage_times = StageTimes()
        self.health.configured(settings)
        self.health.state(REPLAY)
        self.health.note('vocabulary', self.vocabulary.id)
        self.mapped = 0
        self._log = FaultLog(_LOGGER)
        self._rigs = RigSource(settings, buffer)
        self._synchroniser: Synchroniser[Shot] = Synchroniser(settings.grouping)
        self._pairing = {name: DepthPairing() for name in settings.names}
        self._pending: list[tuple[int, WaitingSet[Shot, CameraInputs]]] = []  # number, set
        self._count = 0
        # several to a topic: two cameras may share their CameraInfo, or their depth
        self._handlers: dict[str, list[tuple[type, Callable[..., None]]]] = defaultdict(list)
        image = CompressedImage if settings.compressed else Image
        for camera in settings.cameras:
            name = camera.name
            self._handlers[camera.image_topic].append((image, partial(self._on_image, name)))
            self._handlers[camera.camera_info_topic].append(
                (CameraInfo, partial(self._rigs.add_info, name))
            )
            if settings.depth_images:
                depth = CompressedImage if camera.compressed_depth else Image
                self._handlers[camera.depth_topic].append((depth, partial(self._on_depth, name)))
        for topic in settings.lidar_topics:
            self._handlers[topic].append((PointCloud2, partial(self._on_cloud, topic)))

    def feed(
        self, topic: str, raw: bytes, now: int, *, latched: bool = False
    ) -> Iterator[tuple[int, StoredSet]]:
        """Take one message of the bag at the bag's time; yields stamp and result of ready sets."""
        self._now = max(self._now, now)
        if topic not in self._handlers:
            return
        for kind, handle in self._handlers[topic]:
            try:
                content = deserialize_message(raw, kind)
            except Exception as error:  # RMWError, which rclpy does not export
                text = f'{topic}, recorded at {now} ns: damaged {kind.__name__}: {error}'
                self._log.note(text)
                self.health.failed(text)
                continue
            if kind is CameraInfo:
                handle(content, latched=latched)
            else:
                handle(content)
        yield from self._map_ready(self.settings.transform_timeout)

    def finish(self) -> Iterator[tuple[int, StoredSet]]:
        """Yield the sets that are left at the end of the bag."""
        self._rigs.clouds.end()
        self._queue(self._synchroniser.flush())
        yield from self._map_ready(0.0)

    def report(self, stamp: int) -> DiagnosticArray:
        """The diagnostics so far."""
        self.health.camera_drops(self._synchroniser.drops + drops_by_camera(self._pairing))
        self.health.cloud_drops(self._rigs.clouds.drops)
        self.health.phase_offsets(self._synchroniser.offsets)
        return self.health.message(stamp)

    def _on_image(self, camera: str, message: Image | CompressedImage) -> None:
        stamp = nanoseconds(message.header.stamp)
        self.health.received(camera, stamp)
        self._rigs.heard(camera, stamp)
        if not self.settings.depth_images:
            self._add(camera, Shot(message))
        else:
            self._add(camera, self._pairing[camera].add_image(message))

    def _on_depth(self, camera: str, message: Image | CompressedImage) -> None:
        self._add(camera, self._pairing[camera].add_depth(message))

    def _on_cloud(self, topic: str, message: PointCloud2) -> None:
        self.health.received(topic, nanoseconds(message.header.stamp))
        if refusal := self._rigs.clouds.add(topic, message):
            self._log.note(refusal)
            self.health.refused(topic, refusal)

    def _add(self, camera: str, shot: Shot | None) -> None:
        if shot is not None:
            stamp = nanoseconds(shot.image.header.stamp)
            self._queue(self._synchroniser.add(camera, stamp, shot))
            if self._synchroniser.jumps > self._jumps:
                self._jumps = self._synchroniser.jumps
                self._past.forget(JUMPED, stamp)

    def _queue(self, sets: list[ImageSet[Shot]]) -> None:
        for images in sets:
            self.health.absent(images.missing)
            self._pending.append((self._count, WaitingSet(images, self._now / 1e9)))
            self._count += 1

    def _map_ready(self, patience: float) -> Iterator[tuple[int, StoredSet]]:
        """Map what has its calibration; go on without what has not come in `patience` seconds."""
        still = []
        for number, entry in self._pending:
            try:
                patient = self._now / 1e9 - entry.since < patience
                if not entry.gather(
                    self._rigs.camera_inputs,
                    lambda *_, patient=patient: patient,
                    self.settings.min_cameras,
                ):
                    still.append((number, entry))
                    continue
                result = self._result(number, entry)
            except NotReady as error:
                self.health.prepared(entry.images.payloads, entry.faults)
                self._drop(entry.images, error.reason, error)
            except ValueError as error:
                self._drop(entry.images, BAD_INPUT, error)
            else:
                self.mapped += 1
                self.stage_times.took(result.seconds)
                self.health.mapped(result.seconds, (*entry.images.missing, *result.faults))
                yield entry.images.stamp, result
        self._pending = still

    def _result(self, number: int, entry: WaitingSet[Shot, CameraInputs]) -> StoredSet:
        stamp = entry.images.stamp
        doubts = {camera: needs.image.doubt for camera, needs in entry.inputs.items()}
        self.health.doubted(doubts)
        self._warn(doubts)
        result = self._journal.find(number, stamp)
        self.health.prepared(entry.images.payloads, entry.faults)
        if result is None:
            result = self._map(entry)
            self._journal.add(number, stamp, result)
            self._keep_memory()
        else:
            self.health.read(entry.inputs, result.faults, {})
            self._past.skip(stamp)
        for key, value in result.notes.items():
            self.health.note(key, value)
        self.health.depth_doubted(result.doubts)
        self._warn(result.doubts)
        return result

    def _warn(self, doubts: Mapping[str, str]) -> None:
        for text in filter(None, doubts.values()):
            self._log.note(text, level=logging.WARNING)

    def _map(self, entry: WaitingSet[Shot, CameraInputs]) -> StoredSet:
        images = encode_set(
            self._pipeline,
            entry.images,
            entry.inputs,
            measured_depth=self.settings.measured_depth,
            faults=entry.faults,
        )
        self.health.read(entry.inputs, images.faults, {})
        encoded = join_set(images, self.settings.min_cameras)
        mapped = map_set(self._pipeline, encoded, self.vocabulary, self._rule)
        mapped = self._past.remember(mapped, self._memory, self._pose(encoded.stamp))
        messages = [
            (name, message if isinstance(message, bytes) else serialised(message))
            for name, message in self._outputs.make(self._names, mapped)
        ]
        notes = self._past.values()
        return StoredSet(mapped.seconds, messages, images.faults, images.doubts, notes)

    def _pose(self, stamp: int) -> NDArray[np.float64] | None:
        """fixed_from_ego [4, 4]; None where it is not known, or not wanted."""
        if self._memory is None:
            return None
        try:
            return self._rigs.ego_pose(stamp)
        except (NotReady, ValueError) as error:
            text = f'set at {stamp / 1e9:.3f} s mapped without the memory: {error}'
            self._log.note(text, level=logging.WARNING)
            return None

    def _take_up_memory(self) -> None:
        """Go on with what an earlier run remembered, or map everything again."""
        assert self._memory is not None
        try:
            if arrays := self._journal.memory():
                self._past.restore(arrays, self._memory, self._pipeline.grid)
        except ValueError as error:
            _LOGGER.warning('%s: all sets are mapped again', error)
            self._journal.begin_anew()

    def _keep_memory(self) -> None:
        if self._memory is not None and time.monotonic() - self._kept >= KEEP_EVERY:
            self._journal.keep_memory(self._past.state())
            self._kept = time.monotonic()

    def _drop(self, images: ImageSet[Shot], reason: str, error: Exception) -> None:
        self._log.note(f'set at {images.stamp / 1e9:.3f} s not mapped: {error}')
        self.health.dropped(reason, str(error))
