"""Primitive solids: their unit meshes, and the parts that bodies are made of.

Every solid lives in the unit cube [-0.5, 0.5]^3; a part places it by an affine matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

BOX, CYLINDER, ELLIPSOID, TAPER, WEDGE, CONE, SURFACE = range(7)
TAPER_X, TAPER_Y = 0.62, 0.84  # size of the top face of a TAPER relative to its bottom

(
    PLAIN,
    ASPHALT,
    PAVING,
    GRASS,
    FACADE,
    GLASS,
    FOLIAGE,
    PAINT,
    STRIPES,
    BARK,
    CONCRETE,
    CONE_BANDS,
    ROOF,
) = range(13)

Color = tuple[float, float, float]
Vector = tuple[float, float, float]
# How much of a second colour shows (0..1), in patches of how many metres, and its linear RGB.
Mottle = tuple[float, float, float, float, float]
PLAIN_FINISH: Mottle = (0.0, 1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Part:
    """One solid of a body: a unit shape placed in the body frame (x forward, y left, z up)."""

    shape: int
    body_from_unit: np.ndarray  # [4, 4]
    label: int
    material: int
    color: Color  # linear RGB 0..1
    mottle: Mottle = PLAIN_FINISH


def part(
    shape: int,
    center: Vector,
    size: Vector,
    label: int,
    material: int,
    color: Color,
    *,
    yaw: float = 0.0,
    pitch: float = 0.0,
    roll: float = 0.0,
) -> Part:
    """Place a unit shape: scaled to `size`, turned (radians, roll then pitch then yaw), moved."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(yaw, pitch, roll) * np.asarray(size, dtype=np.float64)
    matrix[:3, 3] = center
    return Part(shape, matrix, label, material, color)


def rotation(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """[3, 3] Rz(yaw) Ry(pitch) Rx(roll); positive pitch tips the nose (x) down."""
    cz, sz = np.cos(yaw), np.sin(yaw)
    cy, sy = np.cos(pitch), np.sin(pitch)
    cx, sx = np.cos(roll), np.sin(roll)
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    return about_z @ about_y @ about_x


@cache
def unit_mesh(shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V, 3] and triangles [T, 3] of a unit shape."""
    if shape == BOX:
        return _prism(_square(1, 1), _square(1, 1))
    if shape == TAPER:
        return _prism(_square(1, 1), _square(TAPER_X, TAPER_Y))
    if shape == WEDGE:  # full height at x = -0.5, none at x = +0.5
        top = np.array([[-0.499, -0.5], [-0.499, 0.5], [-0.5, 0.5], [-0.5, -0.5]])
        return _prism(_square(1, 1), top[[0, 1, 2, 3]])
    if shape == CYLINDER:
        return _prism(_circle(12, 0.5), _circle(12, 0.5))
    if shape == CONE:
        return _prism(_circle(12, 0.5), _circle(12, 0.06))
    if shape == ELLIPSOID:
        return _ellipsoid(10, 6)
    raise AssertionError(f'shape {shape} has no unit mesh')


def _square(x: float, y: float) -> np.ndarray:
    return np.array([[0.5, -0.5], [0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5]]) * (x, y)


def _circle(corners: int, radius: float) -> np.ndarray:
    angle = np.arange(corners) * (2 * np.pi / corners)
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _prism(bottom: np.ndarray, top: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n = len(bottom)
    lower = np.concatenate([bottom, np.full((n, 1), -0.5)], axis=1)
    upper = np.concatenate([top, np.full((n, 1), 0.5)], axis=1)
    this, after = np.arange(n), (np.arange(n) + 1) % n
    fan = np.arange(1, n - 1)
    zero = np.zeros_like(fan)
    triangles = [
        np.stack([this, after, after + n], axis=1),
        np.stack([this, after + n, this + n], axis=1),
        np.stack([zero, fan + 1, fan], axis=1),
        np.stack([zero + n, fan + n, fan + 1 + n], axis=1),
    ]
    return np.concatenate([lower, upper]), np.concatenate(triangles)


def _ellipsoid(meridians: int, parallels: int) -> tuple[np.ndarray, np.ndarray]:
    polar = np.linspace(0, np.pi, parallels + 1)
    azimuth = np.arange(meridians) * (2 * np.pi / meridians)
    polar, azimuth = np.meshgrid(polar, azimuth, indexing='ij')
    vertices = 0.5 * np.stack(
        [np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], axis=-1
    )
    row, column = np.meshgrid(np.arange(parallels), np.arange(meridians), indexing='ij')
    a = row * meridians + column
    b = row * meridians + (column + 1) % meridians
    c, d = a + meridians, b + meridians
    triangles = np.concatenate(  # without the triangles that shrink to a line at the poles
        [
            np.stack([a, c, d], -1)[:-1].reshape(-1, 3),
            np.stack([a, d, b], -1)[1:].reshape(-1, 3),
        ]
    )
    return vertices.reshape(-1, 3), triangles
