"""The numbers of the synchroniser, checked against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def check_grouping(
    cameras: Sequence[str],
    tolerance: float,
    timeout: float,
    min_cameras: int,
    offsets: Mapping[str, float],
) -> None:
    """Raise ValueError, naming the parameters, where they contradict each other."""
    if not cameras or len(set(cameras)) != len(cameras):
        raise ValueError(f'cameras must be at least one name, each once, got {list(cameras)}')
    if not tolerance >= 0:
        raise ValueError(f'sync.tolerance must be >= 0 s, got {tolerance}')
    if not timeout >= tolerance:
        raise ValueError(
            f'sync.timeout must not be shorter than sync.tolerance, got {timeout} s and '
            f'{tolerance} s: a set would time out before its last image may come'
        )
    if not 1 <= min_cameras <= len(cameras):
        raise ValueError(
            f'sync.min_cameras must be from 1 to the number of cameras ({len(cameras)}), '
            f'got {min_cameras}'
        )
    unknown = sorted(set(offsets) - set(cameras))
    if unknown:
        raise ValueError(f'time_offset given for {", ".join(unknown)}, which is no camera')
