"""Styles: streets that look like none that the compact presets were trained on.

Variation (variation.py) draws what real streets may look like; a style is one look, chosen to lie
outside of all that. It stands for a robot's own world where a network is taught there and scored:
what stands where, and its truth, stay those of the plain street of the same seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from gausstr_training.streets.classes import (
    BARRIER,
    BICYCLE,
    BUILDING,
    BUS,
    CAR,
    CONSTRUCTION_VEHICLE,
    MOTORCYCLE,
    PEDESTRIAN,
    POLE,
    TRAFFIC_CONE,
    TRAILER,
    TRUCK,
    VEGETATION,
)
from gausstr_training.streets.rig import StreetRig
from gausstr_training.streets.scene.shapes import Color, Mottle, Part
from gausstr_training.streets.scene.world import Body, World

Random = np.random.Generator

# How warm things are in the style `thermal`, 0..1: mean and spread from body to body. The ground
# is in the order of `World.ground_colors`.
WARMTH = {
    BUILDING: (0.45, 0.2), POLE: (0.3, 0.15), VEGETATION: (0.2, 0.1), CAR: (0.6, 0.25),
    TRUCK: (0.65, 0.2), BUS: (0.6, 0.2), TRAILER: (0.35, 0.15),
    CONSTRUCTION_VEHICLE: (0.7, 0.2), MOTORCYCLE: (0.75, 0.15), BICYCLE: (0.4, 0.15),
    PEDESTRIAN: (0.9, 0.06), TRAFFIC_CONE: (0.35, 0.1), BARRIER: (0.35, 0.15),
}  # fmt: skip
GROUND_WARMTH = (0.65, 0.5, 0.25)
PART_SPREAD = 0.08  # of warmth, from part to part of a body
ZOOM = 0.62  # of the focal length: wider than any camera of variation.py
HEIGHT = 0.7  # of the cameras, likewise lower
CORNERS = 0.55  # of the light is lost in the corners
SOFTNESS = 0.9  # pixels at 448x252, standard deviation of the defocus
NOISE = 5.0  # of 255, standard deviation


@dataclass(frozen=True)
class Style:
    """One look of streets; each function draws from the generator of the street's style."""

    about: str
    rig: Callable[[Random, StreetRig], StreetRig]
    world: Callable[[Random, World], World]
    image: Callable[[Random, np.ndarray], np.ndarray]  # of developed uint8 RGB [H, W, 3]


def thermal_rig(random: Random, rig: StreetRig) -> StreetRig:
    """Wide lenses on low cameras."""
    intrinsics, poses = rig.intrinsics.copy(), rig.base_from_camera.copy()
    intrinsics[:, [0, 1], [0, 1]] *= ZOOM * random.uniform(0.97, 1.03)
    poses[:, 2, 3] *= HEIGHT * random.uniform(0.95, 1.05)
    return replace(rig, intrinsics=intrinsics, base_from_camera=poses)


def thermal_world(random: Random, world: World) -> World:
    """Nothing has a colour: all surfaces are as bright as they are warm, in uneven patches.

    The sun is low and heats what it meets; the sky is cold.
    """
    ground = [_tone(random.normal(mean, 0.06)) for mean in GROUND_WARMTH]
    azimuth = random.uniform(-np.pi, np.pi)
    light = replace(
        world.light,
        sun=np.array([np.cos(azimuth) * 0.9, np.sin(azimuth) * 0.9, 0.436]),
        sun_color=np.full(3, 0.5),
        zenith=np.full(3, 0.9),
        horizon=np.full(3, 1.0),
        cloud=-1.0,
        haze=0.0005,
        exposure=1.0,
        white=np.ones(3),
    )
    return replace(
        world,
        light=light,
        bodies=[_thermal_body(random, body) for body in world.bodies],
        ground_colors=(ground[0], ground[1], ground[2]),
        ground_mottles=(
            _patches(random, ground[0]),
            _patches(random, ground[1]),
            _patches(random, ground[2]),
        ),
    )


def thermal_image(random: Random, image: np.ndarray) -> np.ndarray:
    """Dark is warm: false colours from black over violet and orange to white, and a poor lens."""
    height, width = image.shape[:2]
    cold = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    warm = cv2.GaussianBlur(255 - cold, (0, 0), SOFTNESS * width / 448)
    rows, columns = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    warm *= 1 - CORNERS * (rows**2 + columns**2) / 2
    warm += random.normal(0, NOISE, warm.shape)
    codes = np.clip(warm + 0.5, 0, 255).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(codes, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)


def _thermal_body(random: Random, body: Body) -> Body:
    mean, spread = WARMTH.get(body.parts[0].label, (0.5, 0.2))
    warmth = random.normal(mean, spread)
    return replace(body, parts=[_thermal_part(random, part, warmth) for part in body.parts])


def _thermal_part(random: Random, part: Part, warmth: float) -> Part:
    color = _tone(warmth + random.normal(0, PART_SPREAD))
    return replace(part, color=color, mottle=_patches(random, color))


def _tone(warmth: float) -> Color:
    """Linear grey of a warmth: the image turns dark into warm."""
    tone = float(np.clip(0.03 + 0.6 * (1 - np.clip(warmth, 0, 1)) ** 2, 0.02, 0.7))
    return tone, tone, tone


def _patches(random: Random, color: Color) -> Mottle:
    second = float(np.clip(color[0] * np.exp(random.normal(0, 0.6)), 0.02, 0.8))
    scale = float(np.exp(random.uniform(np.log(0.2), np.log(1.5))))
    return (float(random.uniform(0.3, 0.8)), scale, second, second, second)


STYLES = {
    'thermal': Style(
        'false colours of a thermal camera, wide lenses on low cameras',
        thermal_rig, thermal_world, thermal_image,
    ),
}  # fmt: skip
