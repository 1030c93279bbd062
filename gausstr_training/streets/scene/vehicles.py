"""Builders of vehicles: each returns the parts of one body, standing on z = 0, nose to +x."""

from __future__ import annotations

import numpy as np

from gausstr_training.streets.classes import BUS, CAR, CONSTRUCTION_VEHICLE, TRAILER, TRUCK
from gausstr_training.streets.scene.shapes import (
    BOX,
    CYLINDER,
    GLASS,
    PAINT,
    PLAIN,
    STRIPES,
    TAPER,
    WEDGE,
    Color,
    Part,
    part,
)

Random = np.random.Generator
CAR_COLORS: tuple[Color, ...] = (
    (0.55, 0.03, 0.03),
    (0.03, 0.08, 0.35),
    (0.55, 0.56, 0.58),
    (0.75, 0.75, 0.74),
    (0.02, 0.02, 0.025),
    (0.1, 0.11, 0.12),
    (0.03, 0.2, 0.1),
    (0.3, 0.22, 0.12),
    (0.12, 0.3, 0.45),
    (0.6, 0.25, 0.03),
)
BLACK, DARK, WHITE = (0.012, 0.012, 0.013), (0.03, 0.033, 0.038), (0.8, 0.8, 0.78)
LAMP, TAIL = (1.0, 0.95, 0.8), (0.6, 0.01, 0.01)


def jitter(random: Random, color: Color, amount: float = 0.12) -> Color:
    """Vary a colour's brightness and hue a little."""
    factor = random.uniform(1 - amount, 1 + amount) * random.uniform(
        1 - amount / 2, 1 + amount / 2, 3
    )
    red, green, blue = np.clip(np.asarray(color) * factor, 0.005, 0.95)
    return float(red), float(green), float(blue)


def pick(random: Random, colors: tuple[Color, ...]) -> Color:
    """Draw one of some colours, varied a little."""
    return jitter(random, colors[int(random.integers(len(colors)))])


def wheels(positions: list[float], track: float, radius: float, label: int) -> list[Part]:
    """Pairs of tyres with a bright hub at x positions, `track` metres apart."""
    parts = []
    for x in positions:
        for side in (-1, 1):
            center = (x, side * track / 2, radius)
            size = (2 * radius, 2 * radius, 0.24)
            parts.append(part(CYLINDER, center, size, label, PLAIN, BLACK, roll=np.pi / 2))
            hub = (x, side * (track / 2 + 0.02), radius)
            size = (1.1 * radius, 1.1 * radius, 0.23)
            color = (0.3, 0.3, 0.31)
            parts.append(part(CYLINDER, hub, size, label, PLAIN, color, roll=np.pi / 2))
    return parts


def lamps(front: float, rear: float, width: float, height: float, label: int) -> list[Part]:
    """White lamps at x = front, red ones at x = rear."""
    parts = []
    for x, color in ((front, LAMP), (rear, TAIL)):
        for side in (-1, 1):
            center = (x, side * (width / 2 - 0.22), height)
            parts.append(part(BOX, center, (0.06, 0.32, 0.14), label, PLAIN, color))
    return parts


def car(random: Random) -> list[Part]:
    """A saloon, estate or small van."""
    kind = random.choice(['saloon', 'estate', 'van'], p=[0.5, 0.3, 0.2])
    length, width = random.uniform(3.9, 4.8), random.uniform(1.7, 1.9)
    color = pick(random, CAR_COLORS)
    belt = random.uniform(0.82, 0.95)
    cabin = {'saloon': 0.52, 'estate': 0.6, 'van': 0.9}[kind]
    cabin_length = {'saloon': 0.58, 'estate': 0.7, 'van': 0.8}[kind] * length
    back = -length / 2 + cabin_length / 2 + {'saloon': 0.35, 'estate': 0.08, 'van': 0.04}[kind]
    roof = cabin_length * 0.62
    middle = (0.0, 0.0, 0.25 + (belt - 0.25) / 2)
    parts = [
        part(BOX, middle, (length, width, belt - 0.28), CAR, PAINT, color),
        part(
            TAPER,
            (back, 0, belt + cabin / 2),
            (cabin_length, width * 0.96, cabin),
            CAR,
            GLASS,
            DARK,
        ),
        part(BOX, (back, 0, belt + cabin), (roof, width * 0.81, 0.07), CAR, PAINT, color),
    ]
    for side in (-1, 1):  # the pillar between the doors
        center = (back, side * width * 0.44, belt + cabin / 2)
        size = (0.1, 0.02, cabin * 1.02)
        parts.append(part(BOX, center, size, CAR, PAINT, color, roll=side * 0.14))
    parts += [
        part(BOX, (x, 0, 0.42), (0.12, width * 0.98, 0.24), CAR, PLAIN, DARK)
        for x in (length / 2, -length / 2)
    ]
    parts += wheels([length * 0.31, -length * 0.31], width - 0.2, 0.33, CAR)
    return parts + lamps(length / 2, -length / 2, width, belt - 0.17, CAR)


