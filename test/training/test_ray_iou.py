"""RayIoU beside an independent walk: every face that a ray crosses, sorted (field_reports D2).

GDFusion 5 and SparseOcc 54 ask where along the ray depth counts. SparseOcc's kernel
(lib/dvr/dvr.cu at af4d9df) takes the face where the ray leaves the first occupied voxel; so do we.
"""

from __future__ import annotations

import numpy as np
import pytest

from gausstr_core.contracts import VoxelGrid
from gausstr_training.evaluation.occ3d.label_files import (
    CLASSES,
    DEPTH_ERRORS,
    FREE,
    LIDAR,
    Occ3DTally,
    Truth,
)
from gausstr_training.evaluation.occ3d.raycast import first_hits, lidar_directions

GRID = VoxelGrid()
LOWER, RES = np.array(GRID.lower), GRID.resolution
CAR = CLASSES.index('car')


def walk(labels: np.ndarray, origin: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Labels [R] and distances [R] from one origin [3] along rays [R, 3], a thousand at a time."""
    parts = [_walk(labels, origin, part) for part in np.array_split(rays, len(rays) // 1000 + 1)]
    found, distance = zip(*parts, strict=True)
    return np.concatenate(found), np.concatenate(distance)


def _walk(labels: np.ndarray, origin: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Each ray is cut at all faces of the grid; its pieces are asked for their voxel."""
    cuts = [np.zeros((len(rays), 1))]
    with np.errstate(divide='ignore', invalid='ignore'):
        for axis, count in enumerate(GRID.shape):
            faces = LOWER[axis] + np.arange(count + 1) * RES - origin[axis]
            along = faces / rays[:, axis, None]
            cuts.append(np.where(np.isfinite(along) & (along > 0), along, 0))
    ends = np.sort(np.concatenate(cuts, axis=1), axis=1)
    middle = (ends[:, 1:] + ends[:, :-1]) / 2
    cells = np.floor((origin + middle[..., None] * rays[:, None] - LOWER) / RES).astype(int)
    inside = ((cells >= 0) & (cells < GRID.shape)).all(-1) & (np.diff(ends, axis=1) > 1e-9)
    seen = labels[tuple(np.moveaxis(cells.clip(0, np.array(GRID.shape) - 1), -1, 0))]
    hit = inside & (seen != FREE)
    row, first = np.arange(len(rays)), hit.argmax(1)
    out = np.where(inside, ends[:, 1:], 0).max(1)  # where it leaves the grid
    struck = hit.any(1)
    return np.where(struck, seen[row, first], FREE), np.where(struck, ends[row, first + 1], out)


def scattered(seed: int, share: float = 0.01) -> np.ndarray:
    random = np.random.default_rng(seed)
    where = random.random(GRID.shape) < share
    return np.where(where, random.integers(0, FREE, GRID.shape), FREE).astype(np.uint8)


def protocol_origins(step: float = 3.7) -> np.ndarray:
    """Up to eight places of the lidar along a drive, as SparseOcc's EgoPoseDataset picks them."""
    along = step * np.arange(-18, 21)
    places = np.stack([along, 0.004 * along**2, 0.01 * along], -1) + LIDAR
    near = places[(np.abs(places[:, :2]) < 39).all(1)]
    return near[np.round(np.linspace(0, len(near) - 1, 8)).astype(int)]


def test_ten_thousand_random_rays_end_where_an_independent_walk_does() -> None:
    """GDFusion 5, SparseOcc 54; starts inside, at the rim, and outside of the grid."""
    random = np.random.default_rng(0)
    labels = scattered(1)
    low, high = LOWER, np.array(GRID.upper)
    origins = random.uniform(low + 0.1, high - 0.1, (10, 3))
    origins[7:] = [[-45.0, 3.03, 1.1], [0.21, 0.13, 8.03], [41.3, -44.2, -3.1]]
    rays = random.normal(size=(1000, 3)) * [1, 1, 0.1]
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    found, distance = first_hits(labels, GRID, origins, rays, FREE)
    for n, origin in enumerate(origins):
        expected = walk(labels, origin, rays)
        np.testing.assert_array_equal(found[n], expected[0])
        np.testing.assert_allclose(distance[n], expected[1], atol=1e-6)
    assert (found != FREE).any(1).all()  # those from outside come in


def ray_iou(
    predicted: np.ndarray, truth: np.ndarray, origins: np.ndarray, rays: np.ndarray
) -> dict[str, float]:
    """The published definition, on the independent walk."""
    said, true = (
        [np.concatenate(part) for part in zip(*(walk(g, o, rays) for o in origins), strict=True)]
        for g in (predicted, truth)
    )
    counts = true[0] != FREE
    error = np.abs(said[1] - true[1])
    scores = {}
    for limit in DEPTH_ERRORS:
        of = []
        for label in range(FREE):
            here, there = counts & (true[0] == label), counts & (said[0] == label)
            right = (here & there & (error < limit)).sum()
            total = here.sum() + there.sum() - right
            of.append(right / total if total else np.nan)
        scores[f'{limit:g}m'] = 100 * float(np.nanmean(of))
    return {**scores, 'mean': sum(scores.values()) / 3}


@pytest.mark.parametrize('shift', [0, 2])
def test_scores_from_the_origins_of_the_protocol_are_those_of_the_walk(shift: int) -> None:
    """SparseOcc 54: eight origins along the drive, truth against a moved and thinned copy."""
    origins = protocol_origins()
    assert origins.shape == (8, 3) and np.ptp(origins[:, 0]) > 60
    truth = scattered(2)
    truth[:, :, 2] = CLASSES.index('driveable_surface')  # the road
    predicted = np.roll(np.where(scattered(3, 0.1) != FREE, FREE, truth), shift, axis=0)
    tally = Occ3DTally(GRID)
    tally.directions = lidar_directions()[::7]  # of every pitch and azimuth some
    everywhere = np.ones(GRID.shape, bool)
    masks = dict.fromkeys(('camera', 'camera_and_lidar', 'none'), everywhere)
    tally.add(predicted.astype(np.uint8), Truth(truth, masks, origins))
    expected = ray_iou(predicted, truth, origins, tally.directions)
    assert tally.rays.scores() == pytest.approx(expected, abs=1e-3)
    assert 0 < expected['1m'] < expected['4m'] < 100


@pytest.mark.parametrize(
    ('ray', 'depth'),
    [
        ((1.0, 0, 0), 20.4),
        ((-1.0, 0, 0), 20.4),
        ((0.8, 0.6, 0), 15.2 / 0.6),  # leaves the voxel that it hits through a side face
    ],
)
def test_a_wall_is_as_deep_as_its_far_face(ray: tuple[float, ...], depth: float) -> None:
    """field_reports D2: walls one voxel thick, whose near faces lie at x = 20 m and -20 m."""
    labels = np.full(GRID.shape, FREE, np.uint8)
    labels[150] = labels[49] = CAR
    found, distance = first_hits(labels, GRID, np.full((1, 3), 1e-9), np.array([ray]), FREE)
    assert found[0, 0] == CAR
    assert distance[0, 0] == pytest.approx(depth, abs=1e-6)
