"""Builders of what stands beside a road: plants, poles, cones, barriers, buildings."""

from __future__ import annotations

import numpy as np

from gausstr_training.streets.classes import (
    BARRIER,
    BUILDING,
    POLE,
    TRAFFIC_CONE,
    VEGETATION,
)
from gausstr_training.streets.scene.shapes import (
    BARK,
    BOX,
    CONCRETE,
    CONE,
    CONE_BANDS,
    CYLINDER,
    ELLIPSOID,
    FACADE,
    FOLIAGE,
    PLAIN,
    ROOF,
    STRIPES,
    TAPER,
    Color,
    Part,
    part,
)
from gausstr_training.streets.scene.vehicles import Random, jitter, pick

LEAVES: tuple[Color, ...] = (
    (0.08, 0.19, 0.03),
    (0.05, 0.13, 0.03),
    (0.14, 0.22, 0.04),
    (0.1, 0.16, 0.05),
)
WALLS: tuple[Color, ...] = (
    (0.36, 0.14, 0.09),
    (0.5, 0.42, 0.3),
    (0.55, 0.53, 0.48),
    (0.3, 0.29, 0.28),
    (0.6, 0.5, 0.35),
    (0.4, 0.25, 0.17),
    (0.45, 0.47, 0.5),
)
STEEL = (0.25, 0.26, 0.27)
SIGNS: tuple[Color, ...] = ((0.02, 0.08, 0.5), (0.6, 0.02, 0.02), (0.75, 0.5, 0.02))


def tree(random: Random) -> list[Part]:
    """A trunk and a crown of overlapping ellipsoids."""
    height, spread = random.uniform(4.5, 9.0), random.uniform(2.4, 4.4)
    leaves = pick(random, LEAVES)
    trunk = height * random.uniform(0.3, 0.42)
    crown = height - trunk
    stem = trunk + 0.5 * crown  # up into the crown
    girth = random.uniform(0.24, 0.42)
    bark = jitter(random, (0.14, 0.1, 0.07))
    parts = [part(CYLINDER, (0, 0, stem / 2), (girth, girth, stem), VEGETATION, BARK, bark)]
    for _ in range(5):
        x, y = random.normal(0, spread * 0.17, 2)
        z = trunk + crown * random.uniform(0.3, 0.65)
        wide, tall = spread * random.uniform(0.55, 0.85), crown * random.uniform(0.5, 0.75)
        size = (wide, wide, tall)
        color = jitter(random, leaves)
        parts.append(part(ELLIPSOID, (x, y, z), size, VEGETATION, FOLIAGE, color))
    return parts


def bush(random: Random) -> list[Part]:
    """A low clump of foliage."""
    leaves = pick(random, LEAVES)
    parts = []
    for _ in range(3):
        x, y = random.normal(0, 0.35, 2)
        wide, tall = random.uniform(0.8, 1.5), random.uniform(0.7, 1.4)
        size = (wide, wide * random.uniform(0.8, 1.2), tall)
        color = jitter(random, leaves)
        parts.append(part(ELLIPSOID, (x, y, tall * 0.4), size, VEGETATION, FOLIAGE, color))
    return parts


def hedge(random: Random) -> list[Part]:
    """A cut hedge along x."""
    length, height = random.uniform(3.0, 7.0), random.uniform(0.9, 1.6)
    color = pick(random, LEAVES)
    return [part(BOX, (0, 0, height / 2), (length, 0.8, height), VEGETATION, FOLIAGE, color)]


def lamp_post(random: Random) -> list[Part]:
    """A lamp post whose arm points to +y."""
    height = random.uniform(5.5, 7.5)
    color = pick(random, (STEEL, (0.06, 0.09, 0.07)))
    return [
        part(CYLINDER, (0, 0, height / 2), (0.18, 0.18, height), POLE, PLAIN, color),
        part(CYLINDER, (0, 0, 0.5), (0.28, 0.28, 1.0), POLE, PLAIN, color),
        part(BOX, (0, 0.8, height), (0.1, 1.7, 0.1), POLE, PLAIN, color),
        part(BOX, (0, 1.5, height - 0.05), (0.25, 0.7, 0.12), POLE, PLAIN, (0.7, 0.7, 0.65)),
    ]


