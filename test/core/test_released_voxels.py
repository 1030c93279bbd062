"""The released voxelisers against the numbers of the official code, and twin against twin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gausstr_core.contracts import VoxelGrid
from gausstr_core.voxels.released import averaged_voxels, released_voxels

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
    assert int((density > 0).sum()) == len(expected)
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
    density, features, kept = averaged_voxels(
        *inputs(units), OCC3D,
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
