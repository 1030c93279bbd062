"""What is known about the health of anything that sends messages at a rate."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import ClassVar

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

# A camera or a lidar is silent when nothing came for this long.
SILENT_AFTER = 2.0
_SMOOTHING = 0.8


@dataclass
class StreamHealth:
    """Counters of one stream; times in seconds of a clock that only goes forward."""

    # what is said where nothing comes, and of what is dropped
    silence: ClassVar[str]
    losses: ClassVar[str]

    topic: str
    since: float  # when it began to be watched
    received: int = 0
    last: float | None = None
    stamp: int = 0
    # seconds by which its last message was behind the clock as it came; None: there was no clock
    behind: float | None = None
    period: float | None = None
    drops: Counter[str] = field(default_factory=Counter)
    # topic -> why a publisher and our subscription do not fit
    connections: dict[str, str] = field(default_factory=dict)
    # topic on which nothing comes -> where else something does
    hints: dict[str, str] = field(default_factory=dict)
    last_error: str = ''
    _news: str = ''  # fault since the last status
    _told: Counter[str] = field(default_factory=Counter)  # drops in the last status

    def heard(self, now: float, stamp: int, behind: float | None) -> None:
        """Count a message."""
        if self.last is not None:
            step = now - self.last
            old = step if self.period is None else self.period
            self.period = _SMOOTHING * old + (1 - _SMOOTHING) * step
        self.connections.pop(self.topic, None)  # somebody has set it right
        self.received, self.last, self.stamp = self.received + 1, now, stamp
        self.behind = behind

    def watch(self, now: float) -> None:
        """Measure age and rate afresh."""
        self.since, self.last, self.period = now, None, None
        self.hints.clear()
        self.connections.clear()

    def status(
        self, node: str, name: str, now: float, *, used: bool, live: bool
    ) -> DiagnosticStatus:
        """The status: a moment's fault is told once, a lasting one as long as it lasts.

        Args:
            node: full name of the node, without the slash that it begins with.
            name: of the stream.
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
        values |= self._own_values()
        values |= {f'dropped: {why}': str(n) for why, n in self.drops.items()}
        if self.last_error:
            values['last error'] = self.last_error
        level, text = DiagnosticStatus.STALE, 'not listened to: the node is not active'
        if used:
            level, text = self._judged(now, live=live)
        self._told_all()
        return status(node, name, level, text, values)

    def _own_values(self) -> dict[str, str]:
        """What else there is to tell of this kind of stream."""
        return {}

    def _told_all(self) -> None:
        """What is new from now on comes after the last status."""
        self._news, self._told = '', self.drops.copy()

    def _judged(self, now: float, *, live: bool) -> tuple[bytes, str]:
        quiet = now - (self.since if self.last is None else self.last)
        if self.connections:
            return DiagnosticStatus.ERROR, '; '.join(self.connections.values())
        if live and quiet > SILENT_AFTER:
            since = 'since the start' if self.last is None else f'for {quiet:.1f} s'
            hint = f': {self.hints[self.topic]}' if self.topic in self.hints else ''
            return DiagnosticStatus.ERROR, f'{self.silence} {self.topic} {since}{hint}'
        level, text = self._judged_messages()
        if level != DiagnosticStatus.OK:
            hints = [hint for topic, hint in self.hints.items() if topic != self.topic]
            text = '; '.join([text, *hints])
        return level, text

    def _judged_messages(self) -> tuple[bytes, str]:
        """What there is to say of the messages that come."""
        if dropped := self.drops - self._told:
            why = ', '.join(f'{reason} ({count})' for reason, count in dropped.items())
            return DiagnosticStatus.WARN, f'{self.losses}: {why}'
        return DiagnosticStatus.OK, 'ok'


def status(
    node: str, task: str, level: bytes, text: str, values: dict[str, str]
) -> DiagnosticStatus:
    """A status of a node, named as diagnostic_updater does, by which aggregators sort them.

    Args:
        node: full name of the node, without the slash that it begins with: two nodes of one
            name in two namespaces are two things.
        task: what the status is of.
        level, text, values: of the status.
    """
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticStatus(
        name=f'{node}: {task}', level=level, message=text, hardware_id=node, values=pairs
    )
