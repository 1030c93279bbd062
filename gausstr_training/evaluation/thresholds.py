"""Thresholds come from validation streets, never from the streets that are scored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gausstr_core.voxels.rules import CalibratedRule
from gausstr_training.evaluation.methods import METHODS
from gausstr_training.evaluation.tally import Tally

DENSITIES = tuple(round(0.05 * step, 2) for step in range(1, 31))
PIXELS = (0.5, 1.5, 2.5, 3.5, 4.5, 6.5, 8.5, 12.5, 16.5, 24.5)  # occupied above: more pixels
CANDIDATES: dict[str, tuple[float, ...]] = {
    'gaussians': DENSITIES,
    'untrained': DENSITIES,
    'lift': PIXELS,
    'lift_strong': PIXELS,
}


def chosen(tallies: Mapping[str, Tally]) -> dict[str, float]:
    """The best threshold of each method on the streets that were tallied."""
    return {name: tallies[name].best_threshold() for name in METHODS}


def thresholds_of(card: Mapping[str, Any], source: str) -> dict[str, float]:
    """The thresholds that a card of weights states.

    Raises:
        ValueError: one is missing.
    """
    found = card.get('thresholds', {})
    missing = [name for name in METHODS if name not in found]
    if missing:
        raise ValueError(
            f'{source} states no threshold for {", ".join(missing)}: give --validation with '
            'streets that are neither trained on nor scored'
        )
    return {name: float(found[name]) for name in METHODS}


def temperature_of(card: Mapping[str, Any]) -> float:
    """The temperature of class probabilities that a card states; the default without one."""
    return CalibratedRule.from_card(dict(card)).class_temperature


def refuse_known_streets(
    seeds: Iterable[int], card: Mapping[str, Any], validation: Iterable[int] = ()
) -> None:
    """Refuse to score streets that training or the choice of thresholds has seen.

    Args:
        seeds: of the streets to score.
        card: may state `training_seeds` and `validation_seeds` as [first, last].
        validation: seeds of validation streets given by hand.

    Raises:
        ValueError: a street was seen; the message names its seed and where.
    """
    seeds = list(seeds)
    refuse_training_streets(seeds, card, 'score')
    _refuse(seeds, _span(card, 'validation_seeds'), 'score', 'thresholds were chosen on')
    common = sorted(set(seeds) & set(validation))
    if common:
        raise ValueError(
            f'street {common[0]} is given both to score and for validation; '
            'thresholds must come from other streets'
        )


def refuse_training_streets(seeds: Iterable[int], card: Mapping[str, Any], what_for: str) -> None:
    """Refuse streets that the weights were trained on; raises ValueError naming the seed."""
    _refuse(seeds, _span(card, 'training_seeds'), what_for, 'the weights were trained on')


def _span(card: Mapping[str, Any], key: str) -> tuple[int, int] | None:
    span = card.get(key)
    if span is None:
        return None
    if not isinstance(span, (list, tuple)) or len(span) != 2:
        raise ValueError(f'the card of the weights: {key} must be [first, last], got {span!r}')
    return int(span[0]), int(span[1])


def _refuse(seeds: Iterable[int], span: tuple[int, int] | None, what_for: str, why: str) -> None:
    for seed in seeds:
        if span is not None and span[0] <= seed <= span[1]:
            raise ValueError(
                f'cannot {what_for} street {seed}: {why} streets {span[0]} to {span[1]}'
            )
