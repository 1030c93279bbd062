"""Draw a street: its road, its vehicles and its light; `roadside` draws what stands beside it."""

from __future__ import annotations

import numpy as np

from gausstr_training.streets.scene import furniture, people, vehicles
from gausstr_training.streets.scene.road import Road, ground_mesh, sample_road
from gausstr_training.streets.scene.road import hilly as with_hills
from gausstr_training.streets.scene.roadside import buildings, sidewalks
from gausstr_training.streets.scene.shapes import Part
from gausstr_training.streets.scene.world import Body, Light, World

Random = np.random.Generator
BEHIND, AHEAD = 85.0, 105.0  # how far the street goes on behind the start and after the end
PARKED = (
    *('car',) * 5, 'truck', 'truck', 'bus', 'bus', *('trailer',) * 3, *('construction',) * 3,
    *('motorcycle',) * 3, 'bicycle', 'bicycle', 'cones', 'cones', *('barriers',) * 3,
    *('gap',) * 5,
)  # fmt: skip
DRIVING = (
    *('car',) * 5, 'truck', 'truck', 'bus', 'bus', 'motorcycle', 'motorcycle', 'bicycle',
    'bicycle', *('gap',) * 3,
)  # fmt: skip
LARGE = ('truck', 'bus', 'trailer', 'construction')
LENGTH = {
    'car': 5.2, 'truck': 9.5, 'bus': 12.8, 'trailer': 12.5, 'construction': 7.5,
    'motorcycle': 3.0, 'bicycle': 2.8, 'cones': 7.0, 'barriers': 7.0, 'gap': 6.0,
}  # fmt: skip


class Deck:
    """Deals kinds in random order, each as often as it is in the deck: variety without luck."""

    def __init__(self, random: Random, kinds: tuple[str, ...]) -> None:
        self._random, self._kinds, self._left = random, kinds, list[str]()

    def deal(self, *, small: bool = False) -> str:
        """The next kind; with `small` the next that does not fill a whole image from close by."""
        while True:
            for index in reversed(range(len(self._left))):
                if not (small and self._left[index] in LARGE):
                    return self._left.pop(index)
            self._left = [str(kind) for kind in self._random.permutation(self._kinds)]


def _beside_ego(s: float) -> bool:
    """Whether what begins at s stands beside the ego at the start."""
    return -12.0 < s < 4.0


def sample_world(random: Random, duration: float, *, hilly: bool = False) -> World:
    """Draw a street long enough for a drive of `duration` seconds."""
    speed = 0.0 if random.random() < 0.1 else float(random.uniform(2.0, 12.0))
    travel = speed * duration
    road = sample_road(random, travel)
    if hilly:
        road = with_hills(road, random)
    start, end = -BEHIND, travel + AHEAD
    lane = int(random.integers(road.lanes))
    bodies = [
        *_parked(random, road, start, end),
        *_traffic(random, road, start, end, lane, speed),
        *sidewalks(random, road, start, end),
        *buildings(random, road, start, end),
    ]
    return World(
        road=road,
        bodies=bodies,
        ground=ground_mesh(road, random, start, end),
        light=_light(random),
        ego_lane=road.lane_center(lane, 1) + float(random.uniform(-0.3, 0.3)),
        ego_speed=speed,
        ego_wander=(float(random.uniform(0, 6)), float(random.uniform(0, 0.15))),
    )


def _vehicle(random: Random, kind: str, *, moving: bool) -> list[Part]:
    if kind == 'motorcycle':
        return people.motorcycle(random, ridden=moving or random.random() < 0.4)
    if kind == 'bicycle':
        return people.bicycle(random, ridden=moving)
    builder = {
        'car': vehicles.car,
        'truck': vehicles.truck,
        'bus': vehicles.bus,
        'trailer': vehicles.trailer,
        'construction': vehicles.construction_vehicle,
    }[kind]
    return builder(random)


