"""How long a memory lasts, and which movements it believes."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class MemorySettings:
    """How long is remembered, and how fast a robot may move before its pose is not believed.

    Raises:
        ValueError: a value is not finite or not > 0; the message names it.
    """

    seconds: float = 10.0  # what was not seen for so long is unknown again
    half_life: float = 2.0  # seconds after which evidence counts half
    movable_seconds: float = 1.0  # as `seconds`, of categories that can drive or walk away
    max_speed: float = 40.0  # metres a second between two poses of the ego
    max_turn: float = 2.5  # radians a second between two poses of the ego

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f'memory.{field.name} must be finite and > 0, got {value}')
