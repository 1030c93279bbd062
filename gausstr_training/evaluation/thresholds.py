"""Thresholds come from validation streets, never from the streets that are scored."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gausstr_core.voxels.rules import CalibratedRule
from gausstr_training.evaluation.methods import METHODS
from gausstr_training.evaluation.road import RoadThickness
from gausstr_training.evaluation.tally import Tally
from gausstr_training.streets.grids import RESOLUTION

USUAL = ('model', RESOLUTION)  # what `thresholds` of a card are for

# evenly up to 1.5; then by 7 % up to 24: so dense are many Gaussians in a large voxel
DENSITIES = (
    *(round(0.05 * step, 2) for step in range(1, 31)),
    *(round(1.5 * 1.07**step, 2) for step in range(1, 42)),
)
# occupied above: more pixels
PIXELS = (
    0.5, 1.5, 2.5, 3.5, 4.5, 6.5, 8.5, 12.5, 16.5, 24.5, 32.5, 48.5, 64.5, 96.5, 128.5,
)  # fmt: skip
CANDIDATES: dict[str, tuple[float, ...]] = {
    'gaussians': DENSITIES,
    'untrained': DENSITIES,
    'lift': PIXELS,
    'lift_strong': PIXELS,
}


def chosen(
    tallies: Mapping[str, Tally], road: RoadThickness | None = None, most: float = math.inf
) -> dict[str, float]:
    """The best threshold of each method on the streets that were tallied.

    Args:
        tallies: of each of METHODS.
        road: of the Gaussians, at the same thresholds; None: whatever becomes of it.
        most: voxels that the road may be thick, if that is possible at all.
    """
    found = {name: tallies[name].best_threshold() for name in METHODS}
    if road is not None:
        thin = [t for t in tallies['gaussians'].thresholds if (road.voxels(t) or most) <= most]
        found['gaussians'] = tallies['gaussians'].best_threshold(thin)
    return found


def thresholds_of(
    card: Mapping[str, Any], source: str, depth: str = 'model', resolution: float = RESOLUTION
) -> dict[str, float]:
    """The thresholds that a card of weights states.

    Args:
        card: of the weights.
        source: what errors call it.
        depth: 'model', 'topic' or 'lidar'.
        resolution: of the grid, metres.

    Raises:
        ValueError: one is missing.
    """
    found = dict(card.get('thresholds', {})) if (depth, resolution) == USUAL else {}
    stated = card.get('calibration', {}).get(depth, {})
    for name, pairs in stated.get('rivals', {}).items():
        found.update((name, threshold) for at, threshold in pairs if at == resolution)
    if (
        'thresholds' in stated
    ):  # as the pipeline does; those of the rivals, counts, have no between
        found['gaussians'] = CalibratedRule.from_card(card, depth).threshold_at(resolution)
    missing = [name for name in METHODS if name not in found]
    if missing:
        where = '' if (depth, resolution) == USUAL else f' for {depth} depth at {resolution:g} m'
        raise ValueError(
            f'{source} states no threshold for {", ".join(missing)}{where}: give --validation '
            'with streets that are neither trained on nor scored'
        )
    return {name: float(found[name]) for name in METHODS}


def temperature_of(card: Mapping[str, Any], depth: str = 'model') -> float:
    """The temperature of class probabilities that a card states; the default without one."""
    return CalibratedRule.from_card(card, depth).class_temperature


def calibrated(
    card: Mapping[str, Any],
    thresholds: Mapping[str, float],
    temperature: float,
    depth: str,
    resolution: float,
    evidence: str | None = None,
) -> dict[str, Any]:
    """What a card states once these were chosen for a depth source at a resolution.

    Temperature and evidence of a source are those of the resolution nearest to the usual one.

    Args:
        card: of the weights; what it states of other sources and resolutions stays.
        thresholds: of each of METHODS.
        temperature: of the class probabilities.
        depth: 'model', 'topic' or 'lidar'.
        resolution: metres.
        evidence: the table of a memory, see `evidence_fit`; None: what the card has.
    """
    old = card.get('calibration', {})
    stated = old.get(depth, {})
    own = _with(stated.get('thresholds', []), resolution, thresholds['gaussians'])
    nearest = min((at for at, _ in own), key=lambda at: abs(math.log(at / RESOLUTION)))
    facts: dict[str, Any] = {
        'thresholds': own,
        'class_temperature': temperature
        if nearest == resolution
        else stated.get('class_temperature', temperature),
        'rivals': {
            name: _with(stated.get('rivals', {}).get(name, []), resolution, thresholds[name])
            for name in METHODS[1:]
        },
    }
    kept = evidence if evidence is not None and nearest == resolution else stated.get('evidence')
    facts |= {} if kept is None else {'evidence': kept}
    result: dict[str, Any] = {'calibration': {**old, depth: facts}}
    if (depth, resolution) == USUAL:
        result |= {'thresholds': dict(thresholds), 'class_temperature': temperature}
    return result


def _with(pairs: Sequence[Sequence[float]], at: float, value: float) -> list[list[float]]:
    """Pairs (resolution, threshold) in order, with one set."""
    return [[key, found] for key, found in sorted({**dict(map(tuple, pairs)), at: value}.items())]


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