def sign_post(random: Random) -> list[Part]:
    """A traffic sign on a post, its face to -x."""
    height, color = random.uniform(2.3, 3.0), pick(random, SIGNS)
    parts = [part(CYLINDER, (0, 0, height / 2), (0.12, 0.12, height), POLE, PLAIN, STEEL)]
    if random.random() < 0.5:
        plate = part(
            CYLINDER,
            (-0.06, 0, height - 0.3),
            (0.7, 0.7, 0.05),
            POLE,
            PLAIN,
            color,
            pitch=np.pi / 2,
        )
        white = part(
            CYLINDER,
            (-0.08, 0, height - 0.3),
            (0.45, 0.45, 0.05),
            POLE,
            PLAIN,
            (0.8, 0.8, 0.8),
            pitch=np.pi / 2,
        )
        return [*parts, plate, white]
    return [*parts, part(BOX, (-0.06, 0, height - 0.3), (0.05, 0.7, 0.7), POLE, PLAIN, color)]


def traffic_light(random: Random) -> list[Part]:
    """A signal head on a pole, facing -x."""
    height = random.uniform(3.0, 3.8)
    parts = [
        part(CYLINDER, (0, 0, height / 2), (0.16, 0.16, height), POLE, PLAIN, STEEL),
        part(BOX, (-0.15, 0, height - 0.4), (0.25, 0.34, 0.95), POLE, PLAIN, (0.02, 0.02, 0.02)),
    ]
    lit = int(random.integers(3))
    for index, color in enumerate(((0.9, 0.02, 0.02), (0.9, 0.5, 0.02), (0.02, 0.8, 0.2))):
        shown = color if index == lit else (0.04, 0.04, 0.04)
        center = (-0.28, 0, height - 0.1 - 0.3 * index)
        parts.append(part(BOX, center, (0.03, 0.2, 0.2), POLE, PLAIN, shown))
    return parts


def traffic_cone(random: Random) -> list[Part]:
    """An orange cone with white bands on a square foot."""
    height = random.uniform(0.7, 0.95)
    orange = jitter(random, (0.85, 0.18, 0.02), 0.06)
    size = (0.42, 0.42, height)
    return [
        part(CONE, (0, 0, height / 2 + 0.03), size, TRAFFIC_CONE, CONE_BANDS, orange),
        part(BOX, (0, 0, 0.04), (0.52, 0.52, 0.08), TRAFFIC_CONE, PLAIN, orange),
    ]


def barrier(random: Random, *, concrete: bool) -> list[Part]:
    """Two metres of road barrier along x: concrete, or a red and white board on feet."""
    if concrete:
        grey = jitter(random, (0.42, 0.41, 0.39))
        return [
            part(BOX, (0, 0, 0.15), (2.0, 0.6, 0.3), BARRIER, CONCRETE, grey),
            part(BOX, (0, 0, 0.5), (2.0, 0.3, 0.9), BARRIER, CONCRETE, grey),
            part(BOX, (0, 0, 0.8), (2.02, 0.32, 0.16), BARRIER, STRIPES, (0.7, 0.7, 0.68)),
        ]
    parts = [
        part(BOX, (0, 0, z), (1.9, 0.1, 0.3), BARRIER, STRIPES, (0.75, 0.75, 0.73))
        for z in (0.85, 0.4)
    ]
    for x in (-0.8, 0.8):
        parts.append(part(BOX, (x, 0, 0.5), (0.1, 0.12, 1.0), BARRIER, PLAIN, (0.5, 0.5, 0.5)))
        parts.append(part(BOX, (x, 0, 0.06), (0.25, 0.7, 0.12), BARRIER, PLAIN, (0.1, 0.1, 0.1)))
    return parts


def building(random: Random, length: float, depth: float) -> list[Part]:
    """A house `length` along x and `depth` along y with its front at y = 0, going to +y."""
    height = float(random.choice([2, 3, 4, 5, 7])) * 3.0 + 0.8
    wall = pick(random, WALLS)
    middle = depth / 2
    parts = [
        part(
            BOX,
            (0, middle, height / 2 - 0.3),
            (length, depth, height + 0.6),
            BUILDING,
            FACADE,
            wall,
        ),
        part(
            BOX,
            (0, middle, height + 0.15),
            (length + 0.5, depth + 0.5, 0.3),
            BUILDING,
            PLAIN,
            jitter(random, (0.3, 0.28, 0.26)),
        ),
    ]
    if height < 11 and random.random() < 0.6:
        roof = pick(random, ((0.25, 0.07, 0.04), (0.1, 0.1, 0.11), (0.16, 0.1, 0.07)))
        size = (length + 0.4, depth + 0.4, 2.6)
        parts.append(part(TAPER, (0, middle, height + 1.6), size, BUILDING, ROOF, roof))
    if random.random() < 0.5:
        awning = pick(random, ((0.4, 0.05, 0.05), (0.05, 0.2, 0.12), (0.1, 0.12, 0.3)))
        size = (length * 0.8, 1.0, 0.16)
        parts.append(part(BOX, (0, -0.5, 2.9), size, BUILDING, STRIPES, awning))
    return parts
