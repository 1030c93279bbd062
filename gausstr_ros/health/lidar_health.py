"""What is known about the health of one lidar, as a DiagnosticStatus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from diagnostic_msgs.msg import DiagnosticStatus

from gausstr_ros.health.stream_health import StreamHealth


@dataclass
class LidarHealth(StreamHealth):
    """Counters of one lidar; times in seconds of a clock that only goes forward."""

    silence: ClassVar[str] = 'no cloud on'
    losses: ClassVar[str] = 'clouds dropped'

    def refused(self, text: str) -> None:
        """Note why a cloud cannot be read."""
        self.last_error = self._news = text

    def _judged_messages(self) -> tuple[bytes, str]:
        if self._news:
            return DiagnosticStatus.ERROR, self._news
        return super()._judged_messages()
