"""Procedural textures as scalar numba functions: what colour a surface has at a point."""

from __future__ import annotations

import math

from gausstr_core.process.parallel import kernel


@kernel
def hashed(x: int, y: int, z: int) -> float:
    """A reproducible random number in [0, 1) for a lattice point."""
    h = (x * 374761393 + y * 668265263 + z * 2147483647 + 144665) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 668265263) & 0xFFFFFFFF
    return ((h ^ (h >> 15)) & 0xFFFFFF) / 16777216.0


@kernel
def noise(x: float, y: float, z: float) -> float:
    """Smooth value noise in [0, 1] with features of one unit."""
    i, j, k = math.floor(x), math.floor(y), math.floor(z)
    u, v, w = x - i, y - j, z - k
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    total = 0.0
    for a in range(2):
        for b in range(2):
            for c in range(2):
                weight = (u if a else 1 - u) * (v if b else 1 - v) * (w if c else 1 - w)
                total += weight * hashed(i + a, j + b, k + c)
    return total


@kernel
def grain(x: float, y: float, z: float, scale: float, footprint: float) -> float:
    """Noise with features of `scale` metres in [-1, 1], faded where a pixel covers more."""
    fade = 1.0 - min(1.0, 0.7 * footprint / scale)
    if fade <= 0.0:
        return 0.0
    return fade * (2.0 * noise(x / scale, y / scale, z / scale) - 1.0)


@kernel
def stripe(x: float, period: float, width: float, footprint: float) -> float:
    """How much of a pixel at x lies on lines of a width, repeated with a period, centred on 0."""
    away = abs((x / period - math.floor(x / period + 0.5)) * period)
    soft = max(footprint, 1e-3)
    full = min(1.0, max(0.0, (width / 2 - away) / soft + 0.5))
    return min(full, width / soft) if soft > width else full


@kernel
def band(x: float, low: float, high: float, footprint: float) -> float:
    """How much of a pixel at x lies between low and high."""
    soft = max(footprint, 1e-3)
    enter = min(1.0, max(0.0, (x - low) / soft + 0.5))
    leave = min(1.0, max(0.0, (high - x) / soft + 0.5))
    return enter * leave


@kernel
def markings(s: float, d: float, road: tuple[float, ...], footprint: float) -> float:
    """How much white paint lies at road coordinates; road as in `shading.road_numbers`."""
    lanes, lane_width, half, crossing, crossing_half, solid, _ = road
    away = abs(s - crossing)
    if away < crossing_half + 1.0:
        return 0.0
    if away < crossing_half + 4.5:  # a zebra before the crossing street
        inside = band(away, crossing_half + 1.0, crossing_half + 4.0, footprint)
        return inside * stripe(d, 1.2, 0.6, footprint) * (1.0 if abs(d) < half - 0.3 else 0.0)
    edge = lanes * lane_width
    paint = band(abs(d), edge - 0.07, edge + 0.07, footprint)
    dash = stripe(s, 9.0, 4.0, footprint)
    if solid > 0.5:
        paint = max(paint, band(abs(d), 0.06, 0.18, footprint))
    else:
        paint = max(paint, dash * band(abs(d), -0.07, 0.07, footprint))
    if lanes > 1.5:
        paint = max(paint, dash * band(abs(d), lane_width - 0.06, lane_width + 0.06, footprint))
    return paint
