"""Draw what stands and walks beside a road."""

from __future__ import annotations

import numpy as np

from gausstr_training.streets.scene import furniture, people
from gausstr_training.streets.scene.road import KERB, TERRAIN_HEIGHT, Road
from gausstr_training.streets.scene.world import Body

Random = np.random.Generator


def sidewalks(random: Random, road: Road, start: float, end: float) -> list[Body]:
    """Posts, people, plants and clutter on both sides of the road from s = start to end."""
    bodies: list[Body] = []
    for side in (-1, 1):
        width = road.sidewalk[0 if side > 0 else 1]
        kerb = road.half_width
        for s in np.arange(start + random.uniform(0, 20), end, random.uniform(16, 26)):
            if not road.in_crossing(s, 1.5):
                post = Body(
                    furniture.lamp_post(random), s, side * (kerb + 0.4), KERB, _inward(side)
                )
                bodies.append(post)
        bodies += _scatter(random, road, side, start, end, 9.0, (kerb + 0.3, kerb + 0.5), 'sign')
        bodies += _scatter(
            random, road, side, start, end, 7.0, (kerb + 0.9, kerb + width), 'walker'
        )
        bodies += _scatter(
            random, road, side, start, end, 24.0, (kerb + 0.6, kerb + width), 'bicycle'
        )
        bodies += _scatter(
            random, road, side, start, end, 30.0, (kerb + 0.6, kerb + width), 'cone'
        )
        bodies += _scatter(
            random, road, side, start, end, 24.0, (kerb + 0.5, kerb + 1.0), 'barrier'
        )
        if random.random() < 0.6:
            bodies += _scatter(
                random, road, side, start, end, 9.0, (kerb + 0.7, kerb + 1.0), 'tree'
            )
        verge = (kerb + width + 0.7, kerb + width + 7.0)
        bodies += _scatter(random, road, side, start, end, 9.0, verge, 'tree')
        bodies += _scatter(random, road, side, start, end, 6.0, verge, 'bush')
        bodies += _scatter(random, road, side, start, end, 28.0, verge, 'walker')
        far = (kerb + width + 15, kerb + width + 55)
        bodies += _scatter(random, road, side, start, end, 5.0, far, 'tree')
    return bodies


def _inward(side: int) -> float:
    """Yaw that turns a body's +y to the road's middle."""
    return np.pi if side > 0 else 0.0


def _scatter(
    random: Random,
    road: Road,
    side: int,
    start: float,
    end: float,
    spacing: float,
    between: tuple[float, float],
    kind: str,
) -> list[Body]:
    bodies: list[Body] = []
    s = start + random.exponential(spacing)
    while s < end:
        d = side * float(random.uniform(*between))
        at, s = s, s + 1.0 + random.exponential(spacing)
        if not road.in_crossing(at, 2.0):
            bodies.append(_stander(random, kind, at, d, side))
    return bodies


def _stander(random: Random, kind: str, s: float, d: float, side: int) -> Body:
    if kind == 'walker':
        walking = bool(random.random() < 0.7)
        direction = int(random.choice([-1, 1]))
        yaw = 0.0 if direction > 0 else np.pi
        if not walking:
            yaw = float(random.uniform(-np.pi, np.pi))
        speed = direction * float(random.uniform(0.7, 1.7)) if walking else 0.0
        parts = people.pedestrian(random, walking=walking)
        return Body(parts, s, d, KERB, yaw, speed_s=speed)
    if kind == 'sign':
        parts = (furniture.sign_post if random.random() < 0.7 else furniture.traffic_light)(random)
        return Body(parts, s, d, KERB, 0.0 if side < 0 else np.pi)
    yaw = float(random.uniform(-np.pi, np.pi))
    if kind == 'bicycle':
        ridden = bool(random.random() < 0.35)
        yaw = float(random.choice([0, np.pi])) + float(random.normal(0, 0.2))
        return Body(people.bicycle(random, ridden=ridden), s, d, KERB, yaw)
    if kind == 'cone':
        return Body(furniture.traffic_cone(random), s, d, KERB, yaw)
    if kind == 'barrier':
        along = float(random.normal(0, 0.06))
        return Body(
            furniture.barrier(random, concrete=bool(random.random() < 0.3)), s, d, KERB, along
        )
    if kind == 'bush':
        if random.random() < 0.3:
            return Body(
                furniture.hedge(random), s, d, TERRAIN_HEIGHT, float(random.normal(0, 0.05))
            )
        return Body(furniture.bush(random), s, d, TERRAIN_HEIGHT, yaw)
    return Body(furniture.tree(random), s, d, TERRAIN_HEIGHT, yaw)


def buildings(random: Random, road: Road, start: float, end: float) -> list[Body]:
    """A row of buildings with gaps on both sides of the road."""
    bodies: list[Body] = []
    for side in (-1, 1):
        row = road.half_width + road.sidewalk[0 if side > 0 else 1]
        setback = float(random.choice([0.5, 3.0, 8.0]))
        share = float(random.uniform(0.45, 0.95))
        s = start
        while s < end:
            length, depth = float(random.uniform(9, 22)), float(random.uniform(9, 14))
            middle = s + length / 2
            s += length + (0.3 if random.random() < 0.6 else float(random.uniform(3, 9)))
            if random.random() > share or road.in_crossing(middle, length / 2 + 3.0):
                continue
            d = side * (row + setback + float(random.uniform(0, 1.5)))
            parts = furniture.building(random, length, depth)
            bodies.append(Body(parts, middle, d, 0.0, 0.0 if side > 0 else np.pi))
    return bodies
