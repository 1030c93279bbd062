"""Features kept as the codes of a linear layer: every way to read them agrees with `dense`."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gausstr_core.contracts import FoundationMaps
from gausstr_core.feature_map import FeatureMap


def thin(seed: int, height: int, width: int) -> FeatureMap:
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random, dtype=torch.float64).requires_grad_()

    return FeatureMap(normal(2, 3, height, width), normal(7, 4))


def gradients(value: torch.Tensor, thin: FeatureMap) -> list[torch.Tensor]:
    weights = torch.linspace(-1, 1, value.numel(), dtype=value.dtype).view_as(value)
    assert thin.basis is not None
    loss = (value * weights).sum()
    return list(torch.autograd.grad(loss, [thin.codes, thin.basis], retain_graph=True))


def assert_same(fast: torch.Tensor, plain: torch.Tensor, thin: FeatureMap) -> None:
    torch.testing.assert_close(fast, plain)
    for one, other in zip(gradients(fast, thin), gradients(plain, thin), strict=True):
        torch.testing.assert_close(one, other)


def test_by_hand():
    """Two features of one code c: 2 c + 1 and 3; at c = 2 these are 5 and 3."""
    found = FeatureMap(torch.full((1, 1, 1, 1), 2.0), torch.tensor([[2.0, 1.0], [0.0, 3.0]]))
    assert found.dense().flatten().tolist() == [5, 3]
    assert found.norms().item() == pytest.approx(34**0.5)
    assert found.projected(torch.tensor([[1.0, -1.0]])).item() == 2
    assert found.decoded(torch.tensor([0.5])).tolist() == [2, 3]


@settings(deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 5), st.integers(1, 5))
def test_every_reading_agrees_with_the_dense_map(seed: int, height: int, width: int):
    found = thin(seed, height, width)
    dense = found.dense()
    plain = FeatureMap(dense)
    matrix = torch.linspace(-1, 1, 5 * 7, dtype=torch.float64).view(5, 7)
    assert_same(found.projected(matrix), plain.projected(matrix), found)
    assert_same(found.norms(), plain.norms(), found)
    assert_same(found.halved().dense(), F.avg_pool2d(dense, 2, ceil_mode=True), found)
    rows = found.codes.permute(0, 2, 3, 1)
    assert_same(found.decoded(rows), plain.decoded(dense.permute(0, 2, 3, 1)), found)


def test_maps_without_a_basis_are_their_own_features():
    codes = torch.randn(1, 2, 3, 4)
    assert FoundationMaps(codes, torch.ones(1, 6, 8)).features is codes


def test_features_are_made_once():
    found = thin(0, 2, 2)
    maps = FoundationMaps(found.codes, torch.ones(2, 4, 4), found.basis)
    assert maps.features is maps.features and maps.features.shape == (2, 7, 2, 2)


def test_a_feature_of_no_length_has_a_finite_gradient():
    codes, basis = torch.zeros(1, 3, 2, 2, requires_grad=True), torch.ones(7, 4)
    basis[:, -1] = 0
    norms = FeatureMap(codes, basis).norms()
    assert norms.max() < 1e-5
    (gradient,) = torch.autograd.grad(norms.sum(), codes)
    assert torch.isfinite(gradient).all()