def truck(random: Random) -> list[Part]:
    """A lorry with a cab and a box, a tarpaulin or a flat bed."""
    length, width, height = random.uniform(6.2, 9.0), 2.45, random.uniform(3.0, 3.7)
    color = pick(random, CAR_COLORS[:4] + CAR_COLORS[8:])
    cab = 1.9
    front = length / 2 - cab / 2
    parts = [
        part(BOX, (front, 0, 1.55), (cab, width * 0.95, 2.0), TRUCK, PAINT, color),
        part(
            BOX,
            (length / 2 - 0.2, 0, 2.0),
            (0.46, width * 0.88, 0.75),
            TRUCK,
            GLASS,
            DARK,
            pitch=-0.08,
        ),
        part(BOX, (front + 0.25, 0, 2.0), (0.8, width * 0.97, 0.6), TRUCK, GLASS, DARK),
        part(WEDGE, (front, 0, 2.8), (cab, width * 0.85, 0.5), TRUCK, PAINT, color, yaw=0.0),
        part(BOX, (0, 0, 0.75), (length * 0.98, 0.9, 0.3), TRUCK, PLAIN, DARK),
    ]
    load = length - cab - 0.25
    center = -length / 2 + load / 2
    if random.random() < 0.75:
        cargo = pick(random, (WHITE, (0.5, 0.5, 0.5), (0.1, 0.25, 0.5), (0.55, 0.4, 0.1)))
        size = (load, width, height - 1.0)
        parts.append(part(BOX, (center, 0, (height + 1.0) / 2), size, TRUCK, PAINT, cargo))
        size = (load * 0.7, width + 0.02, 0.5)
        middle = (center, 0, 0.6 * height + 0.4)
        parts.append(part(BOX, middle, size, TRUCK, PLAIN, pick(random, CAR_COLORS)))
    else:
        wood = jitter(random, (0.28, 0.2, 0.12))
        parts.append(part(BOX, (center, 0, 1.05), (load, width, 0.25), TRUCK, PLAIN, wood))
        for side in (-1, 1):
            board = (center, side * width / 2, 1.35)
            parts.append(part(BOX, board, (load, 0.08, 0.5), TRUCK, PLAIN, color))
        size = (load * 0.6, width * 0.7, 0.9)
        parts.append(part(BOX, (center, 0, 1.6), size, TRUCK, PLAIN, (0.35, 0.3, 0.22)))
    parts += wheels([front, -length * 0.2, -length * 0.36], width - 0.3, 0.5, TRUCK)
    return parts + lamps(length / 2, -length / 2, width, 0.85, TRUCK)


def bus(random: Random) -> list[Part]:
    """A city bus: long, tall, a band of windows all round."""
    length, width, height = random.uniform(10.0, 12.0), 2.55, random.uniform(3.0, 3.2)
    color = pick(
        random, ((0.65, 0.05, 0.04), (0.75, 0.45, 0.02), (0.05, 0.3, 0.5), (0.1, 0.4, 0.15))
    )
    band = jitter(random, WHITE)
    parts = [
        part(BOX, (0, 0, 0.9), (length, width, 1.2), BUS, PAINT, color),
        part(BOX, (0, 0, 1.98), (length - 0.02, width - 0.04, 0.98), BUS, GLASS, DARK),
        part(BOX, (0, 0, height - 0.3), (length, width, 0.6), BUS, PAINT, color),
        part(BOX, (0, 0, 1.42), (length + 0.02, width + 0.02, 0.12), BUS, PLAIN, band),
        part(BOX, (-length * 0.2, 0, height + 0.1), (2.4, 1.7, 0.25), BUS, PLAIN, WHITE),
        part(
            BOX,
            (length / 2, 0, height - 0.3),
            (0.06, 1.6, 0.3),
            BUS,
            PLAIN,
            (0.9, 0.55, 0.05),
        ),
    ]
    for x in np.linspace(-length / 2 + 0.1, length / 2 - 0.1, 8):
        parts.append(part(BOX, (x, 0, 1.98), (0.12, width, 1.0), BUS, PAINT, color))
    for x in (length * 0.4, 0.0):
        door = (x, -width / 2, 1.4)
        parts.append(part(BOX, door, (1.2, 0.06, 2.0), BUS, GLASS, DARK))
    parts += wheels([length * 0.27, -length * 0.27], width - 0.2, 0.48, BUS)
    return parts + lamps(length / 2, -length / 2, width, 0.7, BUS)


