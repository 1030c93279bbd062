"""Weather, hour and exposure of a varied street."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from gausstr_core.nuscenes import NUSCENES_CAMERAS
from gausstr_training.streets.scene.world import Light

Random = np.random.Generator


def varied_light(random: Random, light: Light) -> Light:
    """Draw weather and hour, then an exposure for each camera: no two see the same light."""
    kinds, shares = zip(*((kind, share) for kind, share in WEATHERS.items()), strict=True)
    chosen = kinds[int(random.choice(len(kinds), p=np.array(shares) / sum(shares)))]
    light = chosen(random, light)
    count = len(NUSCENES_CAMERAS)
    gains = np.exp(random.normal(0, 0.25, (count, 1)) + random.normal(0, 0.05, (count, 3)))
    return replace(
        light,
        exposure=light.exposure * float(np.exp(random.normal(0, 0.2))),
        white=light.white * np.exp(random.normal(0, 0.06, 3)),
        gains=gains,
    )


def clear(random: Random, light: Light) -> Light:
    """Sun at any height but the lowest, hard or soft."""
    return replace(
        light,
        sun=_sun(random, 0.2, 1.4),
        sun_color=light.sun_color * random.uniform(0.5, 1.4),
        haze=float(random.uniform(0.0003, 0.004)),
    )


def overcast(random: Random, light: Light) -> Light:
    """A grey sky that throws no shadows."""
    grey = random.uniform(0.35, 0.85) * (1 + random.normal(0, 0.04, 3))
    return replace(
        light,
        sun_color=light.sun_color * random.uniform(0.01, 0.15),
        zenith=grey,
        horizon=grey * random.uniform(0.9, 1.2),
        cloud=float(random.uniform(0.9, 1.0)),
        haze=float(random.uniform(0.001, 0.008)),
    )


def fog(random: Random, light: Light) -> Light:
    """An overcast sky that comes down to the street: at its thickest one sees 50 m."""
    return replace(
        overcast(random, light), haze=float(np.exp(random.uniform(np.log(0.008), np.log(0.06))))
    )


def rain(random: Random, light: Light) -> Light:
    """An overcast sky, darker, over wet ground that mirrors it."""
    grey = overcast(random, light)
    dark = random.uniform(0.5, 0.9)
    return replace(
        grey,
        zenith=grey.zenith * dark,
        horizon=grey.horizon * dark,
        haze=float(random.uniform(0.002, 0.015)),
        wet=float(random.uniform(0.3, 1.0)),
    )


def dusk(random: Random, light: Light) -> Light:
    """A low red sun, long shadows, and cameras that open up."""
    return replace(
        light,
        sun=_sun(random, 0.03, 0.25),
        sun_color=light.sun_color * np.array([1.0, 0.6, 0.35]) * random.uniform(0.2, 0.7),
        zenith=light.zenith * random.uniform(0.2, 0.5),
        horizon=np.array([0.7, 0.45, 0.3]) * random.uniform(0.3, 0.9),
        exposure=light.exposure * float(random.uniform(1.2, 2.2)),
        wet=float(random.uniform(0.3, 1.0)) if random.random() < 0.15 else 0.0,
    )


def night(random: Random, light: Light) -> Light:
    """A black sky, and light from beside the cameras that falls off with the distance."""
    return replace(
        light,
        sun_color=light.sun_color * 0.003,
        zenith=np.array([0.3, 0.4, 0.7]) * random.uniform(0.01, 0.06),
        horizon=np.array([0.9, 0.6, 0.4]) * random.uniform(0.02, 0.15),
        cloud=-1.0,  # none: the clouds of the sky are those of the day
        haze=float(random.uniform(0.0005, 0.006)),
        exposure=light.exposure * float(random.uniform(1.2, 3.0)),
        lamp=float(random.uniform(0.5, 3.0)),
        wet=float(random.uniform(0.3, 1.0)) if random.random() < 0.3 else 0.0,
    )


WEATHERS: dict[Callable[[Random, Light], Light], float] = {
    clear: 0.28,
    overcast: 0.22,
    fog: 0.1,
    rain: 0.16,
    dusk: 0.14,
    night: 0.1,
}


def _sun(random: Random, lowest: float, highest: float) -> np.ndarray:
    azimuth, height = random.uniform(-np.pi, np.pi), random.uniform(lowest, highest)
    flat = np.cos(height)
    return np.array([np.cos(azimuth) * flat, np.sin(azimuth) * flat, np.sin(height)])
