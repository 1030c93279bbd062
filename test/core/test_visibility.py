"""Observed voxels: the rule by hand, and the two backends voxel by voxel."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import VoxelGrid, matrix_from_quaternion
from gausstr_core.voxels.visibility import observed_voxels, viewed_and_observed, with_neighbours

pytestmark = pytest.mark.usefixtures('two_threads')
GRID = VoxelGrid((-4.0, -4.0, -1.0), (12.0, 4.0, 3.0), 0.5)
BACKENDS = ('reference', 'fast')


def front_rig(height: int = 60, width: int = 80) -> CameraRig:
    """One camera at the ego's origin that looks along x, 90 degrees wide."""
    intrinsics = torch.tensor([[[40.0, 0, width / 2], [0, 40, height / 2], [0, 0, 1]]])
    pose = torch.tensor([[[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]]])
    return CameraRig(('CAM_FRONT',), intrinsics, pose, ((height, width),))


def in_view() -> torch.Tensor:
    """The voxels whose centre lies in that image, its left and upper border included."""
    x, y, z = GRID.centers().unbind(-1)
    return (x > 0) & (-x < y) & (y <= x) & (-0.75 * x < z) & (z <= 0.75 * x)


@pytest.mark.parametrize('backend', BACKENDS)
def test_a_wall_hides_what_is_behind_it(backend: str) -> None:
    wall = 6.0
    seen = observed_voxels(torch.full((1, 60, 80), wall), front_rig(), GRID, backend=backend)
    margin = 0.5 * math.sqrt(3) * GRID.resolution
    assert torch.equal(seen, in_view() & (GRID.centers()[..., 0] <= wall + margin))
    assert seen.any() and not seen.all()


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize(
    ('depth', 'share'), [(0.0, 0), (-1.0, 0), (math.nan, 0), (-math.inf, 0), (math.inf, 1)]
)
def test_special_depths(backend: str, depth: float, share: int) -> None:
    image = torch.full((1, 60, 80), depth)
    viewed, seen = viewed_and_observed(image, front_rig(), GRID, backend=backend)
    assert torch.equal(seen, in_view() & bool(share))
    assert torch.equal(viewed, in_view())


@pytest.mark.parametrize('backend', BACKENDS)
def test_each_voxel_asks_the_pixel_it_falls_in(backend: str) -> None:
    depth = torch.zeros(1, 60, 80)
    rig = front_rig()
    index = (20, 5, 3)
    pixel = rig.project(GRID.centers()[index][None])[0][0, 0]
    depth[0, int(pixel[1]), int(pixel[0])] = math.inf
    seen = observed_voxels(depth, rig, GRID, backend=backend)
    assert seen[index]
    pixels, far = rig.project(GRID.centers().reshape(-1, 3))
    same = (pixels[0].floor() == pixel.floor()).all(-1) & (far[0] > 0)
    assert torch.equal(seen.flatten(), same)


@given(st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_both_backends_agree_in_every_voxel(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    depth = 15 * torch.rand(3, 24, 32, generator=random) - 1
    depth[:, 0] = math.nan
    depth[:, 1] = math.inf
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[:, :3, :3] = matrix_from_quaternion(torch.randn(3, 4, generator=random))
    poses[:, :3, 3] = torch.randn(3, 3, generator=random)
    intrinsics = torch.tensor([[20.0, 0, 16], [0, 25, 11], [0, 0, 1]]).repeat(3, 1, 1)
    rig = CameraRig(('a', 'b', 'c'), intrinsics, poses, ((24, 32),) * 3)
    found = [viewed_and_observed(depth, rig, GRID, backend=backend) for backend in BACKENDS]
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert torch.equal(observed_voxels(depth, rig, GRID), found[0][1])
    assert not (found[0][1] & ~found[0][0]).any()


def test_wrong_sizes_and_backends_are_refused() -> None:
    rig = front_rig()
    with pytest.raises(ValueError, match='camera CAM_FRONT: the rig is for 60x80 images'):
        observed_voxels(torch.ones(1, 30, 40), rig, GRID)
    with pytest.raises(ValueError, match=r'depth must be \[N, H, W\] for 1 cameras'):
        observed_voxels(torch.ones(2, 60, 80), rig, GRID)
    with pytest.raises(ValueError, match="got 'cuda'"):
        observed_voxels(torch.ones(1, 60, 80), rig, GRID, backend='cuda')


def test_neighbours_touch_at_faces_edges_and_corners() -> None:
    alone = torch.zeros(4, 5, 3, dtype=torch.bool)
    alone[0, 2, 1] = True
    grown = with_neighbours(alone)
    assert grown.sum() == 2 * 3 * 3 and grown[:2, 1:4].all()
    random = torch.rand(6, 7, 5, generator=torch.Generator().manual_seed(3)) > 0.9
    pooled = torch.nn.functional.max_pool3d(random[None, None].float(), 3, 1, 1)[0, 0] > 0
    assert torch.equal(with_neighbours(random), pooled)
