"""What the node knows about its own health, as a DiagnosticArray."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from gausstr_core.process.memory import peak_memory, resident_memory
from gausstr_ros.health.camera_health import CameraHealth
from gausstr_ros.health.clock_check import clock_status
from gausstr_ros.health.lidar_health import LidarHealth
from gausstr_ros.health.stage_times import StageTimes
from gausstr_ros.health.stream_health import SILENT_AFTER, StreamHealth, status
from gausstr_ros.health.throughput import Throughput
from gausstr_ros.messages.stamps import header_message
from gausstr_ros.sets.waiting import SUPERSEDED
from gausstr_ros.settings.settings import Settings

_MAX_TEXT = 1000
_FOR_LIFE = {'transitions refused'}  # values that outlive a configuration
NODE = 'gausstr'  # of whoever has no graph, such as a replay
REPLAY = 'replay'  # in place of a state of the lifecycle


class Health:
    """Counters that the executor and the worker fill; one lock, held for moments.

    Args:
        clock: seconds that only go forward; ages and rates are measured on it.
        node: full name of the node, such as /robot/gausstr.
        measured: whether to tell what no two runs have in common: stage times and memory.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        node: str = f'/{NODE}',
        measured: bool = True,
    ) -> None:
        self._clock, self._measured = clock, measured
        self._node = node.removeprefix('/')
        self._lock = threading.Lock()
        self._cameras: dict[str, CameraHealth] = {}
        self._lidars: dict[str, LidarHealth] = {}  # by topic
        self._streams: dict[str, StreamHealth] = {}  # both
        self._values: dict[str, str] = {}
        self._state = 'unconfigured'
        self._watchdog = float('inf')
        self._transition: tuple[str, float] | None = None  # name, and when it began
        self._restart()

    def _restart(self) -> None:
        self._sets: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._stage_times = StageTimes()
        self._throughput = Throughput()
        self._errors: list[str] = []  # since the last message
        self._warnings: list[str] = []
        self._last_error = ''
        self._unmapped = ''  # why the last set was not mapped; '' where it was
        self._lowered = self._halted = ''

    def configured(self, settings: Settings) -> None:
        """Start counting afresh for these cameras and lidars."""
        now = self._clock()
        with self._lock:
            self._restart()
            self._cameras = {c.name: CameraHealth(c.image_topic, now) for c in settings.cameras}
            self._lidars = {topic: LidarHealth(topic, now) for topic in settings.lidar_topics}
            self._streams = {**self._cameras, **self._lidars}
            kept = {key: self._values[key] for key in _FOR_LIFE & self._values.keys()}
            self._values = {'device': settings.device, 'preset': settings.preset, **kept}

    def watch(self, timeout: float) -> None:
        """From now on a stage may run for so many seconds."""
        with self._lock:
            self._watchdog = timeout

    def state(self, name: str) -> None:
        """Note the state of the lifecycle; what is heard is watched from `active` on."""
        now = self._clock()
        with self._lock:
            self._state = name
            self._unmapped = ''
            if name == 'active':
                self._halted = ''
            for stream in self._streams.values():
                stream.watch(now)

    @contextmanager
    def transition(self, name: str) -> Iterator[None]:
        """Tell of a transition of the lifecycle while it runs."""
        with self._lock:
            self._transition = name, self._clock()
        try:
            yield
        finally:
            with self._lock:
                self._transition = None
                self._values.pop('configure is', None)

    def note(self, key: str, value: str) -> None:
        """Show a value under the pipeline's status."""
        with self._lock:
            self._values[key] = value

    def received(self, stream: str, stamp: int, clock: int = 0) -> None:
        """Count an image or a cloud.

        Args:
            stream: camera, or topic of a lidar, as wherever a stream is asked for.
            stamp: of the message, in nanoseconds.
            clock: ROS time as it came, in nanoseconds; 0: there is none.
        """
        now = self._clock()
        behind = (clock - stamp) / 1e9 if clock else None
        with self._lock:
            self._streams[stream].heard(now, stamp, behind)

    def refused(self, lidar: str, text: str) -> None:
        """Note why a cloud cannot be read."""
        with self._lock:
            self._lidars[lidar].refused(text)

    def cloud_drops(self, drops: Counter[tuple[str, str]]) -> None:
        """Set the counts of clouds dropped, (topic, reason)."""
        with self._lock:
            for (lidar, reason), count in drops.items():
                self._lidars[lidar].drops[reason] = count

    def absent(self, cameras: Iterable[str]) -> None:
        """Note which cameras a set went out without, whether it will be mapped or not."""
        with self._lock:
            for camera in cameras:
                self._cameras[camera].absent += 1

    def prepared(self, cameras: Iterable[str], lacks: Mapping[str, str]) -> None:
        """Note which cameras of a set lack what an image needs besides itself, and why."""
        with self._lock:
            for camera in cameras:
                self._cameras[camera].prepared(lacks.get(camera, '')[:_MAX_TEXT])

    def unpaired(self, camera: str, text: str) -> None:
        """Note that a camera's image was given up, as its depth has not come."""
        with self._lock:
            self._cameras[camera].lacks = self._cameras[camera].last_error = text

    def read(
        self, cameras: Iterable[str], faults: Mapping[str, str], frozen: Mapping[str, str]
    ) -> None:
        """Note why some images of a set could not be used, and whose picture stands still."""
        with self._lock:
            for camera in cameras:
                fault = faults.get(camera, '')[:_MAX_TEXT]
                self._cameras[camera].read(fault, frozen.get(camera, ''))

    def doubted(self, doubts: Mapping[str, str]) -> None:
        """Note of some cameras why their mounts can hardly be right, else ''."""
        with self._lock:
            for camera, text in doubts.items():
                self._cameras[camera].doubt = text

    def depth_doubted(self, doubts: Mapping[str, str]) -> None:
        """Note of some cameras why their measured depth can hardly be right, else ''."""
        with self._lock:
            for camera, text in doubts.items():
                self._cameras[camera].depth_doubt = text

    def camera_drops(self, drops: Counter[tuple[str, str]]) -> None:
        """Set the counts of images dropped before they were in a set, (camera, reason)."""
        with self._lock:
            for (camera, reason), count in drops.items():
                self._cameras[camera].drops[reason] = count

    def phase_offsets(self, offsets: Mapping[str, float]) -> None:
        """Note by how many seconds each camera fires after the first; given or learned."""
        with self._lock:
            for camera, offset in offsets.items():
                self._cameras[camera].offset = offset

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Watch what runs inside: longer than watchdog_timeout is an error."""
        now = self._clock()
        with self._lock:
            self._stage_times.begin(name, now)
        try:
            yield
        finally:
            with self._lock:
                self._stage_times.end(name)

    def running(self) -> list[str]:
        """The stages that have begun and not ended."""
        with self._lock:
            return self._stage_times.running()

    def lowered(self, text: str) -> None:
        """Note that the node does less than it was asked to, until it is configured anew."""
        with self._lock:
            self._lowered = text
            self._warnings.append(text)

    def halted(self, text: str) -> None:
        """Note that the node does nothing any more, until it is activated anew."""
        with self._lock:
            self._halted = self._last_error = text[:_MAX_TEXT]

    def unheard(self, output: str, text: str) -> None:
        """Note that a subscription and our publisher do not fit."""
        with self._lock:
            self._values[f'QoS: {output}'] = text
            self._warnings.append(text)

    def heard_again(self, output: str) -> None:
        """Note that every subscription to an output can be served."""
        with self._lock:
            self._values.pop(f'QoS: {output}', None)

    def connected(self, stream: str, topic: str) -> None:
        """Note that a topic is heard, or that no publisher is left that does not fit."""
        # without the lock: this is called with each message
        if topic in self._streams[stream].connections:
            with self._lock:
                self._streams[stream].connections.pop(topic, None)

    def connection_fault(self, stream: str, topic: str, text: str) -> None:
        """Note that a publisher and our subscription do not fit."""
        with self._lock:
            self._streams[stream].connections[topic] = text
            self._streams[stream].last_error = text

    def hint(self, stream: str, topic: str, text: str) -> None:
        """Note where something comes that nobody sends on a topic; '' where all is well."""
        with self._lock:
            hints = self._streams[stream].hints
            if text:
                hints[topic] = text
            else:
                hints.pop(topic, None)

    def dropped(self, reason: str, text: str) -> None:
        """Count a set that was not mapped; with a text it is an error until one is mapped."""
        with self._lock:
            self._dropped[reason] += 1
            if reason == SUPERSEDED:
                self._throughput.skipped()
            if text:
                self._errors.append(text[:_MAX_TEXT])
                self._last_error = self._unmapped = text[:_MAX_TEXT]

    def encoded(self, early: int, images: int) -> None:
        """Note how many of the images of a set were encoded before the set was complete."""
        with self._lock:
            self._throughput.encoded(early, images)

    def failed(self, text: str) -> None:
        """Note an error that belongs to no set."""
        with self._lock:
            self._errors.append(text[:_MAX_TEXT])
            self._last_error = text[:_MAX_TEXT]

    def mapped(self, seconds: dict[str, float], missing: tuple[str, ...]) -> None:
        """Count a set that was mapped, with the time of its stages."""
        with self._lock:
            self._unmapped = ''
            self._sets['complete' if not missing else 'partial'] += 1
            self._throughput.mapped()
            self._stage_times.took(seconds)
            if missing:
                self._warnings.append(f'a set without {", ".join(missing)}')

    def idle(self) -> None:
        """Count a set that was not mapped because nobody listens."""
        with self._lock:
            self._unmapped = ''
            self._sets['unwanted (nobody listens)'] += 1

    def message(self, stamp: int, *, sim_time: bool | None = None) -> DiagnosticArray:
        """All statuses; errors and warnings are those since the last call.

        Args:
            stamp: ROS time in nanoseconds.
            sim_time: whether that is simulated; None: of a bag, which has no clock to compare.
        """
        now = self._clock()
        with self._lock:
            statuses = [self._pipeline_status(now)]
            if sim_time is not None:
                behind = self._behind_clock()
                statuses.append(clock_status(self._node, stamp, behind, sim_time=sim_time))
            live = self._state == 'active'
            used = live or self._state == REPLAY
            for name, camera in self._cameras.items():
                statuses.append(camera.status(self._node, name, now, used=used, live=live))
            for topic, lidar in self._lidars.items():
                name = f'lidar {topic}'
                statuses.append(lidar.status(self._node, name, now, used=used, live=live))
            self._errors, self._warnings = [], []
        return DiagnosticArray(header=header_message(stamp, ''), status=statuses)

    def _behind_clock(self) -> float | None:
        """How far the images were behind the clock as they came, of the least late camera."""
        heard = [(c.last, c.behind) for c in self._cameras.values() if c.last is not None]
        newest = max((last for last, _ in heard), default=0.0)
        # not of one that has stopped: its clock may have been set right since
        lately = [behind for last, behind in heard if last >= newest - SILENT_AFTER]
        return min((behind for behind in lately if behind is not None), default=None)

    def _pipeline_status(self, now: float) -> DiagnosticStatus:
        stuck = self._stage_times.stuck(now, self._watchdog)
        under_way = ''
        if self._transition is not None:
            name, since = self._transition
            under_way = f'{name} has run for {now - since:.1f} s'
            if now - since > self._watchdog:
                stuck.append(
                    f'{under_way}, watchdog_timeout is {self._watchdog:g} s: the device is stuck, '
                    'or weights are still being fetched'
                )
        if stuck and not self._halted:
            self._last_error = stuck[-1]
        level, text = DiagnosticStatus.OK, under_way or self._state
        if self._halted:
            level, text = DiagnosticStatus.ERROR, self._halted
        elif stuck:
            level, text = DiagnosticStatus.ERROR, '; '.join(stuck)
        elif self._errors:
            more = f' (and {len(self._errors) - 1} more)' if len(self._errors) > 1 else ''
            level, text = DiagnosticStatus.ERROR, self._errors[-1] + more
        elif self._unmapped:
            level, text = DiagnosticStatus.ERROR, self._unmapped
        elif self._warnings:
            level, text = DiagnosticStatus.WARN, self._warnings[-1]
        elif self._lowered:
            level, text = DiagnosticStatus.WARN, self._lowered
        return status(self._node, 'pipeline', level, text, self._pipeline_values())

    def _pipeline_values(self) -> dict[str, str]:
        values = {'state': self._state, **self._values}
        values |= {f'sets {kind}': str(count) for kind, count in self._sets.items()}
        values |= {f'sets dropped: {why}': str(n) for why, n in self._dropped.items()}
        values |= self._throughput.values()
        if self._measured:
            values |= self._stage_times.values()
            values |= _memory(values.get('device', 'cpu'))
        if self._last_error:
            values['last error'] = self._last_error
        return values


def _memory(device: str) -> dict[str, str]:
    values = {'resident memory [MiB]': f'{resident_memory() / 2**20:.0f}'}
    values['peak memory'] = peak_memory(device)
    if device.startswith('cuda') and torch.cuda.is_available():
        values['device memory [MiB]'] = f'{torch.cuda.memory_allocated(device) / 2**20:.0f}'
    return values
