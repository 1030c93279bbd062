"""What /diagnostics says of one node, for people."""

from __future__ import annotations

from collections.abc import Iterable

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

LEVELS = {
    DiagnosticStatus.OK: 'OK',
    DiagnosticStatus.WARN: 'WARN',
    DiagnosticStatus.ERROR: 'ERROR',
    DiagnosticStatus.STALE: 'STALE',
}
# STALE is of cameras that nobody listens to, as the node is not active: no fault.
_GRAVITY = (
    DiagnosticStatus.OK,
    DiagnosticStatus.STALE,
    DiagnosticStatus.WARN,
    DiagnosticStatus.ERROR,
)


def statuses_of(node: str, report: DiagnosticArray) -> list[DiagnosticStatus]:
    """Those of one node: their names begin with its own, and a colon."""
    own = node.strip('/')
    return [one for one in report.status if one.name.partition(': ')[0].strip('/') == own]


def worst(reports: Iterable[list[DiagnosticStatus]]) -> list[DiagnosticStatus]:
    """Each status at its worst, the newest of these: a fault of a moment is told once only."""
    found: dict[str, DiagnosticStatus] = {}
    for status in (status for report in reports for status in report):
        before = found.get(status.name)
        if before is None or _gravity(status) >= _gravity(before):
            found[status.name] = status
    return list(found.values())


def has_error(statuses: Iterable[DiagnosticStatus]) -> bool:
    """Whether any is ERROR."""
    return any(status.level == DiagnosticStatus.ERROR for status in statuses)


def written(statuses: list[DiagnosticStatus], *, values: bool) -> str:
    """One line for each status, and below it what it counts, where `values` are wanted."""
    width = max(len(status.name) for status in statuses)
    lines = []
    for status in statuses:
        lines.append(f'{LEVELS[status.level]:5}  {status.name:{width}}  {status.message}')
        if values:
            lines += [f'         {pair.key}: {pair.value}' for pair in status.values]
    return '\n'.join(lines)


def _gravity(status: DiagnosticStatus) -> int:
    return _GRAVITY.index(status.level)
