"""Images and depth images of one camera that belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from sensor_msgs.msg import CompressedImage, Image

from gausstr_core.stamps import nanoseconds
from gausstr_ros.sets.synchroniser import DUPLICATE

UNPAIRED = 'no depth image with its stamp'


@dataclass(frozen=True)
class Shot:
    """What one camera gave at one stamp."""

    image: Image | CompressedImage
    depth: Image | CompressedImage | None = None


class DepthPairing:
    """Brings together the image and the depth image that one camera took at the same stamp.

    Of two messages of one kind and stamp the first counts: the other is a duplicate, whether the
    pair is complete by then or not.
    """

    def __init__(self, limit: int = 8) -> None:
        self._images: dict[int, Image | CompressedImage] = {}
        self._depths: dict[int, Image | CompressedImage] = {}
        self._paired: int | None = None  # stamp of the last pair
        self._limit = limit
        self.drops: Counter[str] = Counter()  # reason -> messages

    def add_image(self, message: Image | CompressedImage) -> Shot | None:
        """Take an image; returns the pair if its depth was there first."""
        depth = self._add(message, self._images, self._depths)
        if len(self._images) > self._limit:
            del self._images[next(iter(self._images))]  # the first to come, whatever its stamp
            self.drops[UNPAIRED] += 1
        return None if depth is None else Shot(message, depth)

    def add_depth(self, message: Image | CompressedImage) -> Shot | None:
        """Take a depth image; returns the pair if its image was there first."""
        image = self._add(message, self._depths, self._images)
        if len(self._depths) > self._limit:
            del self._depths[next(iter(self._depths))]
        return None if image is None else Shot(image, message)

    def _add(
        self,
        message: Image | CompressedImage,
        waiting: dict[int, Image | CompressedImage],
        others: dict[int, Image | CompressedImage],
    ) -> Image | CompressedImage | None:
        """The message of the other kind, or None: then this one waits for it."""
        stamp = nanoseconds(message.header.stamp)
        if stamp in waiting or stamp == self._paired:
            self.drops[DUPLICATE] += 1
        elif stamp in others:
            self._paired = stamp
            return others.pop(stamp)
        else:
            waiting[stamp] = message
        return None


def drops_by_camera(pairings: Mapping[str, DepthPairing]) -> Counter[tuple[str, str]]:
    """What was dropped: (camera, reason) -> messages."""
    return Counter(
        {
            (camera, reason): count
            for camera, pairing in pairings.items()
            for reason, count in pairing.drops.items()
        }
    )
