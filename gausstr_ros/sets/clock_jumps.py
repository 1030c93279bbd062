"""Images with a stamp far from the others': of a wrong clock, or the first after a jump."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic

from gausstr_ros.sets.image_sets import Payload, Stamped

# Stamps further apart than this, in nanoseconds, are of different clocks, not of a late message.
CLOCK_JUMP = 2_000_000_000
JUMPED = 'clock jumped'  # why a memory starts afresh


@dataclass(frozen=True)
class _Held(Generic[Payload]):
    image: Stamped[Payload]
    since: int  # time of the first of an unbroken run of such images of the camera


class HeldImages(Generic[Payload]):
    """At most one image per camera, held back until it is clear which clock holds now."""

    def __init__(self) -> None:
        self._held: dict[str, _Held[Payload]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, camera: str, image: Stamped[Payload]) -> bool:
        """Hold an image; returns whether it takes the place of another one of its camera."""
        before = self._held.pop(camera, None)
        goes_on = before is not None and _follows(image.time, before.image.time)
        since = before.since if before is not None and goes_on else image.time
        self._held[camera] = _Held(image, since)
        return before is not None

    def goes_on(self, camera: str, time: int) -> bool:
        """Whether an image at a time continues what is held of its camera."""
        return camera in self._held and _follows(time, self._held[camera].image.time)

    def run(self, camera: str) -> int:
        """For how long, in nanoseconds, a camera whose image is held has gone on like this."""
        held = self._held[camera]
        return held.image.time - held.since

    def starts_after(self, camera: str, time: int) -> bool:
        """Whether what is held of a camera continues its stream as it was at a time."""
        return _follows(self._held[camera].since, time)

    def agreeing_with(self, camera: str) -> list[str]:
        """The cameras, this one too, whose images are of one clock with the camera's."""
        time = self._held[camera].image.time
        return [
            name for name, held in self._held.items() if abs(held.image.time - time) <= CLOCK_JUMP
        ]

    def take(self, cameras: list[str]) -> dict[str, Stamped[Payload]]:
        """Take the images of some cameras out."""
        return {name: self._held.pop(name).image for name in cameras}

    def clear(self) -> list[str]:
        """Drop all; returns whose they were."""
        names = list(self._held)
        self._held.clear()
        return names


def _follows(time: int, before: int) -> bool:
    return 0 < time - before <= CLOCK_JUMP
