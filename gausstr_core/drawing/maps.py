"""A labelled grid seen from above, as an RGB image."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]  # [H, W, 3] RGB

BACKGROUND = (17, 22, 32)
# What a 4.1 m car covers around the rear axle, where nuScenes puts its ego frame.
EGO_BOX = ((-1.0, -0.9, 0.0), (3.1, 0.9, 1.6))
_RING = (92, 104, 126)
_CELL = 4  # pixels of a cell in the maps


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
    return finished_map(shaded, resolution)


def finished_map(by_place: Image, resolution: float) -> Image:
    """Turn [X, Y, 3] forward up and left left, enlarge, draw rings of 10 m and the car.

    Args:
        by_place: a colour for every column of the grid, whose middle is the ego frame's origin.
        resolution: metres per column.
    """
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
    return np.asarray(picture, np.uint8)
