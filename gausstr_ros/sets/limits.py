"""By what images are grouped into sets: the numbers of the synchroniser, which must fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Grouping:
    """How far apart the images of a set may lie, and how long it waits for them.

    Args:
        cameras: names, in the order of the rig.
        tolerance: seconds that the images of a set may lie apart.
        timeout: seconds after which a set goes out incomplete; in the time of the stamps, or of
            the synchroniser's clock when the stamps stand still.
        min_cameras: fewest cameras that make a set.
        offsets: seconds by which a camera fires later than the first camera of a set. It is used
            for grouping only, the stamps stay.
        learn_offsets: learn the offsets from the stamps where those given, or none, leave more
            than half the tolerance between the images of a set.

    Raises:
        ValueError: they contradict each other; the parameters are named.
    """

    cameras: tuple[str, ...]
    tolerance: float
    timeout: float
    min_cameras: int = 1
    offsets: Mapping[str, float] = field(default_factory=dict)
    learn_offsets: bool = False

    def __post_init__(self) -> None:
        names, count = self.cameras, len(self.cameras)
        if not names or len(set(names)) != count:
            raise ValueError(f'cameras must be at least one name, each once, got {list(names)}')
        if not self.tolerance >= 0:
            raise ValueError(f'sync.tolerance must be >= 0 s, got {self.tolerance}')
        if not self.timeout >= self.tolerance:
            raise ValueError(
                f'sync.timeout must not be shorter than sync.tolerance, got {self.timeout} s and '
                f'{self.tolerance} s: a set would time out before its last image may come'
            )
        if not 1 <= self.min_cameras <= count:
            raise ValueError(
                f'sync.min_cameras must be from 1 to the number of cameras ({count}), '
                f'got {self.min_cameras}'
            )
        unknown = sorted(set(self.offsets) - set(names))
        if unknown:
            raise ValueError(f'time_offset given for {", ".join(unknown)}, which is no camera')
