"""Synthetic streets: geometry against closed forms, truth against itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gausstr_core.contracts import VoxelGrid, matrix_from_quaternion
from gausstr_training.streets.bag import quaternion_xyzw
from gausstr_training.streets.classes import BUILDING, CAR, CLASSES, FREE, ROAD, SIDEWALK, SKY
from gausstr_training.streets.drive import write_drive
from gausstr_training.streets.drive_settings import DriveSettings
from gausstr_training.streets.reader import StreetFrame, read_street
from gausstr_training.streets.rendering.geometry import Geometry
from gausstr_training.streets.rendering.raycast import LayeredScene, RayScene
from gausstr_training.streets.scene.road import Road
from gausstr_training.streets.scene.shapes import (
    BOX,
    CONE,
    CYLINDER,
    ELLIPSOID,
    PLAIN,
    TAPER,
    WEDGE,
    part,
    rotation,
    unit_mesh,
)
from gausstr_training.streets.truth import label_voxels


@pytest.fixture(scope='module')
def frames(tmp_path_factory: pytest.TempPathFactory) -> list[StreetFrame]:
    """Two frames of one drive, 0.5 s apart."""
    folder = tmp_path_factory.mktemp('street') / 'drive'
    write_drive(folder, DriveSettings(seed=5, frames=2, width=224, height=126))
    street = read_street(folder)
    return [street[0], street[1]]


@pytest.fixture(scope='module')
def gridded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A street with truth at three resolutions, none of them the usual one."""
    folder = tmp_path_factory.mktemp('gridded') / 'drive'
    write_drive(folder, DriveSettings(5, width=64, height=36, resolutions=(0.8, 0.2, 0.1)))
    return folder


@given(
    s=st.floats(-100, 100),
    d=st.floats(-40, 40),
    curvature=st.sampled_from([0.0, 0.006, -0.006]),
)
def test_road_coordinates_keep_distances(s: float, d: float, curvature: float) -> None:
    road = Road(curvature, 1, 3.5, 2.5, (2.0, 2.0), None, 4.0)
    here, left = road.world(s, d), road.world(s, d + 1.0)
    ahead = road.world(s + 1e-4, d) - here
    assert np.linalg.norm(left - here) == pytest.approx(1.0, abs=1e-9)
    heading = road.heading(s)
    assert np.linalg.norm(ahead) == pytest.approx(1e-4 * (1 - curvature * d), rel=1e-3)
    assert left - here == pytest.approx([-np.sin(heading), np.cos(heading)], abs=1e-9)


@pytest.mark.parametrize('shape', [BOX, CYLINDER, ELLIPSOID, TAPER, WEDGE, CONE])
def test_unit_meshes_are_closed_and_face_outwards(shape: int) -> None:
    vertices, triangles = unit_mesh(shape)
    assert np.abs(vertices).max() <= 0.5 + 1e-12
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    volume = np.einsum('ti,ti->t', a, np.cross(b, c)).sum() / 6
    expected = {
        BOX: 1.0, CYLINDER: 0.75, ELLIPSOID: 0.47, TAPER: 0.77, WEDGE: 0.5, CONE: 0.28,
    }[shape]  # fmt: skip
    assert volume == pytest.approx(expected, rel=0.12)
    assert np.cross(b - a, c - a).sum(axis=0) == pytest.approx([0, 0, 0], abs=1e-9)


@settings(max_examples=40)
@given(st.tuples(*[st.floats(-3.1, 3.1)] * 3))
def test_quaternions_of_the_bag_are_the_rotations(angles: tuple[float, float, float]) -> None:
    matrix = rotation(*angles)
    x, y, z, w = quaternion_xyzw(matrix)
    again = matrix_from_quaternion(torch.tensor([w, x, y, z], dtype=torch.float64)).numpy()
    assert again == pytest.approx(matrix, abs=1e-9)


