"""Domain randomisation: a street and a rig, varied far beyond what the plain ones show.

A network that learns from one kind of weather, car and camera finds the real world strange. Here
light, weather, exposure, cameras, materials and shapes are drawn much wider than is likely, so
that a real image is one more variation (Tobin et al. 2017). What stands where stays as it was.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gausstr_training.streets.classes import (
    BUILDING,
    BUS,
    CAR,
    CONSTRUCTION_VEHICLE,
    TRAFFIC_CONE,
    TRAILER,
    TRUCK,
    VEGETATION,
)
from gausstr_training.streets.rig import StreetRig
from gausstr_training.streets.scene.shapes import (
    BOX,
    CONE,
    ELLIPSOID,
    Color,
    Mottle,
    Part,
    part,
    rotation,
)
from gausstr_training.streets.scene.weather import varied_light
from gausstr_training.streets.scene.world import Body, World

Random = np.random.Generator
VEHICLES = (CAR, TRUCK, BUS, TRAILER, CONSTRUCTION_VEHICLE)
TELLING = (TRAFFIC_CONE, CONSTRUCTION_VEHICLE)  # known by their colour: it changes less
SHAPE_SPREAD = 0.09  # standard deviation of the logarithm of a body's length, width and height


def varied_rig(random: Random, rig: StreetRig) -> StreetRig:
    """Another mounting height and car, other lenses, and cameras that point a little elsewhere.

    One zoom and one height for the whole rig, then a little more for each camera.
    """
    count = len(rig.intrinsics)
    zoom = random.uniform(0.75, 1.3) * random.uniform(0.93, 1.07, count)
    intrinsics = rig.intrinsics.copy()
    intrinsics[:, 0, 0] *= zoom
    intrinsics[:, 1, 1] *= zoom
    intrinsics[:, 1, 2] += random.uniform(-0.06, 0.04) * rig.height
    poses = rig.base_from_camera.copy()
    poses[:, :2, 3] *= random.uniform(0.6, 1.2)
    poses[:, 2, 3] *= random.uniform(0.75, 1.45)
    poses[:, :3, 3] += random.normal(0, 0.05, (count, 3))
    shared = np.deg2rad(random.normal(0, [0.5, 1.2, 0.5]))  # the car's load tips all cameras
    for pose in poses:
        own = np.deg2rad(random.normal(0, [3.0, 1.5, 0.7]))
        pose[:3, :3] = rotation(*shared) @ rotation(*own) @ pose[:3, :3]
    return replace(rig, intrinsics=intrinsics, base_from_camera=poses)


def varied_world(random: Random, world: World) -> World:
    """Other light and weather, other colours and textures everywhere, other shapes."""
    colors = [_another_color(random, color, 0.35) for color in world.ground_colors]
    return replace(
        world,
        light=varied_light(random, world.light),
        bodies=[_varied_body(random, body) for body in world.bodies],
        ground_colors=(colors[0], colors[1], colors[2]),
        ground_mottles=(
            _mottle(random, colors[0]),
            _mottle(random, colors[1]),
            _mottle(random, colors[2]),
        ),
    )


def _varied_body(random: Random, body: Body) -> Body:
    parts = list(body.parts)
    label = parts[0].label
    if label in VEHICLES and random.random() < 0.3:
        parts.append(_load_on_top(random, parts))
    if label == BUILDING and random.random() < 0.6:
        parts += [_annex(random, parts[0]) for _ in range(int(random.integers(1, 4)))]
    if label == VEGETATION and random.random() < 0.2:
        parts = [replace(p, shape=CONE) if p.shape == ELLIPSOID else p for p in parts]
    stretch = np.diag([*np.exp(random.normal(0, SHAPE_SPREAD, 3).clip(-0.2, 0.2)), 1.0])
    strength = random.uniform(0, 0.25 if label in TELLING else 0.8) * (random.random() < 0.6)
    other = _any_color(random)
    return replace(
        body, parts=[_varied_part(random, each, stretch, strength, other) for each in parts]
    )


def _varied_part(
    random: Random, before: Part, stretch: np.ndarray, strength: float, other: Color
) -> Part:
    """Stretch a part with its body, and mix the body's new colour and a texture of its own in."""
    mixed = [
        (1 - strength) * old + strength * new for old, new in zip(before.color, other, strict=True)
    ]
    color = _another_color(random, (mixed[0], mixed[1], mixed[2]), 0.2)
    return replace(
        before,
        body_from_unit=stretch @ before.body_from_unit,
        color=color,
        mottle=_mottle(random, color) if random.random() < 0.5 else before.mottle,
    )


def _load_on_top(random: Random, parts: list[Part]) -> Part:
    """A box on the roof of a vehicle."""
    half = np.abs(np.stack([each.body_from_unit[:3, :3] for each in parts])).sum(2) / 2
    center = np.stack([each.body_from_unit[:3, 3] for each in parts])
    top = float((center + half)[:, 2].max())
    roof = parts[int((center + half)[:, 2].argmax())].body_from_unit[:3, 3]
    length, width, height = random.uniform((0.4, 0.4, 0.12), (1.8, 1.2, 0.5))
    at = (float(roof[0]), float(roof[1]), top + height / 2)
    color = _any_color(random)
    return part(BOX, at, (length, width, height), parts[0].label, parts[0].material, color)


def _annex(random: Random, wall: Part) -> Part:
    """A balcony, bay or shed: a box that sticks out of a building's longest walls."""
    matrix = wall.body_from_unit
    size = np.linalg.norm(matrix[:3, :3], axis=0)
    length, depth, height = random.uniform((0.8, 0.4, 0.6), (4.0, 2.2, 3.0))
    side = float(random.choice([-0.5, 0.5]))
    along = float(random.uniform(-0.4, 0.4))
    center = matrix[:3, :3] @ np.array([along, side, 0.0]) + matrix[:3, 3]
    low = float(matrix[2, 3] - size[2] / 2)
    foot = 0.0 if random.random() < 0.5 else float(random.uniform(2.5, 6.0))
    at = (float(center[0]), float(center[1]), low + foot + height / 2)
    return part(BOX, at, (length, depth, height), wall.label, wall.material, wall.color)


def _any_color(random: Random) -> Color:
    """A linear RGB colour: dark ones are more frequent than bright ones, as in streets."""
    red, green, blue = random.uniform(0.02, 0.9) * random.uniform(0.15, 1.0, 3)
    return float(red), float(green), float(blue)


def _another_color(random: Random, color: Color, spread: float) -> Color:
    """A colour changed in brightness and, half as much, in hue."""
    factor = np.exp(random.normal(0, spread) + random.normal(0, spread / 2, 3))
    red, green, blue = np.clip(np.asarray(color) * factor, 0.005, 0.95)
    return float(red), float(green), float(blue)


def _mottle(random: Random, color: Color) -> Mottle:
    """A texture of patches between a part's colour and another."""
    second = _another_color(random, color, 0.7)
    if random.random() < 0.25:
        second = _any_color(random)
    scale = float(np.exp(random.uniform(np.log(0.08), np.log(2.5))))
    return (float(random.uniform(0.1, 0.8)), scale, *second)
