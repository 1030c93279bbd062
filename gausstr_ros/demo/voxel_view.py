"""A shaded still of labelled voxels, ray-cast on the CPU.

Every pixel walks through the grid cell by cell (Amanatides and Woo 1987), the face it meets is lit
by the sky, darkened in its corners by the neighbouring cells, and shadowed by a second walk
towards the sun. Drawing 40 000 cells as polygons would be slower and could not cast shadows.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from gausstr_core.drawing.maps import BACKGROUND, EGO_BOX
from gausstr_core.process.parallel import kernel

_FLOOR = (30, 37, 50)
_FLOOR_LINE = (44, 53, 69)
_EGO = (236, 238, 243)
_SUN = (-0.35, 0.55, 0.76)
_NOTHING, _VOXEL, _FLOOR_HIT, _EGO_HIT = 0, 1, 2, 3


@dataclass(frozen=True)
class Viewpoint:
    """Where the picture is taken from, in metres in the ego frame; z is up."""

    position: tuple[float, float, float] = (-29.0, -13.0, 21.0)
    target: tuple[float, float, float] = (5.5, 0.5, -1.0)
    vertical_field: float = 42.0  # degrees


def draw_voxels(
    labels: NDArray[np.integer],
    colors: NDArray[np.uint8],
    lower: tuple[float, float, float],
    resolution: float,
    *,
    size: tuple[int, int] = (540, 960),
    viewpoint: Viewpoint | None = None,
    oversampling: int = 2,
) -> NDArray[np.uint8]:
    """Draw the cells with `labels >= 0` as shaded cubes.

    Args:
        labels: [X, Y, Z] category index, -1 where nothing is drawn.
        colors: [K, 3] RGB of the categories.
        lower: corner of the grid in metres, ego frame.
        resolution: edge of a cell in metres.
        size: height and width of the picture in pixels.
        viewpoint: where to look from; default above and behind the car.
        oversampling: rays per pixel along each axis.

    Returns:
        [height, width, 3] uint8 RGB.

    Raises:
        ValueError: a label has no colour.
    """
    if labels.size and int(labels.max()) >= len(colors):
        raise ValueError(f'label {int(labels.max())} has no colour: {len(colors)} were given')
    viewpoint = viewpoint or Viewpoint()
    height, width = size[0] * oversampling, size[1] * oversampling
    sun = np.asarray(_SUN) / np.linalg.norm(_SUN)
    # Cell units inside: a cell is one unit wide and the grid starts at 0.
    origin = (np.asarray(viewpoint.position) - lower) / resolution
    ego_box = (np.asarray(EGO_BOX) - lower) / resolution
    image = np.empty((height, width, 3), np.float32)
    _cast(
        np.ascontiguousarray(labels, np.int16),
        np.ascontiguousarray(colors, np.float32),
        origin,
        _pixel_directions(viewpoint, height, width),
        sun,
        ego_box,
        10.0 / resolution,
        image,
    )
    picture = np.clip(image, 0, 255).astype(np.uint8)
    return cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)


def _pixel_directions(viewpoint: Viewpoint, height: int, width: int) -> NDArray[np.float64]:
    """Rows right, down, forward such that a pixel's ray is x * right + y * down + forward."""
    forward = np.subtract(viewpoint.target, viewpoint.position)
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    step = 2 * np.tan(np.radians(viewpoint.vertical_field) / 2) / height
    corner = forward - right * step * (width - 1) / 2 - down * step * (height - 1) / 2
    return np.stack([right * step, down * step, corner])


@kernel
def _cast(labels, colors, origin, basis, sun, ego_box, floor_step, image):
    cell = np.zeros(3, np.int64)
    shaded = np.zeros(3, np.int64)
    point = np.zeros(3)
    ray = np.zeros(3)
    crossing = np.zeros(3)
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            for a in range(3):
                ray[a] = basis[0, a] * column + basis[1, a] * row + basis[2, a]
            kind, distance, axis = _first_hit(labels, origin, ray, ego_box, cell, crossing)
            if kind == _NOTHING:
                for channel in range(3):
                    image[row, column, channel] = BACKGROUND[channel]
                continue
            for a in range(3):
                point[a] = origin[a] + ray[a] * distance
            side = -1.0 if ray[axis] > 0 else 1.0
            up = side if axis == 2 else 0.0
            light = (0.50 + 0.14 * up) * _corner_light(labels, point, cell, axis, side)
            if kind == _VOXEL:
                light *= _seam(point, axis, distance)
            if side * sun[axis] > 0:
                point[axis] += side * 1e-3
                met, _, _ = _first_hit(labels, point, sun, ego_box, shaded, crossing)
                light += 0.52 * side * sun[axis] if met == _NOTHING else 0.0
            for channel in range(3):
                if kind == _VOXEL:
                    base = colors[labels[cell[0], cell[1], cell[2]], channel]
                elif kind == _EGO_HIT:
                    base = np.float32(_EGO[channel])
                else:
                    base = np.float32(_floor_color(point, floor_step, channel))
                image[row, column, channel] = base * light * 1.06


