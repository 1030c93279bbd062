"""Colour of what the rays hit: texture, sun, sky light, gloss and haze.

One numba kernel walks the pixels; everything in it is deterministic and single-threaded.
"""

from __future__ import annotations

import math

import numpy as np

from gausstr_core.process.parallel import kernel
from gausstr_training.streets.rendering.geometry import Geometry
from gausstr_training.streets.rendering.surfaces import (
    facade,
    ground,
    mottled,
    pattern,
    round_normal,
    sky,
    soaked,
)
from gausstr_training.streets.scene import shapes
from gausstr_training.streets.scene.road import Road
from gausstr_training.streets.scene.world import Light, World

ASPHALT, PAVING, GRASS, FACADE = shapes.ASPHALT, shapes.PAVING, shapes.GRASS, shapes.FACADE
GLASS, FOLIAGE, PAINT = shapes.GLASS, shapes.FOLIAGE, shapes.PAINT
ELLIPSOID, CYLINDER = shapes.ELLIPSOID, shapes.CYLINDER
LAMP_REACH = 8.0  # metres at which the light from beside the camera has halved
Hits = tuple[np.ndarray, np.ndarray, np.ndarray]  # triangle, distance, normal


def road_numbers(road: Road) -> tuple[float, ...]:
    """What the ground's texture needs to know of the road, as plain floats."""
    far = 1e6 if road.crossing is None else road.crossing
    return (
        float(road.lanes), road.lane_width, road.half_width, far, road.crossing_half,
        float(road.lanes > 1), road.curvature,
    )  # fmt: skip


def air_numbers(light: Light) -> tuple[np.ndarray | float, ...]:
    """What sun, sky and haze look like, as arrays and plain floats."""
    return (
        light.sun, light.sun_color, light.zenith, light.horizon, light.cloud, light.haze,
        light.phase,
    )  # fmt: skip


def shade(
    world: World,
    geometry: Geometry,
    body_from_world: np.ndarray,
    origin: np.ndarray,
    directions: np.ndarray,
    hits: Hits,
    lit: np.ndarray,
    pixel_angle: float,
) -> np.ndarray:
    """Linear RGB [N, 3] float32 of rays [N, 3] from one origin [3].

    Args:
        body_from_world: [B, 4, 4] where the bodies are.
        hits: triangle [N] (-1 = sky), distance [N] in multiples of the direction, normal [N, 3].
        lit: [N] which hits see the sun.
        pixel_angle: what a pixel spans, in radians; textures finer than it fade.
    """
    triangle, distance, normal = hits
    part = np.where(triangle >= 0, geometry.part_of_triangle[triangle], -1)
    colors = np.zeros((len(part), 3), dtype=np.float32)
    rays = (part, distance, normal, directions, lit)
    parts = (
        geometry.body_of_part, geometry.shape, geometry.material, geometry.color,
        geometry.unit_from_body, geometry.size, geometry.mottle,
    )  # fmt: skip
    road, air = road_numbers(world.road), air_numbers(world.light)
    weather = (float(world.light.wet), float(world.light.lamp))
    _shade(rays, parts, body_from_world, origin, road, air, weather, pixel_angle, colors)
    return colors


def develop(linear: np.ndarray, light: Light, camera: int) -> np.ndarray:
    """Linear RGB to sRGB-like uint8: exposure, white balance, a soft shoulder, gamma."""
    gain = light.gains if isinstance(light.gains, float) else light.gains[camera]
    value = linear * (light.exposure * light.white * gain).astype(np.float32) * np.float32(1.15)
    value = value * (1 + value / 6.0) / (1 + value)  # Reinhard with white point
    value = np.clip(value * 1.25, 0.0, 1.0) ** np.float32(1 / 2.2)
    return (value * 255 + 0.5).astype(np.uint8)


