"""The road: an arc with lanes, and the ground around it as a grid of cells along and across.

Road coordinates: s metres along the centre line, d metres to its left. The world (odom) frame has
its origin on the centre line at s = 0, x along the road there, z up; the carriageway is z = 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gausstr_training.streets.classes import ROAD, SIDEWALK, TERRAIN

# Height of the sidewalk in metres. A low kerb: a voxel is observed when its centre is, and the
# more the ground rises above the centre of its layer (z = 0), the nearer its "observed" ends.
KERB = 0.04
TERRAIN_HEIGHT, TERRAIN_BUMPS = -0.02, 0.05
GROUND_REACH = 75.0  # half the width of the modelled ground


@dataclass(frozen=True)
class Road:
    """A road of constant curvature with the same cross-section everywhere."""

    curvature: float  # 1/m, positive turns left
    lanes: int  # per direction
    lane_width: float
    parking: float  # width of the parking strip on either side
    sidewalk: tuple[float, float]  # width on the left and on the right
    crossing: float | None  # s of the middle of a crossing street
    crossing_half: float
    hills: tuple[float, float, float] = (0.0, 1.0, 0.0)  # height and length of a wave (m), phase

    def height(self, s: np.ndarray | float) -> np.ndarray:
        """World z of the carriageway at s, metres."""
        rise, length, phase = self.hills
        return rise * (np.sin(2 * np.pi * np.asarray(s) / length + phase) - np.sin(phase))

    def pitch(self, s: float) -> float:
        """How far the carriageway tips its forward axis down at s, radians."""
        rise, length, phase = self.hills
        turn = 2 * np.pi / length
        return -float(np.arctan(rise * turn * np.cos(turn * s + phase)))

    @property
    def half_width(self) -> float:
        """From the centre line to the kerb, metres."""
        return self.lanes * self.lane_width + self.parking

    def lane_center(self, lane: int, direction: int) -> float:
        """The d of a lane, 0 next to the centre line; direction +1 drives along s (right side)."""
        return -direction * (lane + 0.5) * self.lane_width

    def parking_center(self, side: int) -> float:
        """The d of a parking strip: side +1 left, -1 right."""
        return side * (self.half_width - self.parking / 2)

    def in_crossing(self, s: float, margin: float = 0.0) -> bool:
        """Whether s lies in the crossing street or within `margin` metres of it."""
        return self.crossing is not None and abs(s - self.crossing) < self.crossing_half + margin

    def world(self, s: np.ndarray, d: np.ndarray) -> np.ndarray:
        """Road coordinates to world x, y: [..., 2]."""
        s, d = np.broadcast_arrays(np.asarray(s, dtype=float), np.asarray(d, dtype=float))
        k = self.curvature
        if abs(k) < 1e-6:
            return np.stack([s, d], axis=-1)
        angle = k * s
        return np.stack(
            [np.sin(angle) * (1 / k - d), 1 / k - np.cos(angle) * (1 / k - d)], axis=-1
        )

    def heading(self, s: float) -> float:
        """World yaw of the road's direction at s, radians."""
        return self.curvature * s


def sample_road(random: np.random.Generator, travel: float) -> Road:
    """Draw a road; a crossing street lies somewhere along the way in half of them."""
    crossing = None
    if random.random() < 0.5:
        crossing = float(random.uniform(14.0, 30.0 + travel)) * (
            1 if random.random() < 0.7 else -1
        )
    return Road(
        curvature=float(random.choice([0.0, random.uniform(-0.006, 0.006)])),
        lanes=int(random.choice([1, 2], p=[0.55, 0.45])),
        lane_width=float(random.uniform(3.2, 3.6)),
        parking=float(random.uniform(2.5, 2.9)),
        sidewalk=(float(random.uniform(2.0, 4.0)), float(random.uniform(2.0, 4.0))),
        crossing=crossing,
        crossing_half=float(random.uniform(3.5, 5.5)),
    )


def hilly(road: Road, random: np.random.Generator) -> Road:
    """The same road up and down (slopes of up to 5 degrees) and through a turn."""
    side = 1.0 if random.random() < 0.5 else -1.0
    return replace(
        road,
        curvature=side * float(random.uniform(0.010, 0.0125)),
        hills=(
            float(random.uniform(0.8, 1.2)),
            float(random.uniform(80.0, 110.0)),
            float(random.uniform(0, 2 * np.pi)),
        ),
    )


