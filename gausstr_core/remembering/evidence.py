"""How much one look at a voxel says: a table of log-odds, fitted on streets with truth.

A voxel that was looked at falls into a bin by the density of its Gaussians (as a multiple of the
rule's threshold), its clearance to the depth (as a share of its own distance), its range, and what
the rule made of it: nothing, ground or an object. The table has, for each bin, the logarithm of
how much more often occupied voxels fall into it than free ones do. Measured depth errs in other
places than the network's, so each source of depth has a table of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gausstr_core.voxels.rules import CalibratedRule, Rule

# Upper edges of the bins but the last. Nothing is learned of what lies farther behind the depth
# than the first clearance: it is out of sight.
DENSITY = (0.02, 0.25, 0.6, 1.0, 1.6, 3.0, 6.0)
BEHIND = -0.2
CLEARANCE = (-0.1, -0.05, -0.02, 0.02, 0.05, 0.1, 0.2, 0.5)
RANGE = (6.0, 12.0, 20.0, 30.0)
NOTHING, GROUND, OBJECT = 0, 1, 2
SHAPE = (len(DENSITY) + 1, len(CLEARANCE) + 1, len(RANGE) + 1, 3)
BINS = math.prod(SHAPE)
MOST = 4.0  # log-odds of a single look
FEW = 20.0  # looks that a bin is given beforehand: one that hardly occurs says little


@dataclass(frozen=True)
class Evidence:
    """The table of a source of depth, and the rule whose densities it is about.

    Raises:
        ValueError: the table's shape is not `SHAPE`, or a value is not finite.
    """

    table: np.ndarray  # float32 SHAPE, log-odds
    rule: Rule

    def __post_init__(self) -> None:
        if self.table.shape != SHAPE or not np.isfinite(self.table).all():
            raise ValueError(
                f'evidence must be finite numbers [{", ".join(map(str, SHAPE))}], got shape '
                f'{self.table.shape}'
            )

    @cached_property
    def flat(self) -> np.ndarray:
        """The table as the kernels read it, float64 [BINS]."""
        return np.ascontiguousarray(self.table, dtype=np.float64).reshape(-1)

    @classmethod
    def from_card(cls, card: Mapping[str, Any], depth: str, rule: Rule) -> Evidence:
        """The table that validation drives gave for a source of depth.

        Args:
            card: of the weights; `calibration[depth]['evidence']` is the table as text, see
                `as_text`. Without one the table is a plain guess, as thresholds are.
            depth: 'model', 'topic' or 'lidar'.
            rule: of that source.

        Raises:
            ValueError: the rule is another than ours, or the entry is not of this form.
        """
        if not isinstance(rule, CalibratedRule):
            raise ValueError(
                f'the memory has no evidence for {type(rule).__name__}: its densities were never '
                "calibrated; use the rule 'calibrated', or switch the memory off"
            )
        found = card.get('calibration', {}).get(depth, {}).get('evidence')
        if found is None:
            return cls(plain_table(), rule)
        try:
            table = np.array(found.split(), dtype=np.float32)
            return cls(table.reshape(SHAPE), rule)
        except (AttributeError, ValueError) as error:
            raise ValueError(f'card of weights: evidence of {depth}: {error}') from error


def as_text(table: np.ndarray) -> str:
    """A table as a card keeps it: numbers of two decimals in a line, the last index fastest."""
    return ' '.join(f'{value:g}' for value in np.asarray(table, np.float64).round(2).reshape(-1))


def plain_table() -> np.ndarray:
    """What one would guess, float32 SHAPE: dense is occupied, far in front of the depth free."""
    density = np.array([-1.6, -1.2, -0.6, -0.1, 0.8, 1.4, 1.8, 2.0])
    clearance = np.array([0.8, 0.8, 0.6, 0.4, 0.0, -0.4, -0.8, -1.2, -1.6])
    sure = np.array([1.0, 1.0, 0.8, 0.6, 0.4])
    table = (density[:, None] + clearance)[:, :, None] * sure
    return np.repeat(table[..., None], 3, axis=-1).astype(np.float32)


def fitted_table(occupied: np.ndarray, free: np.ndarray) -> np.ndarray:
    """The table of counts: how often occupied and free voxels fell into each bin.

    Args:
        occupied, free: [BINS] or SHAPE, numbers of looks.

    Raises:
        ValueError: one of them is empty.
    """
    hits, misses = (np.asarray(c, dtype=np.float64).reshape(SHAPE) for c in (occupied, free))
    if not hits.sum() or not misses.sum():
        raise ValueError('evidence needs looks at occupied and at free voxels, got none of one')
    prior = hits.sum() / misses.sum()
    # a bin shrinks towards the one that knows density and kind alone
    coarse_hits, coarse_misses = (c.sum((1, 2), keepdims=True) for c in (hits, misses))
    ratio = (coarse_hits + FEW * prior / (1 + prior)) / (coarse_misses + FEW / (1 + prior))
    share = ratio / (1 + ratio)
    odds = (hits + FEW * share) / (misses + FEW * (1 - share))
    return np.clip(np.log(odds / prior), -MOST, MOST).round(2).astype(np.float32)
