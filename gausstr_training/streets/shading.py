"""Colour of the hit points: texture, sun, sky light, gloss, haze; and of the sky.

One numba kernel walks the pixels; everything in it is deterministic and single-threaded.
"""

from __future__ import annotations

import math

import numpy as np

from gausstr_core.parallel import kernel
from gausstr_training.streets import shapes
from gausstr_training.streets.geometry import Geometry
from gausstr_training.streets.road import Road
from gausstr_training.streets.textures import band, grain, hashed, markings, noise, stripe
from gausstr_training.streets.world import Light

ASPHALT, PAVING, GRASS, FACADE = shapes.ASPHALT, shapes.PAVING, shapes.GRASS, shapes.FACADE
GLASS, FOLIAGE, PAINT, STRIPES = shapes.GLASS, shapes.FOLIAGE, shapes.PAINT, shapes.STRIPES
BARK, CONCRETE, CONE_BANDS, ROOF = (
    shapes.BARK, shapes.CONCRETE, shapes.CONE_BANDS, shapes.ROOF,
)  # fmt: skip
ELLIPSOID, CYLINDER = shapes.ELLIPSOID, shapes.CYLINDER


def road_numbers(road: Road) -> tuple[float, ...]:
    """What the marking texture needs to know of the road, as plain floats."""
    far = 1e6 if road.crossing is None else road.crossing
    return (
        float(road.lanes), road.lane_width, road.half_width, far, road.crossing_half,
        float(road.lanes > 1),
    )  # fmt: skip


def shade(
    geometry: Geometry,
    road: Road,
    light: Light,
    body_from_world: np.ndarray,
    origin: np.ndarray,
    directions: np.ndarray,
    hits: tuple[np.ndarray, np.ndarray, np.ndarray],
    lit: np.ndarray,
    pixel_angle: float,
) -> np.ndarray:
    """Linear RGB [N, 3] float32 of rays [N, 3]; `lit` [N] says which hits see the sun."""
    triangle, distance, normal = hits
    part = np.where(triangle >= 0, geometry.part_of_triangle[triangle], -1)
    colors = np.zeros((len(part), 3), dtype=np.float32)
    _shade(
        part, distance, normal, directions, origin, lit, body_from_world,
        geometry.body_of_part, geometry.shape, geometry.material, geometry.color,
        geometry.unit_from_body, geometry.size, road.curvature, road_numbers(road),
        light.sun, light.sun_color, light.zenith, light.horizon, light.cloud, light.haze,
        light.phase, pixel_angle, colors,
    )  # fmt: skip
    return colors


@kernel
def _sky(direction, sun, sun_color, zenith, horizon, cloud, phase, out):  # type: ignore[no-untyped-def]
    up = max(0.0, direction[2])
    mix = math.sqrt(up)
    toward = max(0.0, direction[0] * sun[0] + direction[1] * sun[1] + direction[2] * sun[2])
    glow = 0.35 * toward**24 + 3.0 * toward**900
    cover = 0.0
    if up > 0.01:
        x, y = direction[0] / (up + 0.15), direction[1] / (up + 0.15)
        puff = 0.55 * noise(1.6 * x + phase, 1.6 * y, 0.5) + 0.3 * noise(4.1 * x, 4.1 * y + phase, 3.0)
        puff += 0.15 * noise(9.0 * x, 9.0 * y, phase)
        cover = min(1.0, max(0.0, (puff - 0.75 + 0.5 * cloud) * 4.0)) * min(1.0, up * 6.0)
    for c in range(3):
        clear = horizon[c] + (zenith[c] - horizon[c]) * mix + glow * sun_color[c] * (1 - 0.8 * cloud)
        white = 0.45 + 0.22 * sun_color[c] + 0.15 * glow
        out[c] = clear + (white - clear) * cover


@kernel
def _facade(local, size, normal_local, color, footprint, albedo):  # type: ignore[no-untyped-def]
    """Windows in a wall; returns how much of the pixel is glass."""
    if abs(normal_local[2]) > 0.5:
        return 0.0
    across = local[1] * size[1] if abs(normal_local[0]) > abs(normal_local[1]) else local[0] * size[0]
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
    bright = 0.02 + 0.1 * hashed(int(column), int(storey), style) ** 2
    for c in range(3):
        albedo[c] += (bright * (0.85 + 0.15 * c) - albedo[c]) * inside
    return inside


@kernel
def _ground(material, point, curvature, road, phase, footprint, albedo):  # type: ignore[no-untyped-def]
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
        tile = hashed(int(math.floor(s / 0.8 + 0.5)), int(math.floor(d / 0.8 + 0.5)), 7) - 0.5
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
def _pattern(material, local, size, body_point, phase, footprint, albedo):  # type: ignore[no-untyped-def]
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
        red = stripe(local[0] * size[0] + local[1] * size[1] + local[2] * size[2], 0.6, 0.3, footprint)
        for c in range(3):
            albedo[c] += ((0.6 if c == 0 else 0.02) - albedo[c]) * red
    elif material == CONE_BANDS:
        white = max(band(local[2], -0.12, 0.06, 0.02), band(local[2], 0.18, 0.3, 0.02))
        for c in range(3):
            albedo[c] += (0.8 - albedo[c]) * white
    for c in range(3):
        albedo[c] *= max(0.15, value)


