"""Builders of pedestrians and two-wheelers, standing on z = 0 and looking to +x."""

from __future__ import annotations

import numpy as np

from gausstr_training.streets.classes import BICYCLE, MOTORCYCLE, PEDESTRIAN
from gausstr_training.streets.scene.shapes import (
    BOX,
    CYLINDER,
    ELLIPSOID,
    PAINT,
    PLAIN,
    Color,
    Part,
    part,
)
from gausstr_training.streets.scene.vehicles import (
    BLACK,
    CAR_COLORS,
    LAMP,
    TAIL,
    Random,
    jitter,
    pick,
)

SKIN: tuple[Color, ...] = ((0.55, 0.33, 0.22), (0.32, 0.17, 0.1), (0.14, 0.07, 0.04))
CLOTHES: tuple[Color, ...] = (
    (0.45, 0.05, 0.05),
    (0.05, 0.1, 0.35),
    (0.6, 0.6, 0.55),
    (0.05, 0.05, 0.06),
    (0.5, 0.35, 0.05),
    (0.08, 0.25, 0.12),
    (0.35, 0.12, 0.35),
)


def pedestrian(random: Random, *, walking: bool = True) -> list[Part]:
    """A person of 1.5 to 1.9 m with legs, trunk, arms and head."""
    tall = random.uniform(1.5, 1.9) / 1.75
    stride = random.uniform(0.15, 0.45) if walking else 0.04
    legs, coat, skin = pick(random, CLOTHES), pick(random, CLOTHES), pick(random, SKIN)
    parts = []
    for side in (-1, 1):
        swing = side * stride
        leg = (-0.42 * np.sin(swing) * tall, side * 0.1, 0.43 * tall)
        size = (0.17, 0.16, 0.88 * tall)
        parts.append(part(CYLINDER, leg, size, PEDESTRIAN, PLAIN, legs, pitch=swing))
        arm = (0.28 * np.sin(swing), side * 0.27, 1.1 * tall)
        size = (0.12, 0.12, 0.62 * tall)
        parts.append(part(CYLINDER, arm, size, PEDESTRIAN, PLAIN, coat, pitch=-swing))
    parts.append(
        part(ELLIPSOID, (0, 0, 1.2 * tall), (0.34, 0.5, 0.8 * tall), PEDESTRIAN, PLAIN, coat)
    )
    parts.append(
        part(BOX, (0, 0, 1.16 * tall), (0.22, 0.38, 0.56 * tall), PEDESTRIAN, PLAIN, coat)
    )
    parts.append(
        part(ELLIPSOID, (0.02, 0, 1.63 * tall), (0.21, 0.19, 0.26), PEDESTRIAN, PLAIN, skin)
    )
    hair = pick(random, ((0.03, 0.02, 0.01), (0.2, 0.12, 0.05), (0.4, 0.38, 0.35)))
    top = (-0.02, 0, 1.68 * tall)
    parts.append(part(ELLIPSOID, top, (0.23, 0.22, 0.24), PEDESTRIAN, PLAIN, hair))
    return parts


def _wheel(x: float, radius: float, width: float, label: int, spokes: Color) -> list[Part]:
    center = (x, 0.0, radius)
    turned = np.pi / 2
    size = (2 * radius, 2 * radius, width)
    inner = (1.6 * radius, 1.6 * radius, width * 1.1)
    return [
        part(CYLINDER, center, size, label, PLAIN, BLACK, roll=turned),
        part(CYLINDER, center, inner, label, PLAIN, spokes, roll=turned),
    ]