def test_rays_hit_a_wall_at_its_depth_and_see_its_shadow() -> None:
    wall = np.array([[5, -9, -9], [5, 9, -9], [5, 9, 9], [5, -9, 9]], dtype=float)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    scene = LayeredScene(
        [
            (RayScene(wall + np.array([3.0, 0, 0]), faces), np.array([0, 1])),
            (RayScene(wall, faces), np.array([7, 8])),
        ]
    )
    directions = np.array([[1.0, 0.1, 0.2], [2.0, 0.0, 0.1], [-1.0, 0.0, 0.0]])
    triangle, distance, normal = scene.first_hits(np.zeros(3), directions)
    assert set(triangle[:2]) <= {7, 8}
    assert triangle[2] == -1
    assert distance[:2] == pytest.approx([5.0, 2.5], rel=1e-5)
    assert normal[:2] == pytest.approx(np.array([[-1.0, 0, 0]] * 2), abs=1e-6)
    points, facing = np.array([[6.0, 0, 0], [4.0, 0, 0]]), np.array([[-1.0, 0, 0]] * 2)
    towards = np.array([-1.0, 0.0, 0.0])
    assert scene.blocked(points, facing, towards).tolist() == [True, False]


@pytest.mark.parametrize('resolution', [0.8, 0.4, 0.2, 0.1])
def test_a_box_fills_its_voxels_and_no_others(resolution: float) -> None:
    grid = VoxelGrid((-4, -4, -1), (4, 4, 5.4), resolution)
    box = part(BOX, (1.0, 0.6, 1.0), (1.6, 0.8, 0.8), CAR, PLAIN, (1, 1, 1))
    voxels = label_voxels(_geometry([box]), np.eye(4)[None], grid)
    centers = grid.centers().numpy()
    inside = (np.abs(centers - [1.0, 0.6, 1.0]) < [0.8, 0.4, 0.4]).all(axis=-1)
    assert (voxels[inside] == CAR).all()
    reach = np.array([0.8, 0.4, 0.4]) + 0.51 * resolution
    away = (np.abs(centers - [1.0, 0.6, 1.0]) > reach).any(axis=-1)
    assert (voxels[away] == FREE).all()


def test_a_street_has_the_planned_arrays(frames: list[StreetFrame]) -> None:
    frame = frames[0]
    assert frame.images.shape == (6, 126, 224, 3)
    assert frame.images.dtype == np.uint8
    assert frame.depth.shape == frame.semantics.shape == (6, 126, 224)
    assert frame.voxels is not None and frame.camera_mask is not None
    assert frame.voxels.shape == frame.camera_mask.shape == (200, 200, 16)
    assert set(np.unique(frame.voxels)) <= {*range(16), FREE}
    assert ((frame.depth == 0) == (frame.semantics == SKY)).all()
    assert frame.stamp == frame.image_stamps.max()
    assert 0 < np.ptp(frame.image_stamps) < 60_000_000
    assert frames[1].stamp - frame.stamp == 500_000_000


def test_the_road_is_one_voxel_thick_and_as_wide_at_every_resolution(gridded: Path) -> None:
    areas = []
    for resolution in (0.8, 0.2, 0.1):
        street = read_street(gridded, resolution)
        frame, grid = street[0], street.grid
        assert grid is not None and frame.voxels is not None and frame.camera_mask is not None
        assert frame.voxels.shape == frame.camera_mask.shape == grid.shape
        near = np.linalg.norm(grid.centers().numpy()[..., 0, :2], axis=-1) < 9
        columns = (frame.voxels == ROAD).sum(-1)[near]
        assert columns.max() == 1
        areas.append(columns.sum() * resolution**2)
    coarse, fine, finest = areas
    assert fine == pytest.approx(finest, rel=0.05)
    assert 0.5 * fine < coarse < fine  # what stands on the road takes its voxels there


def test_road_pixels_lie_on_the_ground(frames: list[StreetFrame]) -> None:
    points, label = _lift(frames[0])
    road = points[(label == ROAD) & (np.linalg.norm(points, axis=1) < 30)]
    walk = points[(label == SIDEWALK) & (np.linalg.norm(points, axis=1) < 20)]
    assert np.abs(road[:, 2]).max() < 0.02
    assert walk[:, 2].min() > -0.08 and walk[:, 2].max() < 0.06


def test_lifted_pixels_agree_with_the_voxels(frames: list[StreetFrame]) -> None:
    """Of what stands still: the moving things were elsewhere when a camera fired."""
    frame = frames[0]
    points, label = _lift(frame)
    grid = VoxelGrid()
    cell = np.floor((points - np.array(grid.lower)) / grid.resolution).astype(int)
    inside = ((cell >= 0) & (cell < grid.shape)).all(axis=1)
    cell, label = cell[inside], label[inside]
    found = frame.voxels[tuple(cell.T)]
    seen = frame.camera_mask[tuple(cell.T)]
    assert (found != FREE).mean() > 0.98
    assert (found == label).mean() > 0.93
    assert (found == label)[label == BUILDING].mean() > 0.95
    assert seen.mean() > 0.8


