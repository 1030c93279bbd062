"""Sets of images, and sets in the making."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Payload = TypeVar('Payload')


@dataclass(frozen=True)
class ImageSet(Generic[Payload]):
    """The images of one cycle."""

    stamp: int  # nanoseconds: the newest stamp of its images
    stamps: dict[str, int]  # nanoseconds per camera, in the order of the rig
    payloads: dict[str, Payload]  # same keys
    missing: tuple[str, ...]  # cameras that it went out without


@dataclass(frozen=True)
class Stamped(Generic[Payload]):
    """One image; nanoseconds."""

    stamp: int
    time: int  # the stamp less the phase offset of the camera
    payload: Payload


@dataclass(eq=False)
class OpenSet(Generic[Payload]):
    """A set in the making."""

    images: dict[str, Stamped[Payload]] = field(default_factory=dict)
    overtaken: set[str] = field(default_factory=set)  # whose next image was older
    polled: int | None = None  # clock of the poll from which its timeout counts
    heard_then: int = 0  # number of the newest image at that poll
    earliest: int = 0  # time of the earliest and of the latest of its images
    latest: int = 0

    def put(self, camera: str, image: Stamped[Payload]) -> None:
        """Add the image of a camera."""
        self.images[camera] = image
        self._measure()

    def remove(self, camera: str) -> None:
        """Take the image of a camera out."""
        del self.images[camera]
        self.overtaken.remove(camera)
        self._measure()

    def has_room(self, camera: str, time: int, tolerance: int) -> bool:
        """Whether an image may join: its camera has none, and all lie close enough then."""
        return (
            camera not in self.images
            and max(self.latest, time) - min(self.earliest, time) <= tolerance
        )

    def distance(self, time: int) -> tuple[bool, int]:
        """How badly an image fits: worst into a set of nothing but doubtful stamps."""
        doubtful = self.overtaken >= self.images.keys()
        return doubtful, abs(2 * time - self.earliest - self.latest)

    def finished(self, cameras: tuple[str, ...]) -> ImageSet[Payload]:
        """The set as it is, in the order of the cameras."""
        present = {name: self.images[name] for name in cameras if name in self.images}
        stamps = {name: image.stamp for name, image in present.items()}
        payloads = {name: image.payload for name, image in present.items()}
        missing = tuple(name for name in cameras if name not in present)
        return ImageSet(max(stamps.values()), stamps, payloads, missing)

    def _measure(self) -> None:
        times = [image.time for image in self.images.values()]
        if times:
            self.earliest, self.latest = min(times), max(times)


class OpenSets(Generic[Payload]):
    """The sets in the making, in the order of their latest times."""

    def __init__(self) -> None:
        self._sets: list[OpenSet[Payload]] = []

    def __iter__(self) -> Iterator[OpenSet[Payload]]:
        """Iterate over a copy: sets may be closed meanwhile."""
        return iter(list(self._sets))

    def __len__(self) -> int:
        return len(self._sets)

    def has(self, camera: str, stamp: int) -> bool:
        """Whether this image lies in a set."""
        return any(
            camera in group.images and group.images[camera].stamp == stamp for group in self._sets
        )

    def put(self, camera: str, image: Stamped[Payload], tolerance: int) -> OpenSet[Payload]:
        """Put an image into the nearest set that it fits into, or into a new one."""
        fitting = [group for group in self._sets if group.has_room(camera, image.time, tolerance)]
        if fitting:
            found = min(fitting, key=lambda group: group.distance(image.time))
        else:
            found = OpenSet()
            self._sets.append(found)
        found.put(camera, image)
        self._sets.sort(key=lambda group: group.latest)
        return found

    def drop_ahead(self, camera: str, time: int, pace: int) -> int:
        """Drop images of the future, that a second image of their camera gives away.

        One older image may be out of order. After that, another one that is older, or that comes
        sooner after it than at the pace of the camera, shows that the stamp was wrong. Left in,
        the image would join the set of the instant that its stamp pretends.

        Returns:
            How many images were dropped.
        """
        dropped = 0
        for group in self:
            before = group.images.get(camera)
            if before is None:
                continue
            if camera not in group.overtaken:
                if before.time > time:
                    group.overtaken.add(camera)
            elif before.time + pace >= time:
                group.remove(camera)
                dropped += 1
                if not group.images:
                    self._sets.remove(group)
        self._sets.sort(key=lambda group: group.latest)
        return dropped

    def take_until(self, last: OpenSet[Payload]) -> Iterator[OpenSet[Payload]]:
        """Take out a set and those before it, one by one; none if it is out already."""
        while last in self._sets:
            yield self._sets.pop(0)