def trailer(random: Random) -> list[Part]:
    """A box without a cab on rear axles, its front on landing legs."""
    length, width = random.uniform(6.5, 11.0), 2.5
    height = random.uniform(3.3, 3.9)
    color = pick(random, (WHITE, (0.42, 0.43, 0.45), (0.6, 0.6, 0.58)))
    body = height - 1.1
    parts = [
        part(BOX, (0, 0, 1.1 + body / 2), (length, width, body), TRAILER, PAINT, color),
        part(BOX, (0, 0, 0.98), (length, 0.8, 0.24), TRAILER, PLAIN, DARK),
        part(BOX, (length / 2 + 0.5, 0, 0.95), (1.2, 0.25, 0.2), TRAILER, PLAIN, DARK),
        part(BOX, (-length / 2, 0, 0.6), (0.1, width * 0.95, 0.16), TRAILER, STRIPES, WHITE),
    ]
    ribs = jitter(random, (0.3, 0.31, 0.33))
    for x in np.linspace(-length / 2 + 0.05, length / 2 - 0.05, int(length / 1.1)):
        size = (0.09, width + 0.08, body)
        parts.append(part(BOX, (x, 0, 1.1 + body / 2), size, TRAILER, PLAIN, ribs))
    for side in (-1, 1):
        leg = (length * 0.36, side * 0.8, 0.45)
        parts.append(part(BOX, leg, (0.14, 0.14, 0.9), TRAILER, PLAIN, DARK))
    axles = [-length * 0.28, -length * 0.28 - 1.15]
    return parts + wheels(axles, width - 0.3, 0.48, TRAILER)


def construction_vehicle(random: Random) -> list[Part]:
    """A yellow excavator on tracks or a wheel loader."""
    yellow = jitter(random, (0.78, 0.42, 0.01), 0.08)
    label = CONSTRUCTION_VEHICLE
    if random.random() < 0.55:
        return _excavator(random, yellow, label)
    parts = [
        part(BOX, (-0.9, 0, 1.35), (2.6, 1.9, 1.1), label, PAINT, yellow),
        part(BOX, (0.35, 0, 2.35), (1.3, 1.4, 1.3), label, GLASS, DARK),
        part(BOX, (0.35, 0, 3.05), (1.5, 1.6, 0.14), label, PAINT, yellow),
        part(BOX, (1.2, 0, 1.1), (1.6, 1.0, 0.7), label, PAINT, yellow),
        part(BOX, (2.3, 0, 1.1), (1.9, 0.9, 0.28), label, PAINT, yellow, pitch=0.35),
        part(WEDGE, (3.3, 0, 0.6), (0.9, 2.5, 0.95), label, PLAIN, (0.2, 0.19, 0.17)),
    ]
    return parts + wheels([1.2, -1.4], 2.0, 0.72, label)


def _excavator(random: Random, yellow: Color, label: int) -> list[Part]:
    lift = random.uniform(0.5, 0.85)
    boom, stick = 3.6, 2.4
    elbow = (1.1 + boom * np.cos(lift), 1.5 + boom * np.sin(lift))
    tip = (elbow[0] + stick * np.cos(0.95), elbow[1] - stick * np.sin(0.95))
    parts = [
        part(BOX, (-0.3, 0, 1.55), (3.0, 2.4, 1.0), label, PAINT, yellow),
        part(BOX, (0.6, 0.7, 2.4), (1.4, 0.95, 1.2), label, GLASS, DARK),
        part(BOX, (0.6, 0.7, 3.02), (1.5, 1.0, 0.1), label, PAINT, yellow),
        part(BOX, (-1.5, 0, 1.7), (0.8, 2.44, 1.2), label, PLAIN, (0.08, 0.08, 0.08)),
        part(
            BOX,
            ((1.1 + elbow[0]) / 2, -0.2, (1.5 + elbow[1]) / 2),
            (boom, 0.4, 0.5),
            label,
            PAINT,
            yellow,
            pitch=-lift,
        ),
        part(
            BOX,
            ((elbow[0] + tip[0]) / 2, -0.2, (elbow[1] + tip[1]) / 2),
            (stick, 0.34, 0.4),
            label,
            PAINT,
            yellow,
            pitch=0.95,
        ),
        part(WEDGE, (tip[0], -0.2, tip[1]), (0.9, 0.9, 0.8), label, PLAIN, (0.15, 0.14, 0.13)),
    ]
    for side in (-1, 1):
        track = (0, side * 1.0, 0.45)
        parts.append(part(BOX, track, (3.4, 0.5, 0.72), label, PLAIN, BLACK))
        for x in (-1.7, 1.7):
            center = (x, side * 1.0, 0.45)
            size = (0.72, 0.72, 0.5)
            parts.append(part(CYLINDER, center, size, label, PLAIN, BLACK, roll=np.pi / 2))
    return parts
