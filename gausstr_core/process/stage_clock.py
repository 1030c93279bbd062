"""How long the stages of a cycle take."""

from __future__ import annotations

import time

import torch


class StageClock:
    """Wall time between laps; waits for the device so that a stage pays for its own work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}  # by stage
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Charge the time since the last lap to a stage."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now
