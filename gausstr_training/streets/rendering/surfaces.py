"""What a surface or the sky looks like at a point: numba functions that fill small arrays."""

from __future__ import annotations

import math

import numpy as np

from gausstr_core.process.parallel import kernel
from gausstr_training.streets.rendering.textures import (
    band,
    grain,
    hashed,
    markings,
    noise,
    stripe,
)
from gausstr_training.streets.scene import shapes

Numbers = tuple[float, ...]
ASPHALT, PAVING = shapes.ASPHALT, shapes.PAVING
FOLIAGE, BARK, CONCRETE, ROOF = shapes.FOLIAGE, shapes.BARK, shapes.CONCRETE, shapes.ROOF
STRIPES, CONE_BANDS = shapes.STRIPES, shapes.CONE_BANDS
ELLIPSOID = shapes.ELLIPSOID


@kernel
def sky(direction: np.ndarray, air: tuple, out: np.ndarray) -> None:
    """Write the sky's linear RGB in a direction; air as in `shading.air_numbers`."""
    sun, sun_color, zenith, horizon, cloud, _, phase = air
    up = max(0.0, direction[2])
    mix = math.sqrt(up)
    toward = max(0.0, direction[0] * sun[0] + direction[1] * sun[1] + direction[2] * sun[2])
    glow = 0.35 * toward**24 + 3.0 * toward**900
    cover = 0.0
    if up > 0.01:
        x, y = direction[0] / (up + 0.15), direction[1] / (up + 0.15)
        puff = 0.55 * noise(1.6 * x + phase, 1.6 * y, 0.5)
        puff += 0.3 * noise(4.1 * x, 4.1 * y + phase, 3.0)
        puff += 0.15 * noise(9.0 * x, 9.0 * y, phase)
        cover = min(1.0, max(0.0, (puff - 0.75 + 0.5 * cloud) * 4.0)) * min(1.0, up * 6.0)
    for c in range(3):
        clear = horizon[c] + (zenith[c] - horizon[c]) * mix
        clear += glow * sun_color[c] * (1 - 0.8 * cloud)
        white = 0.45 + 0.22 * sun_color[c] + 0.15 * glow
        out[c] = clear + (white - clear) * cover


@kernel
def facade(
    local: np.ndarray,
    size: np.ndarray,
    normal: np.ndarray,
    color: np.ndarray,
    footprint: float,
    albedo: np.ndarray,
) -> float:
    """Paint windows onto a wall at a unit point; returns how much of the pixel is glass."""
    if abs(normal[2]) > 0.5:
        return 0.0
    axis = 1 if abs(normal[0]) > abs(normal[1]) else 0
    across = local[axis] * size[axis]
    height = (local[2] + 0.5) * size[2] - 0.6
    style = int(color[0] * 997) % 3
    wide = 1.0 + 0.5 * style
    pitch = 2.2 + 0.7 * style
    storey = math.floor(height / 3.0)
    up = height - 3.0 * storey
    column = math.floor(across / pitch + 0.5)
    if storey < 0.5:
        tall = band(up, 0.5, 2.5, footprint)
        side = stripe(across, pitch * 1.5, wide * 1.7, footprint)
    else:
        tall = band(up, 0.9, 2.3, footprint)
        side = stripe(across, pitch, wide, footprint)
    inside = tall * side
    frame = band(up, 0.75, 2.45, footprint) * stripe(across, pitch, wide + 0.3, footprint)
    ledge = stripe(height, 3.0, 0.22, footprint)
    brick = stripe(height, 0.25, 0.04, footprint) * (1.0 if style == 0 else 0.0)
    for c in range(3):
        albedo[c] *= 1.0 - 0.25 * brick
        albedo[c] += (0.55 - albedo[c]) * 0.5 * max(ledge, frame * 0.8)
    bright = 0.02 + 0.1 * hashed(column, storey, style) ** 2
    for c in range(3):
        albedo[c] += (bright * (0.85 + 0.15 * c) - albedo[c]) * inside
    return inside


