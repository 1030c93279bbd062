"""Voxels: closed form, both backends against each other, gradients, labels."""

from __future__ import annotations

import math
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gausstr_core.contracts import Gaussians, VoxelGrid
from gausstr_core.voxels import label, voxelise

pytestmark = pytest.mark.usefixtures('two_threads')
GRID = VoxelGrid((-4.0, -3.0, -1.0), (4.0, 3.0, 2.0), 0.5)
BACKENDS = ('reference', 'fast')


def gaussians(count: int, seed: int, dtype: torch.dtype = torch.float32) -> Gaussians:
    """Gaussians in and around the grid, of all sizes and turns."""
    random = torch.Generator().manual_seed(seed)

    def draw(*size: int) -> torch.Tensor:
        return torch.rand(*size, generator=random, dtype=torch.float64).to(dtype)

    return Gaussians(
        means=(draw(count, 3) - 0.5) * torch.tensor([10, 8, 5], dtype=dtype),
        scales=0.05 + draw(count, 3) ** 3,
        rotations=torch.nn.functional.normalize(draw(count, 4) - 0.5, dim=-1),
        opacities=0.05 + 0.9 * draw(count),
        features=draw(count, 2),
    )


def one(mean: tuple[float, float, float], scale: tuple[float, float, float]) -> Gaussians:
    """One Gaussian turned by 90 degrees about z, opacity 0.7."""
    half = math.sqrt(0.5)
    return Gaussians(
        torch.tensor([mean]), torch.tensor([scale]), torch.tensor([[half, 0, 0, half]]),
        torch.tensor([0.7]), torch.zeros(1, 2),
    )  # fmt: skip


@pytest.mark.parametrize('backend', BACKENDS)
def test_one_gaussian_against_the_closed_form(backend: str) -> None:
    mean, (sx, sy, sz), blur, cut = (0.3, -0.2, 0.4), (0.6, 0.3, 0.2), 0.25, 2.5
    shares = torch.tensor([[0.25, 0.75]])
    density, by_class = voxelise(
        one(mean, (sx, sy, sz)), shares, GRID, blur=blur, cut=cut, backend=backend
    )
    offset = GRID.centers() - torch.tensor(mean)
    # turned about z: the first axis points along y
    variance = torch.tensor([sy**2, sx**2, sz**2]) + blur**2
    squared = (offset**2 / variance).sum(-1)
    expected = torch.where(squared <= cut**2, 0.7 * torch.exp(-0.5 * squared), torch.tensor(0.0))
    assert torch.allclose(density, expected, atol=1e-6)
    assert torch.allclose(by_class, expected[..., None] * shares[0], atol=1e-6)
    assert (density > 0).sum() > 20


@pytest.mark.parametrize('backend', BACKENDS)
def test_gaussians_outside_the_grid_give_nothing(backend: str) -> None:
    for mean in ((9.0, 0, 0), (0, -9.0, 0), (0, 0, 7.0), (-9.0, 9.0, -9.0)):
        density, by_class = voxelise(
            one(mean, (0.3, 0.3, 0.3)), torch.ones(1, 3), GRID, backend=backend
        )
        assert not density.any() and not by_class.any()
    none = one((0.0, 0, 0), (1.0, 1, 1)).select(torch.tensor([False]))
    density, by_class = voxelise(none, torch.ones(0, 3), GRID, backend=backend)
    assert density.shape == GRID.shape and by_class.shape == (*GRID.shape, 3)
    assert not density.any()


