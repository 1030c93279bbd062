"""The released losses: units of the official code, and numbers worked by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gausstr_training.losses.paper import absolute_loss, depth_loss, feature_loss, silog_loss
from gausstr_training.losses.released import FEATURE_WEIGHT, Targets, head_losses, total


@pytest.fixture(scope='module')
def units(shared: Path) -> dict[str, torch.Tensor]:
    path = shared / 'reference' / 'units.npz'
    if not path.exists():
        pytest.skip(f'no reference numbers at {path}')
    with np.load(path) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files if name[:5] == 'loss.'}


@pytest.mark.parametrize(
    ('name', 'loss'), [('silog', silog_loss), ('silog_l1', depth_loss), ('l1', absolute_loss)]
)
def test_unit_loss_of_depth(units: dict[str, torch.Tensor], name: str, loss) -> None:
    """loss.pred, loss.target -> loss.silog, loss.silog_l1, loss.l1."""
    found = loss(units['loss.pred'], units['loss.target'])
    torch.testing.assert_close(found, units[f'loss.{name}'], rtol=1e-5, atol=0)


def test_unit_loss_cosine_x5(units: dict[str, torch.Tensor]) -> None:
    """loss.cos_a, loss.cos_b: 50 vectors, here as the pixels of one image."""
    images = [units[name].T[None, :, None] for name in ('loss.cos_a', 'loss.cos_b')]
    found = FEATURE_WEIGHT * feature_loss(*images)
    torch.testing.assert_close(found, units['loss.cosine_x5'], rtol=1e-5, atol=0)


def scene(**changes) -> dict[str, torch.Tensor]:
    """One view of 2x2 pixels whose target features are one pixel, both along the first axis."""
    features = torch.zeros(1, 2, 2, 2)
    features[:, 0] = 3.0
    given = {
        'features': features,
        'depth': torch.full((1, 2, 2), 10.0),
        'target': torch.tensor([5.0, 0.0, 0.0])[None, :, None, None],
        'target_depth': torch.full((1, 2, 2), 10.0),
        'segments': None,
    }
    return {**given, **changes}


def losses(given: dict[str, torch.Tensor], segment: nn.Module | None = None) -> dict:
    targets = Targets(given['target'], given['target_depth'], given['segments'])
    basis = torch.eye(3)[:, :2].double()
    return head_losses(given['features'], given['depth'], targets, basis, 51.2, segment)


def test_equal_pictures_cost_nothing() -> None:
    found = losses(scene())
    assert all(abs(value.item()) < 1e-5 for value in found.values())


def test_turned_features_cost_five() -> None:
    turned = torch.zeros(1, 2, 2, 2)
    turned[:, 1] = 1.0
    assert losses(scene(features=turned))['loss_cosine'].item() == pytest.approx(5.0)


def test_far_depth_is_wanted_at_a_millimetre() -> None:
    """Log error ln(10 / 0.001) in all pixels: SILog is its root of a half; L1 is 9.999 m."""
    found = losses(scene(target_depth=torch.full((1, 2, 2), 51.2)))
    expected = math.log(1e4) * math.sqrt(0.5) + 0.2 * 9.999
    assert found['loss_depth'].item() == pytest.approx(expected, rel=1e-5)
    assert found['mae_depth'].item() == pytest.approx(9.999, rel=1e-5)


def test_unlabelled_pixels_do_not_count() -> None:
    segment = nn.Linear(2, 3)
    labels = torch.tensor([[[1, 0], [0, 2]]])
    logits = segment(torch.tensor([3.0, 0.0])).log_softmax(-1)
    found = losses(scene(segments=labels), segment)['loss_ce']
    torch.testing.assert_close(found, -(logits[1] + logits[2]) / 2)
    with pytest.raises(ValueError, match='no segments are given'):
        losses(scene(), segment)


def test_total_leaves_out_what_is_only_logged() -> None:
    parts = {'loss_a/0': torch.tensor(1.0), 'mae_depth/0': torch.tensor(7.0)}
    assert total({**parts, 'loss_a/1': torch.tensor(2.0)}).item() == 3.0
