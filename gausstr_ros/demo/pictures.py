"""The pictures of the demo's page. Pure functions from arrays to RGB images."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from gausstr_core.drawing.encoding import shrink
from gausstr_core.drawing.maps import BACKGROUND, Image, finished_map

_UNKNOWN, _FREE, _OCCUPIED = (24, 30, 42), (62, 76, 100), (255, 176, 84)
_PALE, _PALE_COLOR = 0.6, (214, 220, 230)  # share of that colour in what is remembered
_NEAR, _FAR = 2.0, 60.0  # metres, the ends of the depth colours


def color_depth(depth: NDArray[np.float32]) -> Image:
    """Colour z-depth [H, W] in metres on a logarithmic scale: near is red, far blue, 0 black."""
    known = depth > 0
    share = np.log(np.clip(depth, _NEAR, _FAR) / _NEAR) / np.log(_FAR / _NEAR)
    level = np.where(known, 255 * (1 - share), 0).astype(np.uint8)
    colored = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    colored[~known] = BACKGROUND
    return colored


def camera_card(
    image: Image, depth: NDArray[np.float32], semantics: Image, width: int = 448
) -> Image:
    """The camera's image with the rendered depth and semantics side by side under it."""
    half = (width - 4) // 2
    seen = semantics.any(-1, keepdims=True)
    words = np.where(seen, semantics, np.uint8(0)).astype(np.uint8)
    words[~seen[..., 0]] = BACKGROUND
    below = [shrink(part, half) for part in (color_depth(depth), words)]
    gap = np.full((below[0].shape[0], width - 2 * half, 3), BACKGROUND, np.uint8)
    top = shrink(image, width)
    seam = np.full((4, width, 3), BACKGROUND, np.uint8)
    return np.concatenate([top, seam, np.concatenate([below[0], gap, below[1]], 1)])


def paled(
    labels: NDArray[np.int16], ages: NDArray[np.float32] | None, colors: NDArray[np.uint8]
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Labels and colours by which what is remembered is drawn paler than what is seen.

    Args:
        labels: [X, Y, Z], -1 where there is nothing.
        ages: [X, Y, Z] seconds since a voxel was seen; None: all is seen.
        colors: [K, 3] RGB.

    Returns:
        Labels below 2 K and as many colours.
    """
    if ages is None:
        return labels, colors
    remembered = (labels >= 0) & (ages > 0)
    shown = np.where(remembered, labels + np.int16(len(colors)), labels).astype(np.int16)
    pale = _PALE * np.asarray(_PALE_COLOR) + (1 - _PALE) * colors
    return shown, np.concatenate([colors, pale.round().astype(np.uint8)])


def grid_view(cells: NDArray[np.int8], resolution: float) -> Image:
    """The 2D grid [Y, X] of an OccupancyGrid in three colours; forward is up."""
    by_place = cells.T
    picture = np.empty((*by_place.shape, 3), np.uint8)
    picture[:] = _UNKNOWN
    picture[by_place == 0] = _FREE
    picture[by_place > 50] = _OCCUPIED
    return finished_map(picture, resolution)
