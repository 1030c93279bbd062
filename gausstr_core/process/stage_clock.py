"""How long the stages of a cycle take."""

from __future__ import annotations

import time

import torch


class StageClock:
    """Wall time between laps; waits for the device so that a stage pays for its own work.

    Args:
        device: where the stages run. Only this one is waited for: another may be another
            process's or the display's, and work on the CPU is done when it returns.
    """

    def __init__(self, device: torch.device | str = 'cpu') -> None:
        self.seconds: dict[str, float] = {}  # by stage
        self._device = torch.device(device)
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Charge the time since the last lap to a stage."""
        if self._device.type == 'cuda':
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now