@kernel
def _first_hit(labels, origin, ray, ego_box, cell, crossing):
    """What a ray meets first: kind, distance and the axis of the face; `cell` is filled in."""
    kind, best, best_axis = _NOTHING, 1e18, 2
    ego_enter, ego_axis = _enter_box(origin, ray, ego_box)
    if ego_enter >= 0:
        kind, best, best_axis = _EGO_HIT, ego_enter, ego_axis
    enter, axis = _enter_grid(origin, ray, labels.shape)
    if enter < 0:
        return kind, best, best_axis
    for a in range(3):
        start = origin[a] + ray[a] * (enter + 1e-9)
        cell[a] = min(max(int(np.floor(start)), 0), labels.shape[a] - 1)
        crossing[a] = 1e18
        if abs(ray[a]) > 1e-12:
            edge = cell[a] + 1 if ray[a] > 0 else cell[a]
            crossing[a] = (edge - origin[a]) / ray[a]
    distance = enter
    while distance < best:
        if labels[cell[0], cell[1], cell[2]] >= 0:
            return _VOXEL, distance, axis
        axis = 0
        if crossing[1] < crossing[axis]:
            axis = 1
        if crossing[2] < crossing[axis]:
            axis = 2
        distance = crossing[axis]
        crossing[axis] += 1.0 / abs(ray[axis])
        cell[axis] += 1 if ray[axis] > 0 else -1
        if cell[axis] < 0 or cell[axis] >= labels.shape[axis]:
            if axis == 2 and cell[2] < 0 and distance < best:
                return _FLOOR_HIT, distance, 2
            break
    return kind, best, best_axis


@kernel
def _enter_grid(origin, ray, shape):
    """As `_enter_box`, for the box from 0 to `shape`."""
    near, far, face = 0.0, 1e18, 2
    for axis in range(3):
        if abs(ray[axis]) < 1e-12:
            if origin[axis] < 0 or origin[axis] > shape[axis]:
                return -1.0, face
            continue
        first, second = -origin[axis] / ray[axis], (shape[axis] - origin[axis]) / ray[axis]
        if min(first, second) > near:
            near, face = min(first, second), axis
        far = min(far, max(first, second))
    return (near if near < far else -1.0), face


@kernel
def _enter_box(origin, ray, box):
    """How far a ray goes until a box (0 from inside, -1: misses) and the axis of the face."""
    near, far, face = 0.0, 1e18, 2
    for axis in range(3):
        if abs(ray[axis]) < 1e-12:
            if origin[axis] < box[0, axis] or origin[axis] > box[1, axis]:
                return -1.0, face
            continue
        first = (box[0, axis] - origin[axis]) / ray[axis]
        second = (box[1, axis] - origin[axis]) / ray[axis]
        if min(first, second) > near:
            near, face = min(first, second), axis
        far = min(far, max(first, second))
    return (near if near < far else -1.0), face


@kernel
def _corner_light(labels, point, cell, axis, side):
    """Share of the sky that reaches a point of a face, blended from the face's four corners."""
    u, v = (axis + 1) % 3, (axis + 2) % 3
    layer = cell[axis] + (1 if side > 0 else -1)
    i, j = int(np.floor(point[u])), int(np.floor(point[v]))
    s, t = point[u] - i, point[v] - j
    total = 0.0
    for du in (-1, 1):
        for dv in (-1, 1):
            along_u = _filled(labels, axis, layer, i + du, j)
            along_v = _filled(labels, axis, layer, i, j + dv)
            corner = _filled(labels, axis, layer, i + du, j + dv)
            closed = 3 if along_u + along_v == 2 else along_u + along_v + corner
            weight = (s if du > 0 else 1 - s) * (t if dv > 0 else 1 - t)
            total += weight * (1.0 - 0.2 * closed)
    return total


@kernel
def _filled(labels, axis, layer, i, j):
    """1 where the cell `layer` along `axis`, (i, j) along the axes that follow it, is filled."""
    x, y, z = layer, i, j
    if axis == 1:
        x, y, z = j, layer, i
    elif axis == 2:
        x, y, z = i, j, layer
    inside = 0 <= x < labels.shape[0] and 0 <= y < labels.shape[1] and 0 <= z < labels.shape[2]
    return 1 if inside and labels[x, y, z] >= 0 else 0


@kernel
def _seam(point, axis, distance):
    """Darken the rim of a face so that single cells can be told apart, less so far away."""
    rim = 1.0
    for a in ((axis + 1) % 3, (axis + 2) % 3):
        s = point[a] - np.floor(point[a])
        rim = min(rim, s, 1.0 - s)
    return 1.0 if rim > 0.06 else 1.0 - 0.16 * min(1.0, 60.0 / distance)


@kernel
def _floor_color(point, floor_step, channel):
    for axis in range(2):
        s = point[axis] / floor_step
        if abs(s - np.round(s)) * floor_step < 0.14:
            return _FLOOR_LINE[channel] * 1.6
    return _FLOOR[channel] * 1.6
