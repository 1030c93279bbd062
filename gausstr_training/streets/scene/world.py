"""A street as data: the road, the light, and bodies that may move along the road."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from gausstr_training.streets.classes import BUILDING, PEDESTRIAN, POLE, VEGETATION
from gausstr_training.streets.scene.road import Road
from gausstr_training.streets.scene.shapes import PLAIN_FINISH, Color, Mottle, Part, rotation

UPRIGHT = (BUILDING, POLE, VEGETATION, PEDESTRIAN)
GROUND_COLORS = ((0.085, 0.085, 0.09), (0.3, 0.29, 0.27), (0.13, 0.19, 0.05))


@dataclass(frozen=True)
class Body:
    """Parts that move together along (`speed_s`) and across (`speed_d`) the road."""

    parts: list[Part]
    s: float
    d: float
    z: float = 0.0
    yaw: float = 0.0  # relative to the road's direction
    speed_s: float = 0.0
    speed_d: float = 0.0

    @property
    def rolls(self) -> bool:
        """Whether it stands on the slope as a car does, and not upright as a house."""
        return all(part.label not in UPRIGHT for part in self.parts)

    @property
    def moves(self) -> bool:
        """Whether the body is elsewhere at another time."""
        return self.speed_s != 0.0 or self.speed_d != 0.0

    def world_from_body(self, road: Road, seconds: float) -> np.ndarray:
        """[4, 4] the body's pose at a time."""
        s = self.s + self.speed_s * seconds
        matrix = np.eye(4)
        matrix[:3, :3] = rotation(road.heading(s) + self.yaw)
        matrix[:2, 3] = road.world(s, self.d + self.speed_d * seconds)
        matrix[2, 3] = self.z + road.height(s)
        pitch = road.pitch(s)
        if pitch and self.rolls:
            matrix[:3, :3] = rotation(road.heading(s), pitch) @ rotation(self.yaw)
        return matrix


@dataclass(frozen=True)
class Light:
    """Sun, sky and camera response of one street; colours are linear RGB."""

    sun: np.ndarray  # [3] unit vector towards the sun
    sun_color: np.ndarray
    zenith: np.ndarray
    horizon: np.ndarray
    cloud: float  # 0 clear .. 1 overcast
    haze: float  # 1/m
    exposure: float
    white: np.ndarray  # white balance gains
    phase: float  # moves every noise texture
    wet: float = 0.0  # 0 dry .. 1: the ground is dark and mirrors the sky
    lamp: float = 0.0  # light that comes from beside the camera, as of headlamps
    gains: np.ndarray | float = 1.0  # [cameras, 3] what each camera's own exposure multiplies


@dataclass(frozen=True)
class World:
    """Everything of one street; time 0 is the first frame."""

    road: Road
    bodies: list[Body]
    ground: tuple[np.ndarray, np.ndarray, np.ndarray]  # vertices, triangles, label of triangle
    light: Light
    ego_lane: float  # d of the ego's path
    ego_speed: float
    ego_wander: tuple[float, float] = field(default=(0.0, 0.0))  # phase, metres of slow sway
    ground_colors: tuple[Color, Color, Color] = GROUND_COLORS  # of road, sidewalk, terrain
    ground_mottles: tuple[Mottle, Mottle, Mottle] = (PLAIN_FINISH,) * 3

    def ego_pose(self, seconds: float) -> np.ndarray:
        """[4, 4] world_from_ego at a time."""
        s = self.ego_speed * seconds
        phase, sway = self.ego_wander
        turn = 0.15 * s + phase
        matrix = np.eye(4)
        slope = np.arctan(sway * 0.15 * np.cos(turn))
        matrix[:3, :3] = rotation(self.road.heading(s) + slope)
        if pitch := self.road.pitch(s):
            matrix[:3, :3] = rotation(self.road.heading(s), pitch) @ rotation(float(slope))
            matrix[2, 3] = self.road.height(s)
        matrix[:2, 3] = self.road.world(s, self.ego_lane + sway * np.sin(turn))
        return matrix
