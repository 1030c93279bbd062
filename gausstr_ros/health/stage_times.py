"""How long the stages of a cycle take, and which of them is stuck."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np

_CYCLES = 200  # over which percentiles are taken


class StuckError(RuntimeError):
    """Something runs that should have ended; nothing but the end of the process helps."""

    @classmethod
    def of(cls, stages: Sequence[str], timeout: float) -> StuckError:
        """The error that names the stages."""
        return cls(
            f'stage {", ".join(stages) or "unknown"} has not come to its end within {timeout:g} s '
            '(watchdog_timeout): its device is stuck, restart the process'
        )


class StageTimes:
    """Wall times of named stages, in seconds; not locked."""

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = {}
        self._running: dict[str, float] = {}  # stage -> when it began

    def took(self, seconds: Mapping[str, float]) -> None:
        """Take the times of one cycle."""
        for stage, time in seconds.items():
            self._times.setdefault(stage, deque(maxlen=_CYCLES)).append(time)

    def begin(self, stage: str, now: float) -> None:
        """Watch a stage; one thread at a time may be in it."""
        self._running[stage] = now

    def end(self, stage: str) -> None:
        """The stage came to its end."""
        self._running.pop(stage, None)

    def running(self) -> list[str]:
        """The stages that have begun and not ended."""
        return list(self._running)

    def stuck(self, now: float, limit: float) -> list[str]:
        """What to say of each stage that has run for longer than `limit`."""
        return [
            f'stage {stage} has run for {now - since:.1f} s, watchdog_timeout is {limit:g} s: its '
            'device or its memory is stuck, or the model is too large for this machine'
            for stage, since in self._running.items()
            if now - since > limit
        ]

    def values(self) -> dict[str, str]:
        """The last time of each stage, and its median and 95th percentile, in milliseconds."""
        shown = {}
        for stage, times in self._times.items():
            median, high = np.percentile(times, (50, 95))
            shown[f'{stage} [ms]'] = f'{1e3 * times[-1]:.1f}'
            shown[f'{stage} [ms] p50'] = f'{1e3 * median:.1f}'
            shown[f'{stage} [ms] p95'] = f'{1e3 * high:.1f}'
        return shown