def _rider(random: Random, label: int, seat: float, helmet: Color) -> list[Part]:
    coat, legs = pick(random, CLOTHES), pick(random, CLOTHES)
    parts = [
        part(ELLIPSOID, (-0.05, 0, seat + 0.35), (0.36, 0.5, 0.8), label, PLAIN, coat, pitch=0.3),
        part(ELLIPSOID, (0.12, 0, seat + 0.84), (0.28, 0.25, 0.3), label, PAINT, helmet),
    ]
    for side in (-1, 1):
        thigh = (0.12, side * 0.16, seat - 0.2)
        parts.append(part(CYLINDER, thigh, (0.17, 0.17, 0.75), label, PLAIN, legs, pitch=-0.35))
        arm = (0.26, side * 0.23, seat + 0.4)
        parts.append(part(CYLINDER, arm, (0.12, 0.12, 0.62), label, PLAIN, coat, pitch=-1.0))
    return parts


def motorcycle(random: Random, *, ridden: bool = True) -> list[Part]:
    """A motorcycle: fat tyres, engine, tank, seat, lamp; with a helmeted rider when ridden."""
    color = pick(random, CAR_COLORS)
    label = MOTORCYCLE
    grey = (0.2, 0.2, 0.21)
    parts = _wheel(0.72, 0.33, 0.17, label, grey) + _wheel(-0.72, 0.33, 0.2, label, grey)
    parts += [
        part(BOX, (0, 0, 0.48), (0.75, 0.34, 0.42), label, PLAIN, grey),
        part(ELLIPSOID, (0.15, 0, 0.82), (0.8, 0.42, 0.42), label, PAINT, color),
        part(BOX, (-0.45, 0, 0.8), (0.75, 0.3, 0.14), label, PLAIN, BLACK),
        part(BOX, (-0.8, 0, 0.72), (0.35, 0.26, 0.14), label, PAINT, color, pitch=0.3),
        part(CYLINDER, (0.62, 0, 0.68), (0.16, 0.2, 0.85), label, PLAIN, grey, pitch=-0.4),
        part(CYLINDER, (0.48, 0, 1.05), (0.06, 0.06, 0.8), label, PLAIN, BLACK, roll=np.pi / 2),
        part(ELLIPSOID, (0.66, 0, 0.92), (0.2, 0.24, 0.24), label, PLAIN, LAMP),
        part(BOX, (-0.98, 0, 0.76), (0.05, 0.2, 0.1), label, PLAIN, TAIL),
        part(CYLINDER, (-0.5, -0.22, 0.4), (0.13, 0.13, 0.9), label, PLAIN, grey, pitch=np.pi / 2),
    ]
    if ridden:
        parts += _rider(random, label, 0.9, pick(random, CAR_COLORS))
    return parts


def bicycle(random: Random, *, ridden: bool = False) -> list[Part]:
    """A bicycle: thin wheels, diamond frame, handlebar and saddle; with a rider if ridden."""
    color = jitter(random, CAR_COLORS[int(random.integers(len(CAR_COLORS)))])
    label = BICYCLE
    spokes = (0.34, 0.35, 0.36)
    parts = _wheel(0.53, 0.35, 0.05, label, spokes) + _wheel(-0.53, 0.35, 0.05, label, spokes)
    tube = (0.05, 0.05)
    parts += [
        part(CYLINDER, (0.05, 0, 0.82), (*tube, 0.7), label, PAINT, color, pitch=np.pi / 2 - 0.05),
        part(CYLINDER, (0.17, 0, 0.58), (*tube, 0.72), label, PAINT, color, pitch=0.85),
        part(CYLINDER, (-0.2, 0, 0.62), (*tube, 0.72), label, PAINT, color, pitch=-0.3),
        part(CYLINDER, (-0.32, 0, 0.35), (*tube, 0.5), label, PAINT, color, pitch=np.pi / 2),
        part(CYLINDER, (0.45, 0, 0.66), (*tube, 0.72), label, PAINT, color, pitch=-0.3),
        part(CYLINDER, (0.37, 0, 1.0), (*tube, 0.6), label, PLAIN, BLACK, roll=np.pi / 2),
        part(BOX, (-0.3, 0, 0.98), (0.28, 0.16, 0.07), label, PLAIN, BLACK),
    ]
    if ridden:
        parts += _rider(random, label, 0.95, pick(random, CAR_COLORS))
    return parts
