"""What the command line of gausstr-evaluate asks for: the model, the report, the card."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from pooch import file_hash

from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.presets import UNTRAINED
from gausstr_core.transformer.build import COMPACT_PRESETS, build
from gausstr_core.weights import read_card, shipped_weights
from gausstr_training.evaluation.methods import Contest
from gausstr_training.evaluation.reports.report import write_json
from gausstr_training.evaluation.reports.reporting import Kind, Report
from gausstr_training.evaluation.sensing import Sensing
from gausstr_training.streets.grids import truth_grid


def load(arguments: argparse.Namespace) -> tuple[Contest, dict[str, Any], str]:
    """The contest, the card of its weights (empty if untrained) and what to call them."""
    preset, weights = arguments.preset, arguments.weights
    if preset not in COMPACT_PRESETS:
        raise ValueError(f'preset {preset} is scored on --bags with --occ3d, not on streets')
    grid = truth_grid(arguments.resolution)
    pipeline = OccupancyPipeline.from_preset(preset, arguments.device, grid, weights)
    sensing = Sensing(arguments.depth, arguments.labels)
    contest = Contest(pipeline, build(preset).transformer, sensing)
    if weights == UNTRAINED:
        return contest, {}, "weights 'untrained'"
    path = Path(weights) if weights else shipped_weights(preset)
    return contest, read_card(path), path.name


def sensed(contest: Contest) -> dict[str, Any]:
    """Where depth and labels came from, and the grid, for files."""
    sensing, grid = contest.sensing, contest.pipeline.grid
    return {'depth': sensing.depth, 'labels': sensing.labels, 'resolution': grid.resolution}


def report_of(arguments: argparse.Namespace, kind: Kind) -> Report | None:
    """The report that the command line asks for, still empty; None without --report."""
    if arguments.report is None:
        return None
    return Report(arguments.report, arguments.compare, arguments.worst, kind)


def model_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Which model the command line names; published weights that are fetched by their name."""
    file: Path | None = None
    if arguments.weights is None and arguments.preset not in COMPACT_PRESETS:
        about = {'preset': arguments.preset, 'weights': 'published', 'weights_sha256': None}
        chosen = {'features': arguments.features, 'depth_network': arguments.depth_network}
        return about | {name: value for name, value in chosen.items() if value}
    if arguments.weights != UNTRAINED:
        file = Path(arguments.weights) if arguments.weights else shipped_weights(arguments.preset)
    return {
        'preset': arguments.preset,
        'weights': file.name if file else UNTRAINED,
        'weights_sha256': file and file_hash(file),
    }


def command_line() -> str:
    """The command as it was given, to be given again."""
    return shlex.join(['gausstr-evaluate', *sys.argv[1:]])


def update_card(arguments: argparse.Namespace, facts: dict[str, Any]) -> None:
    """Add facts to the card of the weights."""
    path = Path(arguments.weights)
    write_json(path.with_suffix('.json'), {**read_card(path), **facts})
