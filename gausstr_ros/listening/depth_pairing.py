"""Images and depth images of one camera that belong together."""

from __future__ import annotations

from dataclasses import dataclass

from sensor_msgs.msg import CompressedImage, Image

from gausstr_core.stamps import nanoseconds


@dataclass(frozen=True)
class Shot:
    """What one camera gave at one stamp."""

    image: Image | CompressedImage
    depth: Image | CompressedImage | None = None


class DepthPairing:
    """Brings together the image and the depth image that one camera took at the same stamp."""

    def __init__(self, limit: int = 8) -> None:
        self._images: dict[int, Image | CompressedImage] = {}
        self._depths: dict[int, Image | CompressedImage] = {}
        self._limit = limit
        self.unpaired = 0  # images given up

    def add_image(self, message: Image | CompressedImage) -> Shot | None:
        """Take an image; returns the pair if its depth was there first."""
        stamp = nanoseconds(message.header.stamp)
        if stamp in self._depths:
            return Shot(message, self._depths.pop(stamp))
        self._images[stamp] = message
        if len(self._images) > self._limit:
            del self._images[next(iter(self._images))]  # the first to come, whatever its stamp
            self.unpaired += 1
        return None

    def add_depth(self, message: Image | CompressedImage) -> Shot | None:
        """Take a depth image; returns the pair if its image was there first."""
        stamp = nanoseconds(message.header.stamp)
        if stamp in self._images:
            return Shot(self._images.pop(stamp), message)
        self._depths[stamp] = message
        if len(self._depths) > self._limit:
            del self._depths[next(iter(self._depths))]
        return None
