"""What is known about the health of one camera, as a DiagnosticStatus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from diagnostic_msgs.msg import DiagnosticStatus

from gausstr_ros.health.stream_health import StreamHealth

UNUSABLE = 'cannot be used'


@dataclass
class CameraHealth(StreamHealth):
    """Counters of one camera; times in seconds of a clock that only goes forward."""

    silence: ClassVar[str] = 'no image on'
    losses: ClassVar[str] = 'images dropped'

    absent: int = 0  # sets that went out without it
    frozen: str = ''  # how long its picture has stood still
    doubt: str = ''  # why its mount can hardly be right
    depth_doubt: str = ''  # why its measured depth can hardly be right
    offset: float = 0.0  # phase, seconds
    lacks: str = ''  # what its last image needed besides itself, and did not get
    fault: str = ''  # why its last image was of no use
    _told_absent: int = 0  # absences in the last status

    def watch(self, now: float) -> None:
        """Measure age and rate afresh."""
        super().watch(now)
        self.lacks = self.fault = self.frozen = self.doubt = self.depth_doubt = ''

    def prepared(self, lacks: str) -> None:
        """Note what an image lacks besides itself, else ''; nobody may have looked at it."""
        self.lacks = lacks
        self._useless(lacks)

    def read(self, fault: str, frozen: str) -> None:
        """Note why an image could not be used and whether its picture stands still, else ''."""
        self.fault, self.frozen = fault, frozen
        self._useless(fault)

    def _useless(self, why: str) -> None:
        if why:
            self.drops[UNUSABLE] += 1
            self.last_error = self._news = why

    def _own_values(self) -> dict[str, str]:
        return {'phase offset [s]': f'{self.offset:.4f}', 'sets without it': str(self.absent)}

    def _told_all(self) -> None:
        super()._told_all()
        self._told_absent = self.absent

    def _judged_messages(self) -> tuple[bytes, str]:
        if fault := self.lacks or self.fault or self._news:
            return DiagnosticStatus.ERROR, fault
        if doubt := self.doubt or self.depth_doubt or self.frozen:
            return DiagnosticStatus.WARN, doubt
        level, text = super()._judged_messages()
        absent = self.absent - self._told_absent
        if level == DiagnosticStatus.OK and absent:
            return DiagnosticStatus.WARN, f'sets without it: {absent}'
        return level, text
