"""The two threads that do the work: images and sets in, messages out.

One runs the foundation network, image by image as they come. The other maps and publishes the
sets that the first has encoded, meanwhile the first encodes the next one. Both halves take about
as long, and neither alone keeps two cores busy: a second torch thread makes the first half 1.3
times as fast and the second not at all.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.process.parallel import follow_torch_threads
from gausstr_core.voxels.rules import Rule
from gausstr_ros.cycle.past import Past, Remembering
from gausstr_ros.cycle.steps import (
    EncodedImage,
    EncodedSet,
    encode_images,
    encode_set,
    join_set,
    map_set,
)
from gausstr_ros.health.diagnostics import Health
from gausstr_ros.health.fault_log import FaultLog
from gausstr_ros.health.frozen_pictures import FrozenPictures
from gausstr_ros.health.stage_times import StuckError
from gausstr_ros.listening.depth_pairing import Shot
from gausstr_ros.listening.rig_source import CameraInputs, ImageInputs
from gausstr_ros.publishing.outputs import Outputs
from gausstr_ros.sets.arrivals import Arrivals
from gausstr_ros.sets.image_sets import ImageSet
from gausstr_ros.sets.waiting import BAD_INPUT, Arrived, NotReady, TakenSet, too_few
from gausstr_ros.vocabulary.in_force import VocabularyInForce

_LOGGER = logging.getLogger(__name__)

# An image that could not be encoded ahead fails with its set, as it would have then.
Part: TypeAlias = EncodedImage | Exception

FAILURE = 'failure in the pipeline'
AT_ONCE = 16  # images that an accelerator encodes together at most


@dataclass(frozen=True)
class Plan:
    """What may change from set to set; read once a set, so that all of it changes at once."""

    rule: Rule
    outputs: Outputs
    min_cameras: int  # fewest that make a set
    memory: Remembering | None = None  # by what is remembered; None: nothing is


@dataclass(frozen=True)
class _Task:
    """A set on its way from the first thread to the second."""

    arrival: float  # when the set was complete, time.monotonic()
    started: float  # when the first thread took it
    images: ImageSet[Shot]
    encoded: EncodedSet | None  # None where nobody listens
    missing: tuple[str, ...]  # cameras that the map is made without
    handed: float
    pose: NDArray[np.float64] | None  # [4, 4] fixed_from_ego; None: not known, or not wanted


class Worker:
    """Encodes images, takes the newest set that is ready, maps and publishes it, until stopped.

    Images are encoded ahead of their set only while there is room for one more set before the
    thread that maps: a machine that is too slow begins no work on sets that will be skipped.

    A set that fails is reported in /diagnostics and counted, then comes the next one.

    Args:
        arrivals: where images and sets come from.
        pipeline: the core.
        vocabulary: read once per set.
        plan: how sets are mapped; replaced by `follow`.
        wanted: names of the outputs that somebody listens to.
        publish: sends one output by name.
        short_of_memory: called when the device's memory was too small for a set.
        broken: called when a thread has come to an unforeseen end; the other one ends as well.
        health: told of everything.
        measured_depth: whether depth is measured.
        past: what is remembered.
        ego_pose: gives fixed_from_ego [4, 4] at a stamp, or raises NotReady or ValueError.
    """

    def __init__(
        self,
        arrivals: Arrivals[Shot, ImageInputs, CameraInputs, Part],
        pipeline: OccupancyPipeline,
        vocabulary: VocabularyInForce,
        plan: Plan,
        *,
        wanted: Callable[[], list[str]],
        publish: Callable[[str, Any], None],
        short_of_memory: Callable[[torch.cuda.OutOfMemoryError], None],
        broken: Callable[[Exception], None],
        health: Health,
        measured_depth: bool,
        past: Past,
        ego_pose: Callable[[int], NDArray[np.float64]],
    ) -> None:
        self._arrivals = arrivals
        self._pipeline = pipeline
        self._vocabulary = vocabulary
        self._plan = plan
        self._wanted = wanted
        self._publish = publish
        self._short_of_memory = short_of_memory
        self._broken = broken
        self._log = FaultLog(_LOGGER)
        self._health = health
        self._measured_depth = measured_depth
        self._past, self._ego_pose = past, ego_pose
        self._frozen = FrozenPictures()
        self._handed: SimpleQueue[_Task | None] = SimpleQueue()
        # one set at most lies between the threads, or those that wait there would be stale
        self._room = threading.Semaphore(1)
        self._threads = [
            threading.Thread(target=self._run, args=[work], name=f'gausstr {name}', daemon=True)
            for work, name in ((self._encode_all, 'encoding'), (self._map_all, 'mapping'))
        ]

    def start(self) -> None:
        """Start to work."""
        for thread in self._threads:
            thread.start()

    def follow(self, plan: Plan) -> None:
        """Go on by another plan from the next set on."""
        self._plan = plan

    def stop(self, timeout: float) -> None:
        """Finish the sets in work and end.

        Raises:
            StuckError: a thread has not ended within `timeout` seconds; it is left behind.
        """
        self._arrivals.close()
        end = time.monotonic() + timeout
        for thread in self._threads:
            if thread.ident is not None:  # else it could not be started
                thread.join(max(0.0, end - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            raise StuckError.of(self._health.running(), timeout)

    def _run(self, work: Callable[[], None]) -> None:
        """A thread from its start to its end, with which the other one ends."""
        follow_torch_threads()
        try:
            work()
        except Exception as error:
            _LOGGER.exception('the worker ends')
            self._broken(error)
        finally:
            self._arrivals.close()
            self._handed.put(None)
            self._room.release()

    def _encode_all(self) -> None:
        while True:
            self._room.acquire()
            taken = self._next_set()
            if taken is None:
                return
            if not self._attempt(taken.images, partial(self._encode, taken)):
                self._room.release()

    def _next_set(self) -> TakenSet[Shot, CameraInputs, Part] | None:
        """Encode images as they come until a set is ready."""
        on_cpu = self._pipeline.device.type == 'cpu'
        while True:
            taken = self._arrivals.take(lambda: bool(self._wanted()), 1 if on_cpu else AT_ONCE)
            self._health.note('queue: images encoded ahead', str(self._arrivals.encoded))
            if not isinstance(taken, list):
                return taken
            self._encode_ahead(taken)

    def _encode_ahead(self, images: list[Arrived[Shot, ImageInputs]]) -> None:
        parts: Mapping[str, Part]
        try:
            parts = encode_images(
                self._pipeline,
                {image.camera: (image.payload, image.needs) for image in images},
                measured_depth=self._measured_depth,
                watch=self._health.stage,
            )
        except Exception as error:  # its set fails with it
            _LOGGER.debug('images not encoded', exc_info=True)
            parts = dict.fromkeys((image.camera for image in images), _bare(error))
        for image in images:
            part = parts[image.camera]
            self._arrivals.keep(image, part, failed=isinstance(part, Exception))
        self._health.note('queue: images encoded ahead', str(self._arrivals.encoded))

    def _encode(self, taken: TakenSet[Shot, CameraInputs, Part]) -> None:
        started, encoded, faults = time.monotonic(), None, taken.faults
        least = self._plan.min_cameras
        self._health.prepared(taken.images.payloads, taken.faults)
        self._doubt({camera: needs.image.doubt for camera, needs in taken.inputs.items()})
        wanted = bool(self._wanted())
        # now: transforms may start afresh before the set is mapped
        pose = self._pose(taken.images.stamp) if wanted and self._plan.memory else None
        if wanted:
            parts = encode_set(
                self._pipeline,
                taken.images,
                taken.inputs,
                measured_depth=self._measured_depth,
                faults=taken.faults,
                before=_without_failures(taken.parts),
                watch=self._health.stage,
            )
            self._health.encoded(taken.early, len(taken.images.payloads))
            faults = parts.faults
            self._tell_read(taken, faults)
            self._health.depth_doubted(parts.doubts)
            self._warn(parts.doubts)
        for text in faults.values():
            self._log.note(f'set at {taken.images.stamp / 1e9:.3f} s: {text}')
        if wanted:
            encoded = join_set(parts, least)
        elif len(taken.inputs) < least:  # nobody listens, but nobody could
            raise ValueError(too_few(len(taken.inputs), least, faults))
        missing = (*taken.images.missing, *faults)
        self._handed.put(
            _Task(taken.arrival, started, taken.images, encoded, missing, time.monotonic(), pose)
        )

    def _pose(self, stamp: int) -> NDArray[np.float64] | None:
        try:
            return self._ego_pose(stamp)
        except (NotReady, ValueError) as error:
            text = f'set at {stamp / 1e9:.3f} s mapped without the memory: {error}'
            self._log.note(text, level=logging.WARNING)
            return None

    def _tell_read(
        self, taken: TakenSet[Shot, CameraInputs, Part], faults: Mapping[str, str]
    ) -> None:
        """Tell what became of the images that had all they need."""
        frozen = {
            camera: self._frozen.look(camera, taken.images.stamps[camera], shot.image.data)
            for camera, shot in taken.images.payloads.items()
        }
        self._health.read(taken.inputs, faults, frozen)

    def _doubt(self, doubts: dict[str, str]) -> None:
        self._health.doubted(doubts)
        self._warn(doubts)

    def _warn(self, doubts: Mapping[str, str]) -> None:
        for text in filter(None, doubts.values()):
            self._log.note(text, level=logging.WARNING)

    def _map_all(self) -> None:
        while (task := self._handed.get()) is not None:
            self._room.release()
            self._attempt(task.images, partial(self._map, task))

    def _map(self, task: _Task) -> None:
        begun, plan = time.monotonic(), self._plan
        names = self._wanted()
        with self._vocabulary.hold() as period:
            if task.encoded is None or not names:
                self._vocabulary.used(period, task.images.stamp)
                self._health.idle()
                return
            with self._health.stage('mapping'):
                mapped = map_set(self._pipeline, task.encoded, period.vocabulary, plan.rule)
                mapped = self._past.remember(mapped, plan.memory, task.pose)
            self._vocabulary.used(period, task.images.stamp)
        for key, value in self._past.values().items():
            self._health.note(key, value)
        done = time.monotonic()
        with self._health.stage('publishing'):
            for name, message in plan.outputs.make(names, mapped):
                self._publish(name, message)
        now = time.monotonic()
        seconds = {
            'waiting': task.started - task.arrival,
            **mapped.seconds,
            'handover': begun - task.handed,
            'publishing': now - done,
            'total': now - task.arrival,
        }
        self._health.mapped(seconds, task.missing)

    def _attempt(self, images: ImageSet[Shot], work: Callable[[], None]) -> bool:
        """Whether it went well; if not, it is reported, and the next set gets its chance."""
        try:
            work()
        except Exception as error:
            self._report(images, error)
            _bare(error)
            return False
        return True

    def _report(self, images: ImageSet[Shot], error: Exception) -> None:
        text = f'set at {images.stamp / 1e9:.3f} s not mapped'
        if isinstance(error, ValueError):
            self._log.note(f'{text}: {error}')
            self._health.dropped(BAD_INPUT, str(error))
        elif isinstance(error, torch.cuda.OutOfMemoryError):
            self._short_of_memory(error)
        else:
            what = f'{type(error).__name__}: {error}'
            self._log.note(f'{text}: {what}', error=error)
            self._health.dropped(FAILURE, what)


def _bare(error: Exception) -> Exception:
    """The error without the frames that it came through.

    They hold it and the images, which would live until the next full collection of garbage.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _without_failures(parts: Mapping[str, Part]) -> dict[str, EncodedImage]:
    """Raise what was raised when an image was encoded ahead."""
    encoded = {}
    for camera, part in parts.items():
        if isinstance(part, Exception):
            raise part
        encoded[camera] = part
    return encoded
