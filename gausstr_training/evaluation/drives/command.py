"""gausstr-evaluate --drives: score drives, alone and with a memory."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

from gausstr_training.evaluation.asked import (
    command_line,
    load,
    model_settings,
    report_of,
    sensed,
)
from gausstr_training.evaluation.drives import scores as drives
from gausstr_training.evaluation.options import memory_settings
from gausstr_training.evaluation.reports.report import write_json
from gausstr_training.evaluation.reports.reporting import DRIVES
from gausstr_training.evaluation.thresholds import (
    refuse_known_streets,
)


def compare_drives(arguments: argparse.Namespace) -> None:
    """Score drives with and without a memory and write what was asked for.

    Raises:
        ValueError: an option does not go with --drives, a drive was trained or calibrated on, or
            one cannot be read.
    """
    if arguments.streets or arguments.calibrate or arguments.validation or arguments.update_card:
        raise ValueError(
            '--drives scores drives alone: without streets, --calibrate, --validation and '
            '--update-card'
        )
    found = drives.Drives.find(arguments.drives, arguments.limit, arguments.resolution)
    contest, card, name = load(arguments)
    refuse_known_streets(found.seeds, card)
    report = report_of(arguments, replace(DRIVES, resolution=arguments.resolution))
    if report is not None:
        report.expect(found.names())
    started = time.perf_counter()
    scores = {
        **drives.score_drives(
            contest.pipeline, contest.sensing, found, memory_settings(arguments),
            None if report is None else report.add_map,
        ),
        **sensed(contest),
        'preset': arguments.preset,
        'weights': name,
        'seconds': round(time.perf_counter() - started, 1),
    }  # fmt: skip
    if arguments.json:
        write_json(arguments.json, scores)
    print(drives.table(scores))
    print(drives.summary(scores))
    if report is not None:
        about = {**model_settings(arguments), **drives.report_settings(scores)}
        print(f'report: {report.write(scores, {**about, "command": command_line()})}')
