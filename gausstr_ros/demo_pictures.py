"""The pictures of the demo's page. Pure functions from arrays to RGB images."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from gausstr_ros.demo_drive import shrink
from gausstr_ros.voxel_view import BACKGROUND, EGO_BOX

Image = NDArray[np.uint8]

_UNKNOWN, _FREE, _OCCUPIED = (24, 30, 42), (62, 76, 100), (255, 176, 84)
_RING = (92, 104, 126)
_CELL = 4  # pixels of a cell in the maps
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


def top_view(labels: NDArray[np.integer], colors: Image, resolution: float) -> Image:
    """The highest voxel of each column seen from above, shaded by its height; forward is up.

    Args:
        labels: [X, Y, Z] index into `colors`, -1 free or unknown.
        colors: [K, 3] RGB.
        resolution: metres per voxel.
    """
    filled = labels >= 0
    height = np.where(filled.any(2), labels.shape[2] - 1 - filled[:, :, ::-1].argmax(2), -1)
    label = np.take_along_axis(labels, np.maximum(height, 0)[..., None], 2)[..., 0]
    color = colors[np.maximum(label, 0)].astype(np.float32)
    rise = np.pad(height, 1, mode='edge').astype(np.float32)
    slope = (rise[1:-1, 2:] - rise[1:-1, :-2]) + (rise[:-2, 1:-1] - rise[2:, 1:-1])
    light = 0.78 + 0.022 * height - 0.03 * np.clip(slope, -6, 6)
    shaded = np.clip(color * light[..., None], 0, 255).astype(np.uint8)
    shaded[height < 0] = BACKGROUND
    return _finish_map(shaded, resolution)


def grid_view(cells: NDArray[np.int8], resolution: float) -> Image:
    """The 2D grid [Y, X] of an OccupancyGrid in three colours; forward is up."""
    by_place = cells.T
    picture = np.empty((*by_place.shape, 3), np.uint8)
    picture[:] = _UNKNOWN
    picture[by_place == 0] = _FREE
    picture[by_place > 50] = _OCCUPIED
    return _finish_map(picture, resolution)


def _finish_map(by_place: Image, resolution: float) -> Image:
    """Turn [X, Y] forward up and left left, enlarge, draw rings of 10 m and the car."""
    upright = np.ascontiguousarray(by_place[::-1, ::-1])
    size = (upright.shape[1] * _CELL, upright.shape[0] * _CELL)
    picture = cv2.resize(upright, size, interpolation=cv2.INTER_NEAREST)
    scale = _CELL / resolution
    center = np.array([size[0] / 2, size[1] / 2])
    overlay = picture.copy()
    for radius in (10, 20, 30):
        at = (int(center[0]), int(center[1]))
        cv2.circle(overlay, at, round(radius * scale), _RING, 1, cv2.LINE_AA)
        place = (at[0] + 4, at[1] - round(radius * scale) - 5)
        cv2.putText(overlay, f'{radius} m', place, cv2.FONT_HERSHEY_SIMPLEX, 0.42,
                    (214, 222, 234), 1, cv2.LINE_AA)  # fmt: skip
    picture = cv2.addWeighted(overlay, 0.75, picture, 0.25, 0)
    (back, right, _), (front, left, _) = EGO_BOX
    outline = np.array([(front, 0.35), (front, -0.35), (front - 0.8, right), (back, right),
                        (back, left), (front - 0.8, left)])  # fmt: skip
    points = np.round(center - outline[:, ::-1] * scale).astype(np.int32)
    cv2.fillPoly(picture, [points], (245, 247, 250), cv2.LINE_AA)
    cv2.polylines(picture, [points], True, (20, 24, 32), 1, cv2.LINE_AA)
    return picture


def jpeg(picture: Image, quality: int = 88) -> bytes:
    """Encoded bytes of an RGB picture."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    done, data = cv2.imencode('.jpg', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), settings)
    assert done
    return data.tobytes()
