"""The paper's losses against numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from gausstr_training.losses.paper import (
    depth_loss,
    feature_loss,
    principal_directions,
    silog_loss,
)


def test_silog_of_two_pixels_by_hand() -> None:
    """Log errors ln 2 and 0: mean square (ln 2)^2 / 2, mean ln 2 / 2."""
    predicted, target = torch.tensor([[[1.0, 5.0]]]), torch.tensor([[[2.0, 5.0]]])
    square, mean = math.log(2) ** 2 / 2, math.log(2) / 2
    expected = math.sqrt(square - 0.5 * mean**2)
    assert silog_loss(predicted, target).item() == pytest.approx(expected, rel=1e-5)


def test_silog_is_the_mean_over_images_not_pixels() -> None:
    one, two = torch.tensor([[[1.0, 4.0]]]), torch.tensor([[[3.0, 3.0]]])
    target_one, target_two = torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[5.0, 4.0]]])
    both = silog_loss(torch.cat([one, two]), torch.cat([target_one, target_two]))
    alone = (silog_loss(one, target_one) + silog_loss(two, target_two)) / 2
    torch.testing.assert_close(both, alone)


def test_pixels_without_depth_do_not_count() -> None:
    target = torch.tensor([[[10.0, 0.0], [20.0, 0.0]]])
    predicted = torch.tensor([[[11.0, 3.0], [19.0, 7.0]]])
    elsewhere = torch.tensor([[[11.0, 50.0], [19.0, 0.2]]])
    torch.testing.assert_close(depth_loss(predicted, target), depth_loss(elsewhere, target))
    gap = depth_loss(predicted, target) - silog_loss(predicted, target)
    assert gap.item() == pytest.approx(0.2 * 1.0)


def test_no_valid_pixel_gives_a_finite_gradient() -> None:
    predicted = torch.full((1, 2, 2), 3.0, requires_grad=True)
    depth_loss(predicted, torch.zeros(1, 2, 2)).backward()
    assert predicted.grad is not None and predicted.grad.abs().sum() == 0


def test_feature_loss_sees_direction_only() -> None:
    target = torch.tensor([1.0, 0.0])[None, :, None, None].expand(1, 2, 1, 3)
    rendered = torch.tensor([[3.0, 0.0, -1.0], [0.0, 2.0, 0.0]])[None, :, None, :]
    assert feature_loss(rendered, target).item() == pytest.approx((0 + 1 + 2) / 3)


def test_principal_directions_span_the_data() -> None:
    """Points in a plane of a 6-dimensional space: two directions explain them all."""
    torch.manual_seed(0)
    plane = torch.linalg.qr(torch.randn(6, 2)).Q
    points = torch.randn(200, 2) * torch.tensor([5.0, 1.0]) @ plane.T
    basis = principal_directions(points, torch.ones(200), 2)
    torch.testing.assert_close(basis.T @ basis, torch.eye(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(points @ basis @ basis.T, points, atol=1e-4, rtol=0)
    assert (points @ basis).var(0)[0] > (points @ basis).var(0)[1]


def test_weights_count_repeated_features() -> None:
    torch.manual_seed(0)
    points, times = torch.randn(30, 6).double(), torch.randint(0, 9, (30,))
    repeated = points.repeat_interleave(times, 0)
    weighted = principal_directions(points, times, 3)
    plain = principal_directions(repeated, torch.ones(len(repeated)), 3)
    torch.testing.assert_close(weighted @ weighted.T, plain @ plain.T)