@kernel
def ground(
    material: int,
    point: np.ndarray,
    road: Numbers,
    phase: float,
    footprint: float,
    albedo: np.ndarray,
) -> None:
    """Paint asphalt with markings, paving or grass; road as in `shading.road_numbers`."""
    curvature = road[6]
    x, y = point[0], point[1]
    s, d = x, y
    if abs(curvature) > 1e-6:
        radius = 1.0 / curvature
        sign = 1.0 if curvature > 0 else -1.0
        s = math.atan2(sign * x, sign * (radius - y)) * radius
        d = radius - sign * math.sqrt(x * x + (radius - y) ** 2)
    patch = grain(x + phase, y, 0.0, 4.0, footprint)
    fine = grain(x, y + phase, 0.0, 0.06, footprint)
    middle = grain(x, y, phase, 0.5, footprint)
    if material == ASPHALT:
        value = 1.0 + 0.15 * patch + 0.3 * fine + 0.1 * middle
        paint = markings(s, d, road, footprint) * (0.85 + 0.3 * middle)
        for c in range(3):
            albedo[c] *= value
            albedo[c] += (0.62 - albedo[c]) * min(1.0, max(0.0, paint))
    elif material == PAVING:
        joint = max(stripe(s, 0.8, 0.04, footprint), stripe(d, 0.8, 0.04, footprint))
        tile = hashed(math.floor(s / 0.8 + 0.5), math.floor(d / 0.8 + 0.5), 7) - 0.5
        fade = 1.0 - min(1.0, footprint / 0.8)
        value = 1.0 + 0.1 * patch + 0.12 * fine + 0.22 * tile * fade - 0.4 * joint
        kerb = band(abs(d), road[2] - 0.02, road[2] + 0.22, footprint)
        for c in range(3):
            albedo[c] *= value
            albedo[c] += (0.4 - albedo[c]) * kerb * 0.7
    else:
        value = 1.0 + 0.35 * patch + 0.5 * fine + 0.35 * middle
        dry = 0.5 + 0.5 * grain(x, y, phase + 9.0, 9.0, footprint)
        albedo[0] *= value * (0.8 + 0.6 * dry)
        albedo[1] *= value
        albedo[2] *= value * (0.9 + 0.3 * dry)


@kernel
def pattern(
    material: int,
    local: np.ndarray,
    size: np.ndarray,
    body_point: np.ndarray,
    phase: float,
    footprint: float,
    albedo: np.ndarray,
) -> None:
    """Vary the colour of a solid's surface."""
    x, y, z = body_point[0] + phase, body_point[1], body_point[2]
    value = 1.0 + 0.06 * grain(x, y, z, 0.3, footprint)
    if material == FOLIAGE:
        value = 1.0 + 0.75 * grain(x, y, z, 0.16, footprint) + 0.5 * grain(x, y, z, 0.5, footprint)
    elif material == BARK:
        value = 1.0 + 0.6 * grain(4 * x, 4 * y, z, 0.3, footprint)
    elif material == CONCRETE:
        value = 1.0 + 0.25 * grain(x, y, z, 0.1, footprint) + 0.2 * grain(x, y, z, 0.7, footprint)
    elif material == ROOF:
        value = 1.0 - 0.4 * stripe(local[2] * size[2], 0.3, 0.06, footprint)
    elif material == STRIPES:
        along = local[0] * size[0] + local[1] * size[1] + local[2] * size[2]
        red = stripe(along, 0.6, 0.3, footprint)
        for c in range(3):
            albedo[c] += ((0.6 if c == 0 else 0.02) - albedo[c]) * red
    elif material == CONE_BANDS:
        white = max(band(local[2], -0.12, 0.06, 0.02), band(local[2], 0.18, 0.3, 0.02))
        for c in range(3):
            albedo[c] += (0.8 - albedo[c]) * white
    for c in range(3):
        albedo[c] *= max(0.15, value)


@kernel
def mottled(point: np.ndarray, mottle: np.ndarray, footprint: float, albedo: np.ndarray) -> None:
    """Mix in a second colour in patches; mottle as in `shapes.Mottle`."""
    patch = grain(point[0], point[1], point[2], mottle[1], footprint)
    patch += 0.5 * grain(point[1], point[2], point[0], 0.3 * mottle[1], footprint)
    share = mottle[0] * min(1.0, max(0.0, 0.5 + 0.8 * patch))
    for c in range(3):
        albedo[c] += (mottle[2 + c] - albedo[c]) * share


@kernel
def soaked(point: np.ndarray, wet: float, phase: float, albedo: np.ndarray) -> float:
    """Darken what lies level in the rain; returns how much it mirrors: most in puddles."""
    puddle = noise(0.35 * point[0] + phase, 0.35 * point[1], 7.0)
    puddle = min(1.0, max(0.0, (puddle - 0.55) * 5.0))
    for c in range(3):
        albedo[c] *= 1.0 - 0.5 * wet
    return wet * (0.25 + 0.75 * puddle)


@kernel
def round_normal(
    kind: int,
    local: np.ndarray,
    inverse: np.ndarray,
    matrix: np.ndarray,
    ray: np.ndarray,
    n: np.ndarray,
) -> None:
    """Replace a facet's normal by the smooth one of the ellipsoid or cylinder."""
    body = np.zeros(3)
    last = 3 if kind == ELLIPSOID else 2
    for c in range(3):
        for e in range(last):
            body[c] += inverse[e, c] * local[e]
    length = 0.0
    for c in range(3):
        n[c] = matrix[0, c] * body[0] + matrix[1, c] * body[1] + matrix[2, c] * body[2]
        length += n[c] * n[c]
    length = math.sqrt(max(length, 1e-20))
    if n[0] * ray[0] + n[1] * ray[1] + n[2] * ray[2] > 0.0:
        length = -length
    for c in range(3):
        n[c] /= length
