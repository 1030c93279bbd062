"""The image of a real lens -> the image of a pinhole, and the pinhole's intrinsics.

A pinhole cannot show all that a wide lens sees: its image keeps the size, and is zoomed until each
of its pixels shows something that the lens saw, up to `WIDEST` degrees from the optical axis. The
principal point stays where it is; where a region of interest has it at its rim or not at all, the
middle does.
"""

from __future__ import annotations

import math
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from gausstr_core.camera.lens import EQUIDISTANT, Lens

WIDEST = 70.0  # degrees from the optical axis; beyond, most pixels of a pinhole show the rim
_HALVINGS = 40
_PRECISELY = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-9)  # to undo a lens
# Share of the image at its rim where a zoom about the principal point costs much: what is moved
# out of the image there, by tangential distortion or tilt, hardly comes back in. 15-fold was seen.
_RIM = 0.05
_MOST_ZOOM = 20.0  # a lens that leaves less of the image than that is none


class Undistortion:
    """The maps of one lens, made once.

    Args:
        lens: of the images.

    Raises:
        ValueError: no pinhole sees a part of what the lens sees.
    """

    def __init__(self, lens: Lens) -> None:
        self.lens = lens
        self.pinhole = lens if lens.is_pinhole else _pinhole_inside(lens)
        self._depth_maps: tuple[tuple[int, int], tuple[NDArray, NDArray]] | None = None

    @property
    def intrinsics(self) -> NDArray[np.float64]:
        """Of the undistorted images: [3, 3], pixel centres at +0.5."""
        return self.pinhole.intrinsics

    def image(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The pinhole image of the same size; the pixels themselves where nothing is distorted.

        Args:
            pixels: [H, W] or [H, W, C], of the lens' size.

        Raises:
            ValueError: another size.
        """
        if pixels.shape[:2] != self.lens.size:
            raise ValueError(
                f'the lens is for {self.lens.size[0]}x{self.lens.size[1]} images (HxW), '
                f'got {pixels.shape[0]}x{pixels.shape[1]}'
            )
        if self.lens.is_pinhole:
            return pixels
        return np.asarray(cv2.remap(pixels, *self._maps, cv2.INTER_LINEAR), np.uint8)

    def depth(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """The z-depth [h, w] that the pinhole sees, from a depth image of the lens at any size.

        The nearest value is taken: an average of near and far would be no surface at all.
        """
        if self.lens.is_pinhole:
            return depth
        size = depth.shape[0], depth.shape[1]
        if self._depth_maps is None or self._depth_maps[0] != size:
            lens, pinhole = self.lens.resized(*size), self.pinhole.resized(*size)
            self._depth_maps = size, _sources(lens, pinhole, cv2.CV_32FC1)
        native = np.ascontiguousarray(depth, np.float32)  # OpenCV reads no other byte order
        return np.asarray(cv2.remap(native, *self._depth_maps[1], cv2.INTER_NEAREST), np.float32)

    @cached_property
    def _maps(self) -> tuple[NDArray, NDArray]:
        return _sources(self.lens, self.pinhole, cv2.CV_16SC2)


class Undistorter:
    """The `Undistortion` of each camera, made again when its calibration changes."""

    def __init__(self) -> None:
        self._known: dict[str, Undistortion] = {}

    def __call__(self, camera: str, lens: Lens) -> Undistortion:
        """The undistortion of a camera that has this lens now.

        Raises:
            ValueError: see `Undistortion`; the camera is named.
        """
        found = self._known.get(camera)
        if found is None or found.lens != lens:
            try:
                found = self._known[camera] = Undistortion(lens)
            except ValueError as error:
                raise ValueError(f'camera {camera}: {error}') from error
        return found


def _pinhole_inside(lens: Lens) -> Lens:
    """The widest pinhole of the same size and optical axis whose pixels the lens all sees."""
    limit = np.array(lens.size[::-1]) - 0.5
    fixed, ray = _fixed_point(lens)
    border = (_border(lens.size) - fixed) / lens.focal  # from the ray, at a zoom of 1

    def sees(zoom: float) -> bool:
        at = lens.project(ray + border / zoom)
        return bool(((at >= 0.5) & (at <= limit)).all())

    reach = lens.reach(math.tan(math.radians(WIDEST)))
    low = high = _least_zoom(border, ray, reach)
    while high <= _MOST_ZOOM and not sees(high):
        high *= 1.5
    if high > _MOST_ZOOM:
        raise ValueError(
            f'no pinhole sees what a {lens.model} lens with coefficients '
            f'{list(lens.coefficients)}, focal lengths {lens.focal} and principal point '
            f'{lens.center} sees in an image of {lens.size[0]}x{lens.size[1]} (HxW) up to '
            f'{WIDEST:g} degrees from its axis: is it calibrated?'
        )
    for _ in range(_HALVINGS if high > low else 0):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if sees(middle) else (middle, high)
    focal = lens.focal[0] * high, lens.focal[1] * high
    x, y = fixed - ray * focal
    return Lens('', (), focal, (float(x), float(y)), lens.size)


def _fixed_point(lens: Lens) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The pixel (x, y) that stays where it is at any zoom, and its ray (x / z, y / z)."""
    extent, center = np.array(lens.size[::-1], np.float64), np.array(lens.center)
    margin = _RIM * extent
    if (center >= margin).all() and (center <= extent - margin).all():
        return center, np.zeros(2)
    middle = extent / 2
    matrix, coefficients = lens.for_opencv()
    at = middle[None, None] - 0.5
    if lens.model == EQUIDISTANT:
        ray = cv2.fisheye.undistortPoints(at, matrix, coefficients)
    else:
        same = np.eye(3)
        ray = cv2.undistortPointsIter(at, matrix, coefficients, same, same, _PRECISELY)
    return middle, np.asarray(ray, np.float64).ravel()


def _least_zoom(border: NDArray[np.float64], ray: NDArray[np.float64], reach: float) -> float:
    """At which no pixel is further than `reach` from the axis; infinite where the ray is."""
    spare = reach * reach - ray @ ray
    if not spare > 0:
        return math.inf
    with np.errstate(over='ignore', invalid='ignore'):
        along, square = border @ ray, (border * border).sum(1)
        # per pixel, where |ray + border / zoom| = reach
        zoom = float(((np.sqrt(along * along + square * spare) + along) / spare).max())
    return zoom if math.isfinite(zoom) else math.inf


def _border(size: tuple[int, int]) -> NDArray[np.float64]:
    """Centres [P, 2] (x, y) of the pixels at the border."""
    height, width = size
    across, down = np.arange(width) + 0.5, np.arange(height) + 0.5
    return np.concatenate(
        [np.stack([across, np.full(width, y)], 1) for y in (0.5, height - 0.5)]
        + [np.stack([np.full(height, x), down], 1) for x in (0.5, width - 0.5)]
    )


def _sources(lens: Lens, pinhole: Lens, kind: int) -> tuple[NDArray, NDArray]:
    """Where each pixel of the pinhole lies in the image of the lens, as cv2.remap wants it."""
    matrix, coefficients = lens.for_opencv()
    target, size = pinhole.for_opencv()[0], lens.size[::-1]
    if lens.model == EQUIDISTANT:
        maps = cv2.fisheye.initUndistortRectifyMap(
            matrix, coefficients, np.eye(3), target, size, kind
        )
    else:
        maps = cv2.initUndistortRectifyMap(matrix, coefficients, np.eye(3), target, size, kind)
    return maps[0], maps[1]