@given(st.integers(1, 60), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_both_backends_agree(count: int, seed: int) -> None:
    scene = gaussians(count, seed)
    random = torch.Generator().manual_seed(seed)
    shares = torch.softmax(3 * torch.randn(count, 5, generator=random), dim=-1)
    density, by_class = voxelise(scene, shares, GRID, backend='reference')
    fast_density, fast_by_class = voxelise(scene, shares, GRID, backend='fast')
    # a voxel on an ellipsoid's very edge may fall either way: at most exp(-4.5) of an opacity
    far = (density - fast_density).abs() > 1e-4
    assert far.float().mean() < 1e-3
    assert (density - fast_density).abs().max() < 0.025
    assert torch.allclose(by_class[~far], fast_by_class[~far], atol=1e-4)
    assert torch.allclose(fast_by_class.sum(-1), fast_density, rtol=1e-4, atol=1e-5)


def test_chunks_do_not_change_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """GaussTR 14, 34: out of memory in the voxeliser; pairs of voxel and Gaussian go in chunks."""
    from gausstr_core.voxels import reference

    scene, shares = gaussians(80, 1, torch.float64), torch.full((80, 2), 0.5, dtype=torch.float64)
    whole = voxelise(scene, shares, GRID, backend='reference')[0]
    monkeypatch.setattr(reference, 'PAIRS_PER_CHUNK', 500)
    assert torch.allclose(voxelise(scene, shares, GRID, backend='reference')[0], whole)


def test_gradients_of_the_twin() -> None:
    grid = VoxelGrid((-1.0,) * 3, (1.0,) * 3, 0.5)
    scene = gaussians(2, 5, torch.float64)
    leaves = [scene.means * 0.1, scene.scales + 1, scene.rotations, scene.opacities]
    leaves = [t.detach().requires_grad_() for t in leaves]
    shares = torch.rand(2, 2, dtype=torch.float64, requires_grad=True)

    def draw(*inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        drawn = Gaussians(*inputs[:4], scene.features)
        return voxelise(drawn, inputs[4], grid, cut=9.0, backend='reference')

    assert torch.autograd.gradcheck(draw, (*leaves, shares))


@pytest.mark.parametrize('backend', BACKENDS)
def test_what_lies_outside_the_grid_has_gradients_of_zero(backend: str) -> None:
    """A loss on such a map could not be differentiated."""
    scene = gaussians(3, 0)
    means = (scene.means + 1000).requires_grad_()
    drawn = Gaussians(means, scene.scales, scene.rotations, scene.opacities, scene.features)
    density, by_class = voxelise(drawn, torch.full((3, 2), 0.5), GRID, backend=backend)
    (density.sum() + by_class.sum()).backward()
    assert torch.equal(means.grad, torch.zeros_like(means))


@given(st.integers(1, 60), st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_both_backends_have_the_same_gradients(count: int, seed: int) -> None:
    scene = gaussians(count, seed)
    random = torch.Generator().manual_seed(seed)
    shares = torch.softmax(3 * torch.randn(count, 3, generator=random), dim=-1)
    pulls = (
        torch.randn(*GRID.shape, generator=random),
        torch.randn(*GRID.shape, 3, generator=random),
    )
    found = []
    for backend in BACKENDS:
        leaves = [scene.means, scene.scales, scene.rotations, scene.opacities, shares]
        leaves = [t.detach().clone().requires_grad_() for t in leaves]
        # a wide cut: a voxel on an edge that falls either way then weighs exp(-18)
        images = voxelise(
            Gaussians(*leaves[:4], scene.features), leaves[4], GRID, cut=6.0, backend=backend
        )
        sum((image * pull).sum() for image, pull in zip(images, pulls, strict=True)).backward()
        found.append([leaf.grad for leaf in leaves])
    for twin, fast in zip(*found, strict=True):
        assert torch.allclose(twin, fast, rtol=1e-3, atol=1e-3 * float(twin.abs().max() + 1e-3))


def test_the_fast_path_repeats_its_bits_from_many_threads() -> None:
    scene, shares = gaussians(300, 2), torch.full((300, 3), 1 / 3)
    expected = voxelise(scene, shares, GRID, backend='fast')[1]
    results: list[torch.Tensor] = []

    def work() -> None:
        results.extend(voxelise(scene, shares, GRID, backend='fast')[1] for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 20
    assert all(torch.equal(result, expected) for result in results)


def test_wrong_input_is_refused() -> None:
    scene, shares = gaussians(4, 0), torch.ones(4, 2)
    with pytest.raises(ValueError, match=r'probabilities must be \[G, K\] for 4 Gaussians'):
        voxelise(scene, torch.ones(3, 2), GRID)
    with pytest.raises(ValueError, match='blur >= 0'):
        voxelise(scene, shares, GRID, blur=-1.0)
    elsewhere = scene.to('meta')
    with pytest.raises(ValueError, match="'fast' runs on the CPU, got Gaussians on meta"):
        voxelise(elsewhere, shares.to('meta'), GRID, backend='fast')
    with pytest.raises(ValueError, match="got 'cuda'"):
        voxelise(scene, shares, GRID, backend='cuda')
    scene.means[2, 1] = math.nan
    with pytest.raises(ValueError, match=r'means must be finite.* 1 of 4 are not.* number 2'):
        voxelise(scene, shares.detach(), GRID)


def test_labels_by_hand() -> None:
    grid = VoxelGrid((0.0,) * 3, (2.0, 1.0, 1.0), 0.5)
    density = torch.zeros(grid.shape)
    by_class = torch.zeros(*grid.shape, 2)
    by_class[0, 0, 0] = torch.tensor([0.6, 0.2])
    by_class[1, 0, 0] = torch.tensor([0.1, 0.2])
    density = by_class.sum(-1)
    observed = torch.zeros(grid.shape, dtype=torch.bool)
    observed[1:3] = True
    occupancy = label(density, by_class, observed, grid, threshold=0.5)
    assert occupancy.labels[0, 0, 0] == 0
    assert (occupancy.labels >= 0).sum() == 1  # the other is too thin
    # what a Gaussian fills is known, though its centre is out of sight; the rest stays unknown
    assert occupancy.observed[:, 0, 0].tolist() == [True, True, True, False]
    assert occupancy.observed.sum() == 1 + observed.sum()
    assert occupancy.labels.dtype == torch.int64 and occupancy.labels[1, 0, 0] == -1
    expected = 0.75 * (1 - math.exp(-0.8))
    assert math.isclose(float(occupancy.confidence[0, 0, 0]), expected, rel_tol=1e-5)
    assert float(occupancy.confidence.sum()) == float(occupancy.confidence[0, 0, 0])
    with pytest.raises(ValueError, match='class density must cover the grid'):
        label(density, by_class[1:], observed, grid, 0.5)
