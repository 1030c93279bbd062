"""What the node knows about its own health, as a DiagnosticArray."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from gausstr_core.memory import peak_memory
from gausstr_ros.conversions import header_message
from gausstr_ros.settings import Settings

# A camera is silent when nothing came for this long.
SILENT_AFTER = 2.0
_SMOOTHING = 0.8
_MAX_TEXT = 1000


@dataclass
class _Camera:
    topic: str
    since: float
    received: int = 0
    last: float | None = None
    stamp: int = 0
    period: float | None = None
    drops: Counter[str] = field(default_factory=Counter)
    fault: str = ''  # of its connection


class Health:
    """Counters that the executor and the worker fill; one lock, held for moments.

    Args:
        clock: seconds that only go forward; ages and rates are measured on it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._cameras: dict[str, _Camera] = {}
        self._values: dict[str, str] = {}
        self._state = 'unconfigured'
        self._restart()

    def _restart(self) -> None:
        self._sets: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._seconds: dict[str, float] = {}
        self._errors: list[str] = []  # since the last message
        self._warnings: list[str] = []
        self._last_error = ''

    def configured(self, settings: Settings) -> None:
        """Start counting afresh for these cameras."""
        now = self._clock()
        with self._lock:
            self._restart()
            self._cameras = {c.name: _Camera(c.image_topic, now) for c in settings.cameras}
            self._values = {'device': settings.device, 'preset': settings.preset}

    def state(self, name: str) -> None:
        """Note the state of the lifecycle; cameras are watched from `active` on."""
        now = self._clock()
        with self._lock:
            self._state = name
            for camera in self._cameras.values():
                camera.since, camera.last, camera.period = now, None, None

    def note(self, key: str, value: str) -> None:
        """Show a value under the pipeline's status."""
        with self._lock:
            self._values[key] = value

    def received(self, camera: str, stamp: int) -> None:
        """Count an image."""
        now = self._clock()
        with self._lock:
            entry = self._cameras[camera]
            if entry.last is not None:
                step = now - entry.last
                old = step if entry.period is None else entry.period
                entry.period = _SMOOTHING * old + (1 - _SMOOTHING) * step
            entry.received, entry.last, entry.stamp = entry.received + 1, now, stamp

    def camera_drops(self, drops: Counter[tuple[str, str]], unpaired: dict[str, int]) -> None:
        """Set the counts of images dropped before they were in a set, (camera, reason)."""
        with self._lock:
            for (camera, reason), count in drops.items():
                self._cameras[camera].drops[reason] = count
            for camera, count in unpaired.items():
                if count:
                    self._cameras[camera].drops['no depth image with its stamp'] = count

    def connection_fault(self, camera: str, text: str) -> None:
        """Note that a publisher and our subscription do not fit."""
        with self._lock:
            self._cameras[camera].fault = text

    def dropped(self, reason: str, text: str) -> None:
        """Count a set that was not mapped; with a text it is an error."""
        with self._lock:
            self._dropped[reason] += 1
            if text:
                self._errors.append(text[:_MAX_TEXT])
                self._last_error = text[:_MAX_TEXT]

    def failed(self, text: str) -> None:
        """Note an error that belongs to no set."""
        with self._lock:
            self._errors.append(text[:_MAX_TEXT])
            self._last_error = text[:_MAX_TEXT]

    def mapped(self, seconds: dict[str, float], missing: tuple[str, ...]) -> None:
        """Count a set that was mapped, with the time of its stages."""
        with self._lock:
            self._sets['complete' if not missing else 'partial'] += 1
            self._seconds = dict(seconds)
            if missing:
                self._warnings.append(f'a set without {", ".join(missing)}')

    def idle(self) -> None:
        """Count a set that was not mapped because nobody listens."""
        with self._lock:
            self._sets['unwanted (nobody listens)'] += 1

    def message(self, stamp: int) -> DiagnosticArray:
        """All statuses; errors and warnings are those since the last call."""
        now = self._clock()
        with self._lock:
            statuses = [self._pipeline_status()]
            statuses += [self._camera_status(n, c, now) for n, c in self._cameras.items()]
            self._errors, self._warnings = [], []
        return DiagnosticArray(header=header_message(stamp, ''), status=statuses)

    def _pipeline_status(self) -> DiagnosticStatus:
        values = {'state': self._state, **self._values}
        values |= {f'sets {kind}': str(count) for kind, count in self._sets.items()}
        values |= {f'sets dropped: {why}': str(n) for why, n in self._dropped.items()}
        values |= {f'{stage} [ms]': f'{1e3 * s:.1f}' for stage, s in self._seconds.items()}
        values['peak memory'] = peak_memory(values.get('device', 'cpu'))
        if values.get('device', 'cpu').startswith('cuda') and torch.cuda.is_available():
            used = torch.cuda.memory_allocated(values['device']) / 2**20
            values['device memory [MiB]'] = f'{used:.0f}'
        if self._last_error:
            values['last error'] = self._last_error
        level, text = DiagnosticStatus.OK, self._state
        if self._errors:
            more = f' (and {len(self._errors) - 1} more)' if len(self._errors) > 1 else ''
            level, text = DiagnosticStatus.ERROR, self._errors[-1] + more
        elif self._warnings:
            level, text = DiagnosticStatus.WARN, self._warnings[-1]
        return _status('gausstr: pipeline', level, text, values)

    def _camera_status(self, name: str, camera: _Camera, now: float) -> DiagnosticStatus:
        values = {'topic': camera.topic, 'received': str(camera.received)}
        if camera.last is not None:
            values['age [s]'] = f'{now - camera.last:.2f}'
            values['stamp'] = f'{camera.stamp / 1e9:.9f}'
        if camera.period:
            values['rate [Hz]'] = f'{1 / camera.period:.2f}'
        values |= {f'dropped: {why}': str(n) for why, n in camera.drops.items()}
        level, text = DiagnosticStatus.OK, 'ok'
        quiet = now - (camera.since if camera.last is None else camera.last)
        if self._state == 'active' and quiet > SILENT_AFTER:
            level = DiagnosticStatus.ERROR
            since = 'since the start' if camera.last is None else f'for {quiet:.1f} s'
            text = f'no image on {camera.topic} {since}'
        if camera.fault:
            level, text = DiagnosticStatus.ERROR, camera.fault
        return _status(f'gausstr: {name}', level, text, values)


def _status(name: str, level: bytes, text: str, values: dict[str, str]) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticStatus(
        name=name, level=level, message=text, hardware_id='gausstr', values=pairs
    )
