"""The released voxelisers against the numbers of the official code, and twin against twin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gausstr_core.contracts import VoxelGrid
from gausstr_core.voxels.exponential import exponentiate
from gausstr_core.voxels.released import kept_gaussians, released_voxels

pytestmark = pytest.mark.usefixtures('two_threads')
BACKENDS = ('reference', 'fast')
OCC3D = VoxelGrid()
SMALL = VoxelGrid((-4.0, -3.0, -1.0), (4.0, 3.0, 2.0), 0.5)
FILTERS = {'plain': (None, None), 'filtered': (0.6, 0.015)}


@pytest.fixture(scope='module')
def units(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / 'reference' / 'units.npz') as file:
        return {name: file[name] for name in file.files if name.startswith('vox')}


def inputs(units: dict[str, np.ndarray]) -> tuple[torch.Tensor, ...]:
    means, opacities, features, covariances = (
        torch.from_numpy(units[f'vox.{name}'])
        for name in ('means3d', 'opacities', 'features', 'cov')
    )
    return means, opacities[:, 0], features, covariances


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('case', FILTERS)
def test_vox_of_the_official_code(units: dict[str, np.ndarray], case: str, backend: str) -> None:
    opacity, covariance = FILTERS[case]
    density, features, kept = released_voxels(
        *inputs(units), OCC3D,
        opacity_threshold=opacity, covariance_threshold=covariance, backend=backend,
    )  # fmt: skip
    index = tuple(units[f'vox.{case}.idx'].astype(np.int64).T)
    expected = torch.from_numpy(units[f'vox.{case}.density'])
    torch.testing.assert_close(density[index], expected, rtol=1e-4, atol=1e-6)
    # all that is reached, but for the corners of boxes where float32 fades to nothing
    assert int((density > 1e-30).sum()) == int((expected > 1e-30).sum())
    some = units[f'vox.{case}.feat_sel']
    assert features[index].shape[0] > len(some) > 1000
    step = int(some[1] - some[0])
    torch.testing.assert_close(
        features[index][::step][: len(some)],
        torch.from_numpy(units[f'vox.{case}.feats']), rtol=1e-4, atol=1e-5,
    )  # fmt: skip
    assert kept.all() if case == 'plain' else 0 < kept.sum() < len(kept)


@pytest.mark.parametrize('backend', BACKENDS)
def test_voxold_of_the_official_code(units: dict[str, np.ndarray], backend: str) -> None:
    density, features, kept = released_voxels(
        *inputs(units), OCC3D, averaged=True,
        opacity_threshold=None, covariance_threshold=None, backend=backend,
    )  # fmt: skip
    assert kept.all()
    some = torch.from_numpy(units['voxold.flat_idx'])
    # the file holds every second of the voxels that are reached; one lies on an ellipsoid's edge
    assert abs(int((density > 0).sum()) - 2 * len(some)) <= 2
    torch.testing.assert_close(
        density.flatten()[some], torch.from_numpy(units['voxold.density']), rtol=1e-4, atol=1e-6
    )
    torch.testing.assert_close(
        features.flatten(0, 2)[some], torch.from_numpy(units['voxold.feats']),
        rtol=1e-4, atol=1e-6,
    )  # fmt: skip


def test_the_centres_are_those_of_the_official_grid(units: dict[str, np.ndarray]) -> None:
    centers = OCC3D.centers().numpy()
    np.testing.assert_allclose(centers[0, 0, 0], units['vox.grid_first'], atol=1e-5)
    np.testing.assert_allclose(centers[-1, -1, -1], units['vox.grid_last'], atol=1e-5)
    np.testing.assert_allclose(centers[:, 0, 0, 0], units['vox.grid_x'], atol=1e-5)
    np.testing.assert_allclose(centers[0, 0, :, 2], units['vox.grid_z'], atol=1e-5)


def scene(count: int, seed: int) -> tuple[torch.Tensor, ...]:
    """Means, opacities, class probabilities and covariances in and around the small grid."""
    random = torch.Generator().manual_seed(seed)
    means = (torch.rand(count, 3, generator=random) - 0.5) * torch.tensor([10.0, 8.0, 5.0])
    half = torch.randn(count, 3, 3, generator=random) * torch.rand(count, 1, 1, generator=random)
    shares = torch.softmax(3 * torch.randn(count, 5, generator=random), dim=-1)
    covariances = half @ half.transpose(1, 2) + 0.01 * torch.eye(3)
    return means, torch.rand(count, generator=random), shares, covariances


@given(st.integers(0, 40), st.integers(0, 2**31), st.booleans())
@settings(max_examples=30, deadline=None)
def test_both_backends_agree(count: int, seed: int, averaged: bool) -> None:
    inputs = scene(count, seed)
    options = {'opacity_threshold': 0.2, 'covariance_threshold': None, 'averaged': averaged}
    density, features, kept = released_voxels(*inputs, SMALL, **options, backend='reference')
    fast, fast_features, fast_kept = released_voxels(*inputs, SMALL, **options, backend='fast')
    assert torch.equal(kept, fast_kept)
    # only the older rule has an edge on which a voxel may fall either way
    same = torch.isclose(density, fast, rtol=1e-4, atol=1e-6)
    assert (~same).float().mean() < 1e-3 if averaged else same.all()
    torch.testing.assert_close(features[same], fast_features[same], rtol=1e-3, atol=1e-4)


def test_one_gaussian_against_the_closed_form() -> None:
    mean, shares = torch.tensor([[0.3, -0.2, 0.4]]), torch.tensor([[0.25, 0.75]])
    covariance = torch.diag(torch.tensor([0.09, 0.04, 0.16]))[None]
    for backend in BACKENDS:
        density, features, _ = released_voxels(
            mean, torch.tensor([0.7]), shares, covariance, SMALL,
            opacity_threshold=None, covariance_threshold=None, backend=backend,
        )  # fmt: skip
        offset = SMALL.centers() - mean[0]
        expected = 0.7 * torch.exp(-0.5 * (offset**2 / covariance[0].diagonal()).sum(-1))
        # x -0.6..1.2, y -0.8..0.4, z -0.8..1.6: the voxels that hold the ends belong to the box
        box = torch.zeros(SMALL.shape, dtype=torch.bool)
        box[6:11, 4:7, 0:6] = True
        torch.testing.assert_close(density, torch.where(box, expected, 0.0), rtol=1e-4, atol=1e-7)
        near = density > 1e-6
        torch.testing.assert_close(features[near], shares[0].expand(int(near.sum()), 2))


def test_the_filter_looks_at_range_opacity_and_size() -> None:
    means = torch.tensor([[0.0, 0, 0], [5, 0, 0], [4, 3, 2], [0, 0, 0], [0, 0, 0]])
    opacities = torch.tensor([0.9, 0.9, 0.9, 0.6, 0.9])
    covariances = torch.eye(3).repeat(5, 1, 1)
    covariances[4, 1, 1] = 0.0025
    kept = kept_gaussians(means, opacities, covariances, SMALL, 0.6, 0.015)
    assert kept.tolist() == [True, False, True, False, False]
    assert kept_gaussians(means, opacities, covariances, SMALL, None, None).all()
    only_size = kept_gaussians(means, opacities, covariances, SMALL, None, 0.015)
    assert only_size.tolist() == [True, False, True, True, False]


def test_bad_input_is_refused_by_name() -> None:
    good = list(scene(3, 0))
    none = {'opacity_threshold': None, 'covariance_threshold': None}
    for index, bad, message in (
        (1, torch.ones(3, 1), r'opacities of 3 Gaussians must be \(3,\)'),
        (3, torch.zeros(3, 3, 3), 'covariances must be finite and not singular'),
        (0, torch.full((3, 3), torch.nan), 'means must be finite'),
    ):
        inputs = [*good[:index], bad, *good[index + 1 :]]
        with pytest.raises(ValueError, match=message):
            released_voxels(*inputs, SMALL, **none)
    with pytest.raises(ValueError, match='backend must be'):
        released_voxels(*good, SMALL, **none, backend='gpu')


@given(st.lists(st.floats(-200, 80, width=32), min_size=1, max_size=40))
def test_the_exponential_is_that_of_libm(values: list[float]) -> None:
    ours = np.array(values, np.float32)
    exact = np.exp(ours.astype(np.float64))
    exponentiate(ours, np.empty(len(ours), np.int32))
    np.testing.assert_allclose(ours, exact, rtol=3e-7, atol=2e-38)
