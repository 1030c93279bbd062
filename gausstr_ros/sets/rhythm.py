"""When cameras fire, learned from their stamps: periods, phases, and who has fallen silent."""

from __future__ import annotations

import cmath
import math
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from statistics import median

# Sets in a row without a camera after which sets no longer wait for it.
SILENT_AFTER = 10
# A camera is slow, so that not every set has its image, when its period is this many times the
# others'.
SLOW = 1.5
_GAPS = 8  # between stamps, of which the shortest is the period: a lost image only makes longer
_FEWEST_GAPS = 4
_STAMPS = 16  # from which phases are learned
_FEWEST_STAMPS = 6
# How far the phases of one camera must agree, as the length of their mean on the unit circle:
# 0.8 is a scatter of a tenth of the period. Cameras that run freely have no phase.
_STEADY = 0.8


class Rhythm:
    """The streams of several cameras; stamps and periods are in nanoseconds."""

    def __init__(self, cameras: Sequence[str]) -> None:
        self._gaps: dict[str, deque[int]] = {name: deque(maxlen=_GAPS) for name in cameras}
        self._stamps: dict[str, deque[int]] = {name: deque(maxlen=_STAMPS) for name in cameras}
        self._missed = dict.fromkeys(cameras, 0)
        self._heard = 0
        self.period: int | None = None  # of most cameras, looked at once a cycle

    def restart(self) -> None:
        """The clock has jumped: no gap leads across."""
        for stamps in self._stamps.values():
            stamps.clear()

    def heard(self, camera: str, stamp: int) -> None:
        """Take the stamp of an image."""
        stamps = self._stamps[camera]
        if stamps and stamp < stamps[-1]:
            stamps.pop()  # one of the two is out of order, or was stamped wrongly
        if stamps and stamp > stamps[-1]:
            self._gaps[camera].append(stamp - stamps[-1])
        stamps.append(stamp)
        self._missed[camera] = 0
        self._heard += 1
        if self._heard % len(self._stamps) == 0:
            self.period = self._usual_period()

    def closed(self, present: Mapping[str, object]) -> None:
        """Note which cameras a set has."""
        for name in self._missed:
            self._missed[name] = 0 if name in present else self._missed[name] + 1

    def is_silent(self, camera: str) -> bool:
        """Whether nothing has come for many sets."""
        return self._missed[camera] >= SILENT_AFTER

    def may_come(self, camera: str, last: int | None, until: int) -> bool:
        """Whether to expect an image of a camera that was taken until then, after its `last`."""
        if self.is_silent(camera):
            return False
        period = self._period_of(camera)
        if last is None or period is None or self.period is None or period < SLOW * self.period:
            return True
        return last + period - period // 8 <= until

    def offsets(self, now: Mapping[str, int], good_enough: int) -> dict[str, int] | None:
        """By how much each camera fires after the first of a set, where that is steady.

        Args:
            now: offsets in force; cameras that cannot be told keep theirs.
            good_enough: spread of the stamps in a set, less the offsets in force, up to which
                these stay.

        Returns:
            None if they stay.
        """
        period, phases = self._phases()
        if len(phases) < 2:
            return None
        left_over = {name: (phase - now[name]) % period for name, phase in phases.items()}
        if period - _longest_pause(left_over, period)[1] <= good_enough:
            return None
        first = phases[_longest_pause(phases, period)[0]]  # a cycle begins after it
        learned = {name: round((phase - first) % period) for name, phase in phases.items()}
        return {**now, **learned}

    def _period_of(self, camera: str) -> int | None:
        gaps = self._gaps[camera]
        return min(gaps) if len(gaps) >= _FEWEST_GAPS else None

    def _usual_period(self) -> int | None:
        """The lower median of the periods of those that are not silent."""
        periods = sorted(
            period
            for name in self._gaps
            if not self.is_silent(name) and (period := self._period_of(name)) is not None
        )
        return periods[(len(periods) - 1) // 2] if periods else None

    def _phases(self) -> tuple[float, dict[str, float]]:
        """The period of the fastest camera, and when in it the others fire, 0 to period."""
        rates = {
            name: median(gaps)
            for name, gaps in self._gaps.items()
            if len(gaps) >= _FEWEST_GAPS and len(self._stamps[name]) >= _FEWEST_STAMPS
        }
        if not rates:
            return 1.0, {}
        reference = min(rates, key=lambda name: rates[name])
        period, beats = rates[reference], list(self._stamps[reference])
        found = {name: _phase(self._stamps[name], beats, period) for name in rates}
        return period, {name: phase for name, phase in found.items() if phase is not None}


def _phase(stamps: Sequence[int], beats: Sequence[int], period: float) -> float | None:
    """The mean time from the last beat to a stamp, 0 to period; None where it is not steady."""
    turns = [
        cmath.exp(2j * math.pi * (stamp - beats[bisect_right(beats, stamp) - 1]) / period)
        for stamp in stamps
        if beats[0] <= stamp <= beats[-1] + period
    ]
    if len(turns) < _FEWEST_STAMPS:
        return None
    mean = sum(turns) / len(turns)
    if abs(mean) < _STEADY:
        return None
    return cmath.phase(mean) / (2 * math.pi) * period % period


def _longest_pause(phases: Mapping[str, float], period: float) -> tuple[str, float]:
    """Who fires after the longest pause of the cycle, and how long it is."""
    names = sorted(phases, key=lambda name: phases[name])
    before = [phases[names[-1]] - period, *(phases[name] for name in names[:-1])]
    pauses = {name: phases[name] - last for name, last in zip(names, before, strict=True)}
    return max(pauses.items(), key=lambda item: item[1])
