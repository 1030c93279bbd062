"""What goes wrong in the soak, and by what sign in /diagnostics each fault must be seen."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

SECOND = 1_000_000_000


@dataclass(frozen=True)
class Delivery:
    """One image with its calibration, on its way to the node."""

    camera: str
    stamp: int  # nanoseconds
    picture: bytes  # JPEG
    focal: float = 100.0
    delay: float = 0.0  # seconds after its due time
    frame: str = ''  # of the image, where that is not the camera's own


@dataclass(frozen=True)
class Sign:
    """A text in the message of a status, or a counter among its values that grows."""

    status: str  # 'pipeline', or '' for the camera that is hit
    text: str = ''  # {camera} stands for the camera
    counter: str = ''


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong for some cycles; `change` is None where no image is changed."""

    name: str
    signs: tuple[Sign, ...]  # one of them is enough; none: it must cost nothing
    cycles: int = 15
    change: Callable[[Delivery, random.Random], list[Delivery]] | None = None


MISSING = Sign('', counter='sets without it')
ANOTHER_CLOCK = Sign('', counter='dropped: stamp far from the other cameras')
AHEAD = Sign('', counter='dropped: stamp ahead of the images after it')
LATE = Sign('', counter='dropped: late')
# the first by the last good cloud, which is not old yet
NO_CLOUD = tuple(
    Sign('pipeline', counter=f'sets dropped: {reason}') for reason in ('no cloud', 'cloud too old')
)


def _halved(delivery: Delivery, _: random.Random) -> list[Delivery]:
    return [replace(delivery, picture=delivery.picture[: len(delivery.picture) // 2])]


def _padded(delivery: Delivery, chance: random.Random) -> list[Delivery]:
    """A buffer of the driver's with a whole picture in front."""
    tail = bytes(chance.randrange(1, 3 * len(delivery.picture)))
    return [replace(delivery, picture=delivery.picture + tail)]


def _dropped(delivery: Delivery, chance: random.Random) -> list[Delivery]:
    return [] if chance.random() < 0.5 else [delivery]


def faults(still: bytes, large: bytes, *, lidar: bool = False) -> list[Fault]:
    """All faults.

    Args:
        still: the picture of a camera that is frozen.
        large: a picture of another size than the calibration says.
        lidar: whether depth comes from one; then its own faults and those of time and transforms,
            which its clouds share with the images.
    """

    def stamped(seconds: float) -> Callable[[Delivery, random.Random], list[Delivery]]:
        return lambda d, _: [replace(d, stamp=d.stamp + round(seconds * SECOND))]

    of_lidar = [
        Fault('lidar silent', NO_CLOUD, 20),
        Fault('lidar old', NO_CLOUD, 20),
        Fault('lidar all NaN', (Sign('pipeline', 'points is finite'),)),
    ]
    every = [
        Fault('drop', (MISSING,), change=_dropped),
        Fault('freeze (silent)', (MISSING,), 25, lambda d, _: []),
        Fault(
            'freeze (picture)',
            (Sign('', 'the same to the byte'),),
            change=lambda d, _: [replace(d, picture=still)],
        ),
        Fault('late', (MISSING, LATE), change=lambda d, _: [replace(d, delay=0.45)]),
        Fault('duplicate', (Sign('', counter='dropped: duplicate'),), change=lambda d, _: [d, d]),
        Fault('backwards stamps', (ANOTHER_CLOCK, LATE, MISSING), change=stamped(-1.0)),
        Fault('future stamps', (ANOTHER_CLOCK, AHEAD, MISSING), change=stamped(5.0)),
        Fault('truncated image', (Sign('', 'truncated'),), change=_halved),
        Fault(
            'zero-byte image', (Sign('', 'empty'),), change=lambda d, _: [replace(d, picture=b'')]
        ),
        Fault(
            'NaN intrinsics',
            (Sign('', 'finite'),),
            change=lambda d, _: [replace(d, focal=float('nan'))],
        ),
        Fault(
            'resolution change',
            (Sign('', 'the image has 200x120 pixels'),),
            change=lambda d, _: [replace(d, picture=large)],
        ),
        Fault('JPEG padding', (), change=_padded),
        Fault(
            'body frame',
            (Sign('', 'looks along the wrong axis'),),
            change=lambda d, _: [replace(d, frame=f'{d.camera}_link')],
        ),
        Fault('refused transition', (Sign('pipeline', counter='transitions refused'),)),
        Fault('latched CameraInfo', (Sign('pipeline', 'inactive'),)),
        Fault('TF gap', (Sign('pipeline', 'no transform'),)),
        Fault('node restart', (Sign('pipeline', 'inactive'),)),
        Fault('odometry jump', (Sign('pipeline', counter='memory: reset, pose jumped'),), 1),
        Fault('bag loop', (Sign('pipeline', counter='clock jumps back'),), 1),
        Fault('5 vocabularies/s', (Sign('pipeline', counter='vocabulary'),), 30),
    ]
    shared = ('drop', 'TF gap', 'node restart', 'bag loop')
    return [*of_lidar, *(f for f in every if f.name in shared)] if lidar else every


def schedule(every: list[Fault], seed: int) -> Iterator[Fault]:
    """Endless rounds of all faults, each round in an order of its own."""
    chance = random.Random(seed)
    while True:
        yield from chance.sample(every, len(every))