def _parked(random: Random, road: Road, start: float, end: float) -> list[Body]:
    bodies: list[Body] = []
    for side in (-1, 1):
        deck = Deck(random, PARKED)
        s = start + random.uniform(0, 5)
        while s < end:
            kind = deck.deal(small=_beside_ego(s))
            length = LENGTH[kind]
            middle = s + length / 2
            s += length + random.uniform(0.3, 1.6)
            if road.in_crossing(middle, length / 2 + 3.0) or kind == 'gap':
                continue
            d = road.parking_center(side) + random.uniform(-0.12, 0.12)
            if kind in ('cones', 'barriers'):
                bodies += _work_zone(random, kind, side, middle, d, length)
                continue
            yaw = (0.0 if side < 0 else np.pi) + random.normal(0, 0.03)
            if kind in ('motorcycle', 'bicycle'):
                for shift in (-0.9, 0.4):
                    turned = yaw + np.pi / 2 + random.normal(0, 0.2)
                    body = _vehicle(random, kind, moving=False)
                    bodies.append(Body(body, middle + shift, d, yaw=turned))
                continue
            bodies.append(Body(_vehicle(random, kind, moving=False), middle, d, yaw=yaw))
    return bodies


def _work_zone(
    random: Random, kind: str, side: int, s: float, d: float, length: float
) -> list[Body]:
    edge = d - side * 0.9
    if kind == 'cones':
        return [
            Body(furniture.traffic_cone(random), s + x, edge + random.normal(0, 0.1))
            for x in np.linspace(-length / 2, length / 2, 5)
        ]
    concrete = bool(random.random() < 0.5)
    return [
        Body(furniture.barrier(random, concrete=concrete), s + x, edge, yaw=random.normal(0, 0.04))
        for x in np.arange(-length / 2 + 1, length / 2, 2.15)
    ]


def _traffic(
    random: Random, road: Road, start: float, end: float, ego_lane: int, ego_speed: float
) -> list[Body]:
    bodies: list[Body] = []
    deck = Deck(random, DRIVING)
    for direction in (-1, 1):
        for lane in range(road.lanes):
            own = direction == 1 and lane == ego_lane
            pace = ego_speed if direction == 1 else float(random.uniform(3.0, 12.0))
            if direction == 1 and not own:
                pace = max(0.0, pace + float(random.uniform(-2.0, 2.0)))
            s = start + random.uniform(0, 10)
            while s < end:
                kind = deck.deal(small=_beside_ego(s))
                length = LENGTH[kind]
                middle = s + length / 2
                s += length + random.exponential(9.0) + 3.0
                blocked = own and -length / 2 - 5.0 < middle < length / 2 + 10.0
                if kind == 'gap' or blocked:
                    continue
                d = road.lane_center(lane, direction) + random.normal(0, 0.15)
                yaw = 0.0 if direction == 1 else np.pi
                bodies.append(
                    Body(
                        _vehicle(random, kind, moving=True),
                        middle,
                        float(d),
                        yaw=yaw,
                        speed_s=direction * pace,
                    )
                )
    return bodies


def _light(random: Random) -> Light:
    azimuth, height = random.uniform(-np.pi, np.pi), random.uniform(0.35, 1.15)
    sun = np.array(
        [np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)]
    )
    cloud = float(
        random.choice([random.uniform(0.1, 0.5), random.uniform(0.5, 0.95)], p=[0.7, 0.3])
    )
    warm = 1.0 - 0.6 * np.sin(height)
    strength = 2.6 * (1 - 0.75 * max(0.0, cloud - 0.4) / 0.6)
    grey = np.array([0.62, 0.66, 0.7])
    blue, pale = np.array([0.16, 0.34, 0.72]), np.array([0.6, 0.74, 0.9])
    mix = max(0.0, cloud - 0.4)
    return Light(
        sun=sun,
        sun_color=strength * np.array([1.0, 0.95 - 0.14 * warm, 0.86 - 0.34 * warm]),
        zenith=blue * (1 - mix) + grey * mix,
        horizon=pale * (1 - mix) + grey * mix,
        cloud=cloud,
        haze=float(random.uniform(0.0005, 0.004)),
        exposure=float(random.uniform(0.85, 1.2)),
        white=1.0 + random.normal(0, 0.03, 3),
        phase=float(random.uniform(0, 500)),
    )
