"""The calibrated rule: thresholds by the edge of a voxel, worked by hand, and cards."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gausstr_core.contracts import Gaussians, VoxelGrid
from gausstr_core.vocabulary.text_encoder import TextEncoder
from gausstr_core.vocabulary.vocabulary import Category, Vocabulary
from gausstr_core.voxels.rules import LIDAR, MODEL, TOPIC, CalibratedRule

PAIRS = ((0.1, 4.0), (0.4, 1.0))


def test_thresholds_between_two_edges_are_interpolated_in_logarithms() -> None:
    rule = CalibratedRule(thresholds=PAIRS)
    found = [rule.threshold_at(edge) for edge in (0.05, 0.1, 0.2, 0.4, 0.8)]
    assert found == pytest.approx([4, 4, 2, 1, 1])  # beyond the ends: the nearest
    assert CalibratedRule(occupied_threshold=0.7, thresholds=PAIRS).threshold_at(0.2) == 0.7


@given(st.floats(0.01, 10), st.permutations(PAIRS))
def test_a_threshold_lies_between_its_neighbours(
    edge: float, pairs: list[tuple[float, float]]
) -> None:
    found = CalibratedRule(thresholds=tuple(pairs)).threshold_at(edge)
    assert 1 - 1e-9 <= found <= 4 + 1e-9


@pytest.mark.parametrize('pairs', [(), ((0.4, 0.0),), ((0.0, 1.0),), ((0.4, 1.0), (0.4, 2.0))])
def test_thresholds_that_are_none_are_refused(pairs: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(ValueError, match='pairs of voxel edge'):
        CalibratedRule(thresholds=pairs)


def test_each_depth_source_has_its_own_thresholds() -> None:
    card: dict[str, Any] = {
        'thresholds': {'gaussians': 0.5},
        'class_temperature': 1.5,
        'calibration': {LIDAR: {'thresholds': [[0.2, 2.0], [0.4, 1.0]], 'class_temperature': 2}},
    }
    model, lidar = (CalibratedRule.from_card(card, source) for source in (MODEL, LIDAR))
    assert (model.threshold_at(0.2), model.class_temperature) == (0.5, 1.5)
    assert (lidar.threshold_at(0.2), lidar.class_temperature) == (2.0, 2.0)
    assert lidar.blur < model.blur == 0.5
    assert CalibratedRule.from_card(card, TOPIC) == CalibratedRule.from_card({}, TOPIC)


@pytest.mark.parametrize('entry', [{}, {'thresholds': [[0.4]]}, {'thresholds': 1}, [], 'x'])
def test_a_card_of_another_form_is_named(entry: object) -> None:
    with pytest.raises(ValueError, match='card of weights: calibration of lidar'):
        CalibratedRule.from_card({'calibration': {LIDAR: entry}}, LIDAR)


@pytest.mark.parametrize('edge', [0.8, 0.4, 0.2, 0.1])
def test_the_blur_is_a_share_of_the_voxel(edge: float) -> None:
    """One flat Gaussian, s = 0.1 m: at one voxel's distance exp(-0.5 e^2 / (s^2 + b^2))."""
    vocabulary = Vocabulary.build([Category('car')])
    one = Gaussians(
        means=torch.tensor([[edge / 2, edge / 2, edge / 2]]),
        scales=torch.full((1, 3), 0.1),
        rotations=torch.tensor([[1.0, 0, 0, 0]]),
        opacities=torch.ones(1),
        features=TextEncoder.default().encode(['car']),
    )
    grid = VoxelGrid((0, 0, 0), (2 * edge, edge, edge), edge)
    seen = torch.ones(grid.shape, dtype=torch.bool)
    found = CalibratedRule(blur=0.5)(one, vocabulary, seen, grid, lambda _: None).occupancy
    variance = 0.1**2 + (0.5 * edge) ** 2
    assert found.density[0, 0, 0].item() == pytest.approx(1)
    beside = math.exp(-0.5 * edge**2 / variance)
    assert found.density[1, 0, 0].item() == pytest.approx(beside, rel=1e-4)


def test_a_card_may_state_the_blur_of_a_source() -> None:
    stated = {'thresholds': [[0.4, 1.0]], 'blur': 0.25}
    assert CalibratedRule.from_card({'calibration': {TOPIC: stated}}, TOPIC).blur == 0.25
    with pytest.raises(ValueError, match='blur must be >= 0 voxels'):
        CalibratedRule.from_card({'calibration': {TOPIC: {**stated, 'blur': -1}}}, TOPIC)