@kernel
def _shade(  # type: ignore[no-untyped-def]
    part, distance, normal, directions, origin, lit, body_from_world,
    body_of_part, shape, material, color, unit_from_body, size, curvature, road,
    sun, sun_color, zenith, horizon, cloud, haze, phase, pixel_angle, out,
):  # fmt: skip
    ray, n, point = np.zeros(3), np.zeros(3), np.zeros(3)
    body_point, local, turned = np.zeros(3), np.zeros(3), np.zeros(3)
    albedo, sky, mirror = np.zeros(3), np.zeros(3), np.zeros(3)
    for i in range(len(part)):
        long = math.sqrt(directions[i, 0] ** 2 + directions[i, 1] ** 2 + directions[i, 2] ** 2)
        for c in range(3):
            ray[c] = directions[i, c] / long
        p = part[i]
        if p < 0:
            _sky(ray, sun, sun_color, zenith, horizon, cloud, phase, sky)
            for c in range(3):
                out[i, c] = sky[c]
            continue
        far = distance[i] * long
        matrix, inverse = body_from_world[body_of_part[p]], unit_from_body[p]
        for c in range(3):
            point[c] = origin[c] + distance[i] * directions[i, c]
            n[c] = normal[i, c]
            albedo[c] = color[p, c]
        for c in range(3):
            body_point[c] = matrix[c, 3]
            turned[c] = 0.0
            for e in range(3):
                body_point[c] += matrix[c, e] * point[e]
                turned[c] += matrix[c, e] * n[e]
        for c in range(3):
            local[c] = inverse[c, 3]
            for e in range(3):
                local[c] += inverse[c, e] * body_point[e]
        kind = shape[p]
        if kind == ELLIPSOID or (kind == CYLINDER and abs(local[2]) < 0.498):
            _round_normal(kind, local, inverse, matrix, ray, n)
        slant = abs(ray[0] * n[0] + ray[1] * n[1] + ray[2] * n[2])
        footprint = far * pixel_angle / math.sqrt(max(slant, 0.02))
        surface = material[p]
        gloss = 0.0
        if surface == ASPHALT or surface == PAVING or surface == GRASS:
            _ground(surface, point, curvature, road, phase, footprint, albedo)
        elif surface == FACADE:
            gloss = 0.6 * _facade(local, size[p], turned, color[p], footprint, albedo)
        else:
            _pattern(surface, local, size[p], body_point, phase, footprint, albedo)
            gloss = 0.75 if surface == GLASS else (0.3 if surface == PAINT else 0.0)
        facing = n[0] * sun[0] + n[1] * sun[1] + n[2] * sun[2]
        direct = max(0.0, facing) if lit[i] else 0.0
        if surface == FOLIAGE:
            direct = (0.35 + 0.65 * direct) if lit[i] else 0.12 * max(0.0, facing)
        above = 0.5 + 0.5 * n[2]
        low = 1.0 if n[2] > 0.5 else 1.0 - 0.45 * math.exp(-max(0.0, point[2]))
        for c in range(3):
            ambient = (0.35 * zenith[c] + 0.35 * horizon[c]) * above + 0.16 * (1 - above)
            out[i, c] = albedo[c] * (ambient * low * 1.1 + direct * sun_color[c])
        if gloss > 0.0:
            back = 2.0 * (ray[0] * n[0] + ray[1] * n[1] + ray[2] * n[2])
            for c in range(3):
                mirror[c] = ray[c] - back * n[c]
            fresnel = gloss * (0.12 + 0.88 * (1.0 - slant) ** 4)
            if mirror[2] > 0.0:
                _sky(mirror, sun, sun_color, zenith, horizon, cloud, phase, sky)
            else:
                sky[:] = 0.12
            for c in range(3):
                out[i, c] += (min(sky[c], 3.0) - out[i, c]) * fresnel
        fog = 1.0 - math.exp(-haze * far)
        for c in range(3):
            out[i, c] += (0.9 * horizon[c] - out[i, c]) * fog


@kernel
def _round_normal(kind, local, inverse, matrix, ray, n):  # type: ignore[no-untyped-def]
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


def develop(linear: np.ndarray, light: Light) -> np.ndarray:
    """Linear RGB to sRGB-like uint8: exposure, white balance, a soft shoulder, gamma."""
    value = linear * (light.exposure * light.white).astype(np.float32) * np.float32(1.15)
    value = value * (1 + value / 6.0) / (1 + value)  # Reinhard with white point
    value = np.clip(value * 1.25, 0.0, 1.0) ** np.float32(1 / 2.2)
    return (value * 255 + 0.5).astype(np.uint8)
