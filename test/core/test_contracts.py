"""The records that cross a room's door: grids, quaternions, covariances."""

from __future__ import annotations

import math

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gausstr_core.contracts import (
    FoundationMaps,
    Gaussians,
    Occupancy,
    VoxelGrid,
    matrix_from_quaternion,
    quaternion_from_matrix,
)

quaternions = arrays.arrays(np.float64, 4, elements=st.floats(-1, 1, width=32))


def unit(values: np.ndarray) -> torch.Tensor:
    norm = float(np.linalg.norm(values))
    assume(norm > 1e-3)
    return torch.from_numpy(values / norm)


@given(quaternions)
@settings(max_examples=200, deadline=None)
def test_quaternion_survives_the_matrix(values: np.ndarray) -> None:
    quaternion = unit(values)
    back = quaternion_from_matrix(matrix_from_quaternion(quaternion))
    assert back[0] >= 0
    assert torch.minimum((back - quaternion).abs().max(), (back + quaternion).abs().max()) < 1e-7


@given(arrays.arrays(np.float64, 3, elements=st.floats(-1, 1, width=32)))
@settings(max_examples=100, deadline=None)
def test_half_turns_survive_the_matrix(axis: np.ndarray) -> None:
    quaternion = torch.cat([torch.zeros(1, dtype=torch.float64), unit(axis)])
    rotation = matrix_from_quaternion(quaternion)
    assert torch.allclose(torch.trace(rotation), torch.tensor(-1.0, dtype=torch.float64))
    back = quaternion_from_matrix(rotation)
    assert torch.allclose(matrix_from_quaternion(back), rotation, atol=1e-7)


@given(quaternions, quaternions)
@settings(max_examples=50, deadline=None)
def test_matrices_are_rotations(first: np.ndarray, second: np.ndarray) -> None:
    rotations = matrix_from_quaternion(torch.stack([unit(first), unit(second)]))
    identity = torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    assert torch.allclose(rotations @ rotations.transpose(-1, -2), identity, atol=1e-9)
    assert torch.allclose(torch.linalg.det(rotations), torch.ones(2, dtype=torch.float64))


def test_a_quarter_turn_about_z_turns_x_into_y() -> None:
    half = math.sqrt(0.5)
    rotation = matrix_from_quaternion(torch.tensor([half, 0.0, 0.0, half]))
    assert torch.allclose(
        rotation @ torch.tensor([1.0, 0, 0]), torch.tensor([0, 1.0, 0]), atol=1e-6
    )


def test_covariance_turns_with_the_gaussian() -> None:
    half = math.sqrt(0.5)
    gaussians = Gaussians(
        means=torch.zeros(1, 3),
        scales=torch.tensor([[1.0, 2.0, 3.0]]),
        rotations=torch.tensor([[half, 0.0, 0.0, half]]),
        opacities=torch.ones(1),
        features=torch.zeros(1, 2),
    )
    assert torch.allclose(
        gaussians.covariances[0], torch.diag(torch.tensor([4.0, 1, 9])), atol=1e-5
    )


def test_select_and_to_keep_the_rows_together() -> None:
    rows = torch.arange(4.0)
    gaussians = Gaussians(
        rows[:, None].repeat(1, 3), rows[:, None].repeat(1, 3), rows[:, None].repeat(1, 4),
        rows, rows[:, None],
    )  # fmt: skip
    assert len(gaussians) == 4
    picked = gaussians.select(rows > 1).to('cpu')
    for tensor in vars(picked).values():
        assert tensor.reshape(2, -1)[:, 0].tolist() == [2, 3]
    maps = FoundationMaps(torch.zeros(1, 2, 3, 4), torch.ones(1, 6, 8)).to('meta')
    assert maps.features.device.type == 'meta' and maps.depth.shape == (1, 6, 8)


def test_the_default_grid_is_occ3d() -> None:
    grid = VoxelGrid()
    centers = grid.centers()
    assert grid.shape == (200, 200, 16)
    assert centers.shape == (200, 200, 16, 3)
    assert torch.allclose(centers[0, 0, 0], torch.tensor([-39.8, -39.8, -0.8]))
    assert torch.allclose(centers[199, 0, 15], torch.tensor([39.8, -39.8, 5.2]))


@given(st.integers(1, 30), st.sampled_from([0.1, 0.2, 0.4, 0.5, 1.0]), st.integers(-50, 50))
@settings(max_examples=50, deadline=None)
def test_a_grid_has_the_voxels_that_fit(cells: int, resolution: float, start: int) -> None:
    low = start * 0.1
    grid = VoxelGrid((low,) * 3, (low + cells * resolution,) * 3, resolution)
    assert grid.shape == (cells,) * 3
    centers = grid.centers()
    assert torch.allclose(centers[0, 0, 0], torch.tensor(low + resolution / 2), atol=1e-4)
    assert torch.allclose(
        centers[-1, -1, -1], torch.tensor(grid.upper) - resolution / 2, atol=1e-4
    )


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ({'resolution': 0.0}, 'resolution must be > 0'),
        ({'resolution': float('nan')}, 'resolution must be > 0'),
        ({'resolution': 0.3}, 'along x must be a whole number'),
        ({'upper': (40.0, -40.0, 5.4)}, 'along y'),
        ({'upper': (40.0, 40.0, float('inf'))}, 'along z'),
        ({'lower': (float('nan'), -40.0, -1.0)}, 'along x'),
        ({'lower': (-40.0, -40.0)}, r'lower corner must be \(x, y, z\)'),
    ],
)
def test_a_bad_grid_is_refused_by_its_axis(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        VoxelGrid(**arguments)


def test_an_occupancy_moves_as_one() -> None:
    grid = VoxelGrid((0.0,) * 3, (1.0,) * 3, 0.5)
    empty = torch.zeros(grid.shape)
    occupancy = Occupancy(grid, empty, empty.long() - 1, empty, empty.bool()).to('meta')
    assert occupancy.labels.is_meta and occupancy.grid is grid
