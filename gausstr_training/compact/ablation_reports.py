"""Trained variants scored as `gausstr-evaluate` scores, and laid side by side."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pooch import file_hash

from gausstr_core.contracts import VoxelGrid
from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.presets import Assembly
from gausstr_core.vocabulary.text_encoder import TextEncoder
from gausstr_core.vocabulary.vocabulary import SHIPPED_VOCABULARY
from gausstr_core.voxels.rules import CalibratedRule
from gausstr_core.weights import read_card
from gausstr_training.compact.variants import Variant
from gausstr_training.evaluation.methods import Contest
from gausstr_training.evaluation.reports.report import UNTRAINED_IOU, UNTRAINED_MIOU, document
from gausstr_training.evaluation.reports.reporting import STREETS, Report
from gausstr_training.evaluation.reports.runs import Run
from gausstr_training.evaluation.reports.table import Table, shown_number
from gausstr_training.evaluation.scoring import StreetSet, tally
from gausstr_training.evaluation.thresholds import (
    CANDIDATES,
    chosen,
    refuse_known_streets,
    refuse_training_streets,
)

MODULE = 'gausstr_training.compact.ablations'
WORST = 4  # frames shown on the page of a variant
FACTS = ('steps', 'seconds_a_step', 'trained_on')
COLUMNS = {
    'IoU untrained': UNTRAINED_IOU,
    'mIoU untrained': UNTRAINED_MIOU,
    'IoU': 'IoU',
    'mIoU': 'mIoU',
}


@dataclass(frozen=True)
class Jury:
    """Scores variants on the same streets, each at its own best threshold.

    Raises:
        ValueError: the card of the weights says that a street was trained on, or a street is
            both for validation and to be scored.
    """

    weights: Path  # of the foundation network
    validation: StreetSet
    test: StreetSet
    device: torch.device

    def __post_init__(self) -> None:
        card = read_card(self.weights)
        refuse_training_streets(self.validation.seeds, card, 'choose thresholds on')
        refuse_known_streets(self.test.seeds, card, self.validation.seeds)

    def report(self, variant: Variant, trained: dict[str, Any], folder: Path) -> Path:
        """Score a variant and write its report; returns the page's path.

        Args:
            variant: what was trained.
            trained: what training left: 'transformer', 'steps', 'seconds_a_step', 'device'.
            folder: of the report; its name is the variant's.

        Raises:
            ValueError: a street has no voxel truth.
        """
        started = time.perf_counter()
        contest = self._contest(variant, trained)
        known = tally(contest, self.validation, CANDIDATES)
        thresholds, temperature = chosen(known.masked), known.temperatures.best()
        report = Report(folder, (), WORST, STREETS)
        watch = partial(report.add_street, threshold=thresholds['gaussians'])
        levels = {key: [value] for key, value in thresholds.items()}
        tallies = tally(contest, self.test, levels, temperature, watch)
        scores = {
            **document(tallies, thresholds, temperature),
            'streets': list(self.test.seeds),
            'seconds': round(time.perf_counter() - started, 1),
        }
        return report.write(scores, self._settings(variant, trained, scores))

    def _contest(self, variant: Variant, trained: dict[str, Any]) -> Contest:
        model = variant.model(self.weights)
        model.transformer.load_state_dict(trained['transformer'])
        rule = replace(CalibratedRule(), blur=variant.blur / VoxelGrid().resolution)
        assembly = Assembly(model, TextEncoder.default(), rule, SHIPPED_VOCABULARY)
        return Contest(OccupancyPipeline(assembly, str(self.device)), variant.start())

    def _settings(
        self, variant: Variant, trained: dict[str, Any], scores: dict[str, Any]
    ) -> dict[str, Any]:
        return {
            'about': variant.about,
            'steps': trained['steps'],
            'seconds_a_step': trained['seconds_a_step'],
            'trained_on': trained['device'],
            'blur': variant.blur,
            'foundation': self.weights.name,
            'foundation_sha256': file_hash(self.weights),
            'threshold': scores['thresholds']['gaussians'],
            'threshold_untrained': scores['thresholds']['untrained'],
            'temperature': scores['calibration']['temperature'],
            'device': str(self.device),
            'streets': len(scores['streets']),
            'validation_streets': len(self.validation.seeds),
            'seconds': scores['seconds'],
            'command': shlex.join(['python', '-m', MODULE, *sys.argv[1:]]),
        }


def summary(runs: Sequence[Run]) -> Table:
    """A row for every variant: percent, then what its training took."""
    rows = []
    for run in runs:
        scores = [shown_number(run.overall.get(title)) for title in COLUMNS.values()]
        facts = [str(run.settings.get(key, '-')) for key in FACTS]
        rows.append((run.name, (*scores, *facts)))
    return Table((*COLUMNS, 'steps', 'seconds a step', 'device'), tuple(rows))
