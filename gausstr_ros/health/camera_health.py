"""What is known about the health of one camera, as a DiagnosticStatus."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

# A camera is silent when nothing came for this long.
SILENT_AFTER = 2.0
UNUSABLE = 'cannot be used'
_SMOOTHING = 0.8


@dataclass
class CameraHealth:
    """Counters of one camera; times in seconds of a clock that only goes forward."""

    topic: str
    since: float  # when it began to be watched
    received: int = 0
    last: float | None = None
    stamp: int = 0
    period: float | None = None
    drops: Counter[str] = field(default_factory=Counter)
    # topic -> why a publisher and our subscription do not fit
    connections: dict[str, str] = field(default_factory=dict)
    absent: int = 0  # sets that went out without it
    frozen: str = ''  # how long its picture has stood still
    doubt: str = ''  # why its mount can hardly be right
    offset: float = 0.0  # phase, seconds
    fault: str = ''  # why its last image was of no use
    last_error: str = ''
    _news: str = ''  # fault since the last status
    # drops and absences in the last status
    _told: Counter[str] = field(default_factory=Counter)
    _told_absent: int = 0

    def heard(self, now: float, stamp: int) -> None:
        """Count an image."""
        if self.last is not None:
            step = now - self.last
            old = step if self.period is None else self.period
            self.period = _SMOOTHING * old + (1 - _SMOOTHING) * step
        self.connections.pop(self.topic, None)  # somebody has set it right
        self.received, self.last, self.stamp = self.received + 1, now, stamp

    def watch(self, now: float) -> None:
        """Measure age and rate afresh."""
        self.since, self.last, self.period = now, None, None
        self.fault = self.frozen = self.doubt = ''

    def read(self, fault: str, frozen: str) -> None:
        """Note why an image could not be used and whether its picture stands still, else ''."""
        self.fault, self.frozen = fault, frozen
        if fault:
            self.drops[UNUSABLE] += 1
            self.last_error = self._news = fault

    def status(self, name: str, now: float, *, used: bool, live: bool) -> DiagnosticStatus:
        """The status: a moment's fault is told once, a lasting one as long as it lasts.

        Args:
            name: of the camera.
            now: on the clock.
            used: whether anybody listens to it.
            live: whether silence is a fault.
        """
        values = {'topic': self.topic, 'received': str(self.received)}
        if self.last is not None:
            values['age [s]'] = f'{now - self.last:.2f}'
            values['stamp'] = f'{self.stamp / 1e9:.9f}'
        if self.period:
            values['rate [Hz]'] = f'{1 / self.period:.2f}'
        values['phase offset [s]'] = f'{self.offset:.4f}'
        values['sets without it'] = str(self.absent)
        values |= {f'dropped: {why}': str(n) for why, n in self.drops.items()}
        if self.last_error:
            values['last error'] = self.last_error
        level, text = DiagnosticStatus.STALE, 'not listened to: the node is not active'
        if used:
            level, text = self._judged(now, live=live)
        self._news, self._told, self._told_absent = '', self.drops.copy(), self.absent
        return status(f'gausstr: {name}', level, text, values)

    def _judged(self, now: float, *, live: bool) -> tuple[bytes, str]:
        quiet = now - (self.since if self.last is None else self.last)
        if self.connections:
            return DiagnosticStatus.ERROR, '; '.join(self.connections.values())
        if live and quiet > SILENT_AFTER:
            since = 'since the start' if self.last is None else f'for {quiet:.1f} s'
            return DiagnosticStatus.ERROR, f'no image on {self.topic} {since}'
        if self.fault or self._news:
            return DiagnosticStatus.ERROR, self.fault or self._news
        if self.doubt:
            return DiagnosticStatus.WARN, self.doubt
        if self.frozen:
            return DiagnosticStatus.WARN, self.frozen
        if dropped := self.drops - self._told:
            why = ', '.join(f'{reason} ({count})' for reason, count in dropped.items())
            return DiagnosticStatus.WARN, f'images dropped: {why}'
        if absent := self.absent - self._told_absent:
            return DiagnosticStatus.WARN, f'sets without it: {absent}'
        return DiagnosticStatus.OK, 'ok'


def status(name: str, level: bytes, text: str, values: dict[str, str]) -> DiagnosticStatus:
    """A status of this node."""
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticStatus(
        name=name, level=level, message=text, hardware_id='gausstr', values=pairs
    )