def test_static_world_agrees_between_frames(frames: list[StreetFrame]) -> None:
    """The ego moved; the extrinsics follow, so that the overlap of two cameras is one place."""
    for frame in frames:
        names = frame.rig.names
        front, left = names.index('CAM_FRONT'), names.index('CAM_FRONT_LEFT')
        points, label = _lift(frame, only=front)
        still = points[np.isin(label, (ROAD, SIDEWALK, BUILDING))]
        pixels, depth = frame.rig.project(torch.from_numpy(still))
        pixels, depth = pixels[left].numpy(), depth[left].numpy()
        height, width = frame.rig.image_sizes[left]
        ok = (depth > 1) & (pixels >= 0).all(axis=1) & (pixels < (width, height)).all(axis=1)
        assert ok.sum() > 50
        column, row = pixels[ok].astype(int).T
        other = frame.depth[left, row, column]
        error = np.abs(other - depth[ok]) / depth[ok]
        assert np.median(error) < 0.03


def test_most_classes_come_in_every_street(tmp_path: Path) -> None:
    seen = np.zeros(len(CLASSES))
    for seed in range(3):
        write_drive(tmp_path / str(seed), DriveSettings(seed, 1, 128, 72, voxels=False))
        frame = read_street(tmp_path / str(seed))[0]
        assert frame.voxels is None
        assert len(np.unique(frame.semantics)) >= 13
        seen += np.bincount(frame.semantics.ravel(), minlength=len(CLASSES)) > 0
    assert (seen > 0).all(), [name for name, n in zip(CLASSES, seen, strict=True) if n == 0]


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ('a', 'b'):
        write_drive(tmp_path / name, DriveSettings(11, 1, 64, 36))
    write_drive(tmp_path / 'c', DriveSettings(12, 1, 64, 36))
    a, b, c = (read_street(tmp_path / name)[0] for name in 'abc')
    for field in ('images', 'depth', 'semantics', 'voxels', 'camera_mask'):
        assert np.array_equal(getattr(a, field), getattr(b, field))
    assert not np.array_equal(a.images, c.images)
    bags = [(tmp_path / name / 'bag' / 'bag.mcap').read_bytes() for name in 'ab']
    assert bags[0] == bags[1]


def _lift(frame: StreetFrame, only: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Ego points [P, 3] float32 and classes [P] of the pixels that are not sky."""
    _, height, width = frame.depth.shape
    column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    pixels = torch.from_numpy(np.stack([column.ravel(), row.ravel()], 1)).float()
    depth = torch.from_numpy(frame.depth).flatten(1)
    points = frame.rig.unproject(pixels.expand(6, -1, -1), depth).numpy()
    label, hit = frame.semantics.reshape(6, -1), frame.depth.reshape(6, -1) > 0
    if only is not None:
        return points[only][hit[only]], label[only][hit[only]]
    return points[hit], label[hit]


def _geometry(parts: list) -> Geometry:
    vertices, triangles, owner = [], [], []
    for number, item in enumerate(parts):
        unit, faces = unit_mesh(item.shape)
        triangles.append(faces + sum(map(len, vertices)))
        vertices.append(unit @ item.body_from_unit[:3, :3].T + item.body_from_unit[:3, 3])
        owner.append(np.full(len(faces), number))
    matrices = np.stack([item.body_from_unit for item in parts])
    count = sum(map(len, vertices))
    return Geometry(
        np.concatenate(vertices), np.zeros(count, int),
        np.concatenate(triangles).astype(np.int32), np.concatenate(owner),
        np.zeros(len(parts), int), np.array([item.shape for item in parts]),
        np.array([item.label for item in parts], np.uint8),
        np.array([item.material for item in parts]), np.array([item.color for item in parts]),
        np.array([item.mottle for item in parts]),
        matrices, np.linalg.inv(matrices), np.linalg.norm(matrices[:, :3, :3], axis=1),
    )  # fmt: skip