def ground_mesh(
    road: Road, random: np.random.Generator, start: float, end: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells of road, sidewalk and terrain with kerbs between them.

    Returns:
        vertices [V, 3] world, triangles [T, 3], label [T].
    """
    s, d = _breaks(road, start, end)
    label = _cell_labels(road, random, (s[1:] + s[:-1]) / 2, (d[1:] + d[:-1]) / 2)
    bumps = _smooth_bumps(random, len(s), len(d))
    corners = np.stack(np.meshgrid(s, d, indexing='ij'), axis=-1)
    flat = road.world(corners[..., 0], corners[..., 1])
    level = np.where(label == ROAD, 0.0, np.where(label == SIDEWALK, KERB, TERRAIN_HEIGHT))
    vertices, triangles, labels = [], [], []
    wavy = label == TERRAIN
    heights = {}  # of the four corners of every cell
    for name, (i, j) in {'a': (0, 0), 'b': (1, 0), 'c': (1, 1), 'e': (0, 1)}.items():
        bump = bumps[i : i + len(s) - 1, j : j + len(d) - 1]
        heights[name] = level + np.where(wavy, bump, 0.0)
        xy = flat[i : i + len(s) - 1, j : j + len(d) - 1]
        rise = road.height(corners[i : i + len(s) - 1, j : j + len(d) - 1, 0])
        z = heights[name] + rise
        vertices.append(np.concatenate([xy, z[..., None]], axis=-1).reshape(-1, 3))
    cells = label.size
    index = np.arange(cells)
    for corner in ((0, 1, 2), (0, 2, 3)):
        triangles.append(np.stack([index + cells * c for c in corner], axis=1))
        labels.append(label.ravel())
    _add_kerbs(label.shape, cells, triangles, labels)
    corners, faces = np.concatenate(vertices), np.concatenate(triangles)
    a, b, c = (corners[faces[:, i]] for i in range(3))
    real = np.linalg.norm(np.cross(b - a, c - a), axis=1) > 1e-6
    return corners, faces[real], np.concatenate(labels)[real]


def _add_kerbs(
    shape: tuple[int, int], cells: int, triangles: list[np.ndarray], labels: list[np.ndarray]
) -> None:
    """Join each cell's edge to its neighbour's; where both are level the wall is empty."""
    index = np.arange(cells).reshape(shape)
    kerb = np.int64(SIDEWALK)
    for here, there, edge in (
        (index[:-1], index[1:], ((1, 2), (0, 3))),
        (index[:, :-1], index[:, 1:], ((3, 2), (0, 1))),
    ):
        here, there = here.ravel(), there.ravel()
        a, b = (here + cells * corner for corner in edge[0])
        c, e = (there + cells * corner for corner in edge[1])
        for wall in ((a, b, e), (a, e, c)):
            triangles.append(np.stack(wall, axis=1))
            labels.append(np.full(len(here), kerb))


def _breaks(road: Road, start: float, end: float) -> tuple[np.ndarray, np.ndarray]:
    s = np.arange(start, end + 1e-6, 3.0)
    if road.crossing is not None:
        edges = road.crossing_half + np.array([0.0, 2.5])
        edges = np.concatenate([road.crossing - edges, road.crossing + edges])
        s = np.unique(np.concatenate([s, edges]))
    half = road.half_width
    left, right = half + road.sidewalk[0], half + road.sidewalk[1]
    outer = np.array([3, 6, 9, 12, 16, 20, 25, 30, 36, 42, 50, GROUND_REACH])
    d = np.concatenate(
        [-right - outer[::-1], [-right, -half], np.linspace(-half, half, 7)[1:-1],
         [half, left], left + outer]
    )  # fmt: skip
    return s, d


def _cell_labels(
    road: Road, random: np.random.Generator, s: np.ndarray, d: np.ndarray
) -> np.ndarray:
    half = road.half_width
    side = np.where(d > 0, road.sidewalk[0], road.sidewalk[1])
    across = np.where(np.abs(d) < half, ROAD, np.where(np.abs(d) < half + side, SIDEWALK, TERRAIN))
    label = np.repeat(across[None], len(s), axis=0)
    for sign in (-1, 1):  # forecourts: paved beyond the sidewalk for a stretch
        for begin in np.arange(s[0], s[-1], 25.0):
            if random.random() < 0.3:
                rows = (s >= begin) & (s < begin + 25.0)
                columns = (d * sign > half) & (d * sign < half + random.choice([5.0, 10.0, 14.0]))
                label[np.ix_(rows, columns)] = SIDEWALK
    if road.crossing is not None:
        away = np.abs(s - road.crossing)
        walk = (away < road.crossing_half + 2.5)[:, None] & (np.abs(d) >= half)[None]
        label[walk] = SIDEWALK
        label[away < road.crossing_half] = ROAD
    return label


def _smooth_bumps(random: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    noise = random.normal(0, 0.05, (rows, columns))
    for axis in (0, 1):
        noise = (np.roll(noise, 1, axis) + noise + np.roll(noise, -1, axis)) / 3
    return np.clip(noise * 2.0, -TERRAIN_BUMPS, TERRAIN_BUMPS)
