"""What a look at a voxel says, counted on streets with truth: the table of `remembering`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch

from gausstr_core.pipeline import OccupancyPipeline, OccupancyResult
from gausstr_core.remembering.evidence import BINS, as_text, fitted_table
from gausstr_core.remembering.looking import UNSEEN, Present, looks
from gausstr_core.vocabulary.vocabulary import Vocabulary
from gausstr_core.voxels.rules import CalibratedRule
from gausstr_training.evaluation.sensing import Sensing
from gausstr_training.streets.classes import FREE
from gausstr_training.streets.reader import Street, StreetFrame


class EvidenceFit:
    """Counts how often occupied and free voxels fall into each bin.

    Args:
        rule: that maps, with its thresholds.
        vocabulary: the classes of the truth.
    """

    def __init__(self, rule: CalibratedRule, vocabulary: Vocabulary) -> None:
        self._rule, self._vocabulary = rule, vocabulary
        self._occupied, self._free = np.zeros((2, BINS), np.int64)

    def add(self, result: OccupancyResult, voxels: np.ndarray) -> None:
        """Count a frame.

        Args:
            result: of the pipeline with the same rule.
            voxels: the truth, uint8 [X, Y, Z], FREE where nothing is.
        """
        grid = result.occupancy.grid
        threshold = self._rule.threshold_at(grid.resolution)
        present = Present.of(result.occupancy, self._vocabulary, threshold)
        bins = looks(present, result.visible_depth, result.rig, grid.lower, grid.resolution)
        looked, free = bins != UNSEEN, voxels == FREE
        self._occupied += np.bincount(bins[looked & ~free], minlength=BINS)
        self._free += np.bincount(bins[looked & free], minlength=BINS)

    def table(self) -> np.ndarray:
        """The table so far; raises ValueError where nothing was looked at."""
        return fitted_table(self._occupied, self._free)


@torch.inference_mode()
def fit_evidence(
    pipeline: OccupancyPipeline,
    sensing: Sensing,
    vocabulary: Vocabulary,
    frames: Iterable[tuple[str, Street, StreetFrame]],
    rule: CalibratedRule,
) -> str:
    """The table of a depth source as a card keeps it, see `as_text`.

    Args:
        pipeline, sensing, vocabulary: that map.
        frames: with truth, of streets that are not scored.
        rule: with the thresholds that were chosen.

    Raises:
        ValueError: a frame has no truth on the pipeline's grid.
    """
    fit = EvidenceFit(rule, vocabulary)
    for name, street, frame in frames:
        if frame.voxels is None:
            raise ValueError(f'{name}: expected voxels in its truth, found none')
        result = pipeline.map(sensing.encode(pipeline, street, frame), vocabulary, rule)
        fit.add(result, frame.voxels)
    return as_text(fit.table())


def rule_with(rule: CalibratedRule, resolution: float, threshold: float) -> CalibratedRule:
    """The rule with a threshold that was just chosen at a resolution (metres)."""
    return replace(rule, occupied_threshold=None, thresholds=((resolution, threshold),))