@kernel
def _shade(
    rays: tuple, parts: tuple, body_from_world: np.ndarray, origin: np.ndarray, road: tuple,
    air: tuple, weather: tuple, pixel_angle: float, out: np.ndarray,
) -> None:  # fmt: skip
    part, distance, normal, directions, lit = rays
    body_of_part, shape, material, color, unit_from_body, size, mottle = parts
    wet, lamp = weather
    ray, n, point, turned = np.zeros(3), np.zeros(3), np.zeros(3), np.zeros(3)
    body_point, local, albedo, shown = np.zeros(3), np.zeros(3), np.zeros(3), np.zeros(3)
    for i in range(len(part)):
        d = directions[i]
        long = math.sqrt(d[0] ** 2 + d[1] ** 2 + d[2] ** 2)
        for c in range(3):
            ray[c] = d[c] / long
        p = part[i]
        if p < 0:
            sky(ray, air, shown)
            out[i] = shown
            continue
        matrix, inverse = body_from_world[body_of_part[p]], unit_from_body[p]
        for c in range(3):
            point[c] = origin[c] + distance[i] * d[c]
            n[c] = normal[i, c]
            albedo[c] = color[p, c]
        _apply(matrix, point, body_point)
        _turn(matrix, n, turned)
        _apply(inverse, body_point, local)
        if shape[p] == ELLIPSOID or (shape[p] == CYLINDER and abs(local[2]) < 0.498):
            round_normal(shape[p], local, inverse, matrix, ray, n)
        slant = abs(ray[0] * n[0] + ray[1] * n[1] + ray[2] * n[2])
        far = distance[i] * long
        footprint = far * pixel_angle / math.sqrt(max(slant, 0.02))
        gloss = 0.0
        if material[p] == ASPHALT or material[p] == PAVING or material[p] == GRASS:
            ground(material[p], point, road, air[6], footprint, albedo)
        elif material[p] == FACADE:
            gloss = 0.6 * facade(local, size[p], turned, color[p], footprint, albedo)
        else:
            pattern(material[p], local, size[p], body_point, air[6], footprint, albedo)
            gloss = 0.75 if material[p] == GLASS else (0.3 if material[p] == PAINT else 0.0)
        if mottle[p, 0] > 0.0:
            mottled(body_point, mottle[p], footprint, albedo)
        if wet > 0.0 and n[2] > 0.5:
            gloss = max(gloss, soaked(point, wet, air[6], albedo))
        _light(albedo, n, point[2], lit[i], material[p] == FOLIAGE, air, shown)
        if lamp > 0.0:
            near = lamp * slant / (1.0 + (far / LAMP_REACH) ** 2)
            for c in range(3):
                shown[c] += albedo[c] * near
        if gloss > 0.0:
            _reflect(ray, n, slant, gloss, air, shown)
        _haze(far, air, shown)
        out[i] = shown


@kernel
def _apply(matrix: np.ndarray, point: np.ndarray, out: np.ndarray) -> None:
    for c in range(3):
        out[c] = matrix[c, 3]
        for e in range(3):
            out[c] += matrix[c, e] * point[e]


@kernel
def _turn(matrix: np.ndarray, vector: np.ndarray, out: np.ndarray) -> None:
    for c in range(3):
        out[c] = 0.0
        for e in range(3):
            out[c] += matrix[c, e] * vector[e]


@kernel
def _light(
    albedo: np.ndarray, n: np.ndarray, height: float, lit: bool, leafy: bool, air: tuple,
    out: np.ndarray,
) -> None:  # fmt: skip
    """Sun where nothing hides it, and the light of the sky: less of it low on a wall."""
    sun, sun_color, zenith, horizon, _, _, _ = air
    facing = n[0] * sun[0] + n[1] * sun[1] + n[2] * sun[2]
    direct = max(0.0, facing) if lit else 0.0
    if leafy:  # light shines through leaves
        direct = (0.35 + 0.65 * direct) if lit else 0.12 * max(0.0, facing)
    above = 0.5 + 0.5 * n[2]
    low = 1.0 if n[2] > 0.5 else 1.0 - 0.45 * math.exp(-max(0.0, height))
    for c in range(3):
        ambient = (0.35 * zenith[c] + 0.35 * horizon[c]) * above + 0.16 * (1 - above)
        out[c] = albedo[c] * (ambient * low * 1.1 + direct * sun_color[c])


@kernel
def _reflect(
    ray: np.ndarray, n: np.ndarray, slant: float, gloss: float, air: tuple, out: np.ndarray
) -> None:
    """Mix in the sky as a glossy surface mirrors it."""
    mirror, seen = np.zeros(3), np.full(3, 0.12)
    back = 2.0 * (ray[0] * n[0] + ray[1] * n[1] + ray[2] * n[2])
    for c in range(3):
        mirror[c] = ray[c] - back * n[c]
    fresnel = gloss * (0.12 + 0.88 * (1.0 - slant) ** 4)
    if mirror[2] > 0.0:
        sky(mirror, air, seen)
    for c in range(3):
        out[c] += (min(seen[c], 3.0) - out[c]) * fresnel


@kernel
def _haze(far: float, air: tuple, out: np.ndarray) -> None:
    fog = 1.0 - math.exp(-air[5] * far)
    for c in range(3):
        out[c] += (0.9 * air[3][c] - out[c]) * fog
