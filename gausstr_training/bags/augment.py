"""Changes to a frame that keep images, rig, points and poses in agreement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.foundation.interface import resize_images
from gausstr_training.bags.frame import BagFrame
from gausstr_training.bags.photometry import degraded, photometric


def resized(frame: BagFrame, height: int, width: int) -> BagFrame:
    """All images at one size; a common size of cameras that had several."""
    images = list(resize_images(frame.images, height, width))
    changed = replace(frame, images=images, rig=frame.rig.resized(height, width))
    return _with_neighbours(changed, lambda near: resized(near, height, width))


def cropped(frame: BagFrame, top: int, left: int, height: int, width: int) -> BagFrame:
    """The same window of every image, in pixels.

    Raises:
        ValueError: the window does not lie within every image.
    """
    for name, size in zip(frame.rig.names, frame.rig.image_sizes, strict=True):
        inside = 0 <= top < top + height <= size[0] and 0 <= left < left + width <= size[1]
        if not inside:
            raise ValueError(
                f'{frame.key}: camera {name} of {size[0]}x{size[1]} (HxW) does not hold a window '
                f'of {height}x{width} at row {top}, column {left}'
            )
    rows, columns = slice(top, top + height), slice(left, left + width)
    # a view would drag the whole image along from worker to trainer
    images = [image[rows, columns].contiguous() for image in frame.images]
    changed = replace(frame, images=images, rig=frame.rig.cropped(top, left, height, width))
    return _with_neighbours(changed, lambda near: cropped(near, top, left, height, width))


def mirrored(frame: BagFrame) -> BagFrame:
    """The frame in a mirror: images left-right, all in space across the ego's x-z plane."""
    across = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    pose = torch.diag(torch.cat([across, torch.ones(1, dtype=torch.float64)]))
    changed = replace(
        frame,
        images=[image.flip(1) for image in frame.images],
        rig=mirrored_rig(frame.rig),
        odom_from_ego=pose @ frame.odom_from_ego @ pose,
        points=None if frame.points is None else frame.points * across.float(),
    )
    return _with_neighbours(changed, mirrored)


def mirrored_rig(rig: CameraRig) -> CameraRig:
    """The rig of images flipped left-right, mirrored across the ego's x-z plane."""
    widths = rig.intrinsics.new_tensor([width for _, width in rig.image_sizes])
    intrinsics = rig.intrinsics.clone()
    intrinsics[:, 0, 2] = widths - intrinsics[:, 0, 2]
    intrinsics[:, 0, 1] = -intrinsics[:, 0, 1]
    across_ego = torch.diag(intrinsics.new_tensor([1, -1, 1, 1]))
    across_camera = torch.diag(intrinsics.new_tensor([-1, 1, 1, 1]))
    pose = across_ego @ rig.ego_from_camera @ across_camera
    return replace(rig, intrinsics=intrinsics, ego_from_camera=pose)


@dataclass(frozen=True)
class Resize:
    """A `transform` for `BagDataset`: every image at one size."""

    height: int
    width: int

    def __call__(self, frame: BagFrame) -> BagFrame:
        """Resize."""
        return resized(frame, self.height, self.width)


@dataclass(frozen=True)
class Augmentation:
    """Random zoom, window, mirror, light and colour; the images end at one size.

    Neighbours share zoom, window and mirror with their frame, not light, colour and sensor.

    Raises:
        ValueError: a number is out of range.
    """

    height: int
    width: int
    zoom: tuple[float, float] = (1.0, 1.0)  # 1: the whole image; more: a window of a larger one
    mirror: float = 0.5  # probability
    colour: bool = True
    sensor: bool = False  # gamma, vignetting, blur, noise and JPEG

    def __post_init__(self) -> None:
        if not 1 <= self.zoom[0] <= self.zoom[1] < float('inf'):
            raise ValueError(f'zoom must be from >= 1 to >= that, got {self.zoom}')
        if not 0 <= self.mirror <= 1:
            raise ValueError(f'mirror must be a probability, got {self.mirror}')

    def __call__(self, frame: BagFrame, generator: torch.Generator) -> BagFrame:
        """Draw and apply; the same generator gives the same frame."""
        low, high = self.zoom
        place = torch.rand(4, generator=generator).tolist()
        zoom = low + (high - low) * place[0]
        rows, columns = round(self.height * zoom), round(self.width * zoom)
        top = round(place[1] * (rows - self.height))
        left = round(place[2] * (columns - self.width))
        frame = resized(frame, rows, columns)
        frame = cropped(frame, top, left, self.height, self.width)
        if place[3] < self.mirror:
            frame = mirrored(frame)
        if self.colour:
            frame = _changed(frame, lambda images: photometric(images, generator))
        if self.sensor:
            frame = _changed(frame, lambda images: degraded(images, generator))
        return frame


def _changed(frame: BagFrame, change: Callable[[Tensor], Tensor]) -> BagFrame:
    """The frame and its neighbours with each stack of images changed on its own."""
    changed = replace(frame, images=list(change(frame.stacked())))
    return _with_neighbours(changed, lambda near: _changed(near, change))


def _with_neighbours(frame: BagFrame, change: Callable[[BagFrame], BagFrame]) -> BagFrame:
    """The frame, already changed, with its neighbours changed the same way."""
    return replace(
        frame,
        previous=None if frame.previous is None else change(frame.previous),
        following=None if frame.following is None else change(frame.following),
    )
