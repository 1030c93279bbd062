"""Temperature and calibration error by hand, and that a fit finds what made the data."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gausstr_core.contracts import VoxelGrid
from gausstr_core.voxels import label
from gausstr_core.voxels.labelling import tempered
from gausstr_core.voxels.rules import CalibratedRule
from gausstr_training.evaluation.reliability import TEMPERATURES, Reliability, TemperatureFit
from gausstr_training.evaluation.scoring import measure
from gausstr_training.evaluation.tally import Guess
from gausstr_training.streets.classes import FREE


def test_the_calibration_error_worked_by_hand() -> None:
    reliability = Reliability()
    # bins of 1/15: two voxels at 0.9 of which one is right, two at 0.3 of which one is right
    reliability.add(torch.tensor([0.9, 0.3]), torch.tensor([True, False]))
    reliability.add(torch.tensor([0.9, 0.3]), torch.tensor([False, True]))
    found = reliability.calibration()
    assert found.error == pytest.approx((2 * 0.4 + 2 * 0.2) / 4)
    assert (found.confidence, found.accuracy) == (pytest.approx(0.6), 0.5)
    assert found.as_json() == {'ece': 0.3, 'confidence': 0.6, 'accuracy': 0.5, 'voxels': 4}
    assert math.isnan(Reliability().calibration().error)
    assert Reliability().calibration().as_json()['ece'] is None


def test_confidence_that_is_right_as_often_as_it_says_has_no_error() -> None:
    random = torch.Generator().manual_seed(0)
    confidence = torch.rand(200_000, generator=random)
    reliability = Reliability()
    reliability.add(confidence, torch.rand(200_000, generator=random) < confidence)
    assert reliability.calibration().error < 0.01


@pytest.mark.parametrize('temperature', [0.5, 1.0, 2.8284])
def test_the_fit_finds_the_temperature_that_made_the_data(temperature: float) -> None:
    random = torch.Generator().manual_seed(1)
    shares = torch.softmax(2 * torch.randn(20, 20, 20, 6, generator=random), dim=-1)
    odds = tempered(shares, temperature).reshape(-1, 6)
    truth = torch.multinomial(odds, 1, generator=random).reshape(20, 20, 20)
    truth[0] = FREE
    density = torch.full((20, 20, 20), 0.7)
    density[1] = 0.01  # hardly reached
    truth[1] = 0
    fit = TemperatureFit()
    with pytest.raises(ValueError, match='temperature needs streets'):
        fit.best()
    fit.add(density, 3 * shares, truth, torch.ones_like(truth, dtype=torch.bool))
    assert fit.voxels == 18 * 400
    assert fit.best() == pytest.approx(temperature, rel=0.11)
    assert fit.loss(fit.best()) < min(fit.loss(TEMPERATURES[0]), fit.loss(TEMPERATURES[-1]))


@given(st.integers(0, 2**31), st.sampled_from(TEMPERATURES))
@settings(max_examples=40, deadline=None)
def test_tempering_keeps_the_order_and_sums_to_one(seed: int, temperature: float) -> None:
    random = torch.Generator().manual_seed(seed)
    density = 5 * torch.rand(30, 4, generator=random)
    found = tempered(density, temperature)
    torch.testing.assert_close(found.sum(-1), torch.ones(30))
    assert torch.equal(found.argmax(-1), density.argmax(-1))
    shares = tempered(density, 1.0)
    torch.testing.assert_close(shares, density / density.sum(-1, keepdim=True))
    top, plain = found.amax(-1), shares.amax(-1)
    assert (top <= plain + 1e-5).all() if temperature >= 1 else (top >= plain - 1e-5).all()


def test_labels_carry_the_tempered_confidence() -> None:
    grid = VoxelGrid((0.0, 0.0, 0.0), (1.0, 1.0, 2.0), 1.0)
    density = torch.tensor([[[2.0, 0.1]]])
    classes = torch.tensor([[[[1.6, 0.4], [0.1, 0.0]]]])
    seen = torch.ones(1, 1, 2, dtype=torch.bool)
    said = label(density, classes, seen, grid, 0.5, temperature=2.0)
    # shares 0.8 and 0.2: their square roots are as 2 to 1
    assert said.confidence[0, 0, 0] == pytest.approx(2 / 3 * (1 - math.exp(-2)))
    assert said.labels.flatten().tolist() == [0, -1] and said.confidence[0, 0, 1] == 0
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match='temperature'):
            label(density, classes, seen, grid, 0.5, temperature=bad)

    reliability = Reliability()
    truth = torch.tensor([[[1, FREE]]], dtype=torch.uint8)
    measure(reliability, Guess(density, said.labels, classes), truth, seen, 0.05, 2.0)
    found = reliability.calibration()
    assert (found.voxels, found.accuracy) == (2, 0.0)
    # an occupied voxel that is free in the truth counts as wrong
    second = 1 - math.exp(-0.1)
    assert found.error == pytest.approx((2 / 3 * (1 - math.exp(-2)) + second) / 2, rel=2e-3)


def test_the_card_gives_the_temperature() -> None:
    assert (
        CalibratedRule.from_card({}).class_temperature == CalibratedRule().class_temperature == 1
    )
    found = CalibratedRule.from_card({'class_temperature': 1.5, 'thresholds': {'gaussians': 0.7}})
    assert (found.class_temperature, found.threshold_at(0.4)) == (1.5, 0.7)
