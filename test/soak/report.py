"""The figures of a soak, and whether they are good enough."""

from __future__ import annotations

import os
from statistics import median

import numpy as np
from soak import Outcome, Soak

VISIBLE_WITHIN = 1.0  # seconds
# While these last no complete set exists: a map that passes for one would show a blind check.
BLINDING = ('freeze (silent)', 'zero-byte image', 'truncated image', 'NaN intrinsics')
_MIB = 2**20


def growth(soak: Soak) -> tuple[float, float, float]:
    """Bytes after the warm-up and at the end, medians of a tenth of the run each, and the rise.

    The warm-up is the first round of faults, or a third of a run that is too short for two.
    """
    sizes = [size for _, size in soak.samples]
    first = len(sizes) * min(1 / 3, soak.count / max(1, len(soak.outcomes)))
    span = max(5, len(sizes) // 10)
    begin = median(sizes[int(first) : int(first) + span])
    end = median(sizes[-span:])
    return begin, end, end / begin - 1


def tenths(soak: Soak) -> list[float]:
    """Median bytes of each tenth of the run: a leak goes on, a heap comes to its size."""
    parts = np.array_split([size for _, size in soak.samples], 10)
    return [float(np.median(part)) for part in parts if len(part)]


def table(soak: Soak, seconds: float, maps: int, cycles: int) -> str:
    """One line per fault, worst values, then the run."""
    lines = [f'{"fault":20} {"times":>5} {"visible s":>10} {"right again after":>18}']
    for name, group in _grouped(soak.outcomes).items():
        lines.append(
            f'{name:20} {len(group):5} {_worst([o.visible for o in group], ".2f"):>10} '
            f'{_worst([o.recovered for o in group], "d"):>11} cycles'
        )
    begin, end, rise = growth(soak)
    lines += [
        f'{seconds:.0f} s, {cycles} cycles, {maps} maps, load {os.getloadavg()[0]:.1f} on '
        f'{os.cpu_count()} cores',
        f'resident memory {begin / _MIB:.0f} -> {end / _MIB:.0f} MiB ({100 * rise:+.2f} %), tenth '
        f'by tenth {" ".join(f"{size / _MIB:.0f}" for size in tenths(soak))}',
    ]
    return '\n'.join(lines)


def judge(soak: Soak, exceptions: int, status: int, cycles: int, limit: float) -> list[str]:
    """What is not as it must be.

    Args:
        soak: the run.
        exceptions, status: of the node's process.
        cycles: after how many the output must be right.
        limit: share by which its memory may grow.
    """
    wrong = []
    if exceptions or status:
        wrong.append(f'{exceptions} exceptions out of the node, exit status {status}')
    for o in soak.outcomes:
        where = f'{o.fault.name} ({o.camera})'
        if o.visible is None or o.visible > VISIBLE_WITHIN:
            wrong.append(f'{where}: visible after {o.visible} s')
        if o.recovered is None or o.recovered > cycles or o.shown:
            wrong.append(f'{where}: right again after {o.recovered} cycles {o.shown}')
        if o.fault.name in BLINDING and o.mapped:
            wrong.append(f'{where}: {o.mapped} maps without a camera pass for complete ones')
        if not o.fault.signs and 2 * o.mapped < o.fault.cycles:
            wrong.append(f'{where}: {o.mapped} right maps in {o.fault.cycles} cycles')
    if len(soak.outcomes) < soak.count:
        wrong.append(f'{len(soak.outcomes)} of {soak.count} faults were injected: the node ended')
    if (rise := growth(soak)[2]) > limit:
        wrong.append(f'resident memory grew by {100 * rise:.2f} %')
    return wrong


def _grouped(outcomes: list[Outcome]) -> dict[str, list[Outcome]]:
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.fault.name, []).append(outcome)
    return dict(sorted(groups.items()))


def _worst(values: list[float | None] | list[int | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return 'never' if len(known) < len(values) else format(max(known), form)
