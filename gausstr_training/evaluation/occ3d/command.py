"""gausstr-evaluate --occ3d: score label files, those of bags after predicting them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.surface_preset import NetworkOptions
from gausstr_training.evaluation.asked import (
    command_line,
    model_settings,
    report_of,
)
from gausstr_training.evaluation.occ3d import label_files as occ3d
from gausstr_training.evaluation.occ3d.predicting import Keyframes, predict
from gausstr_training.evaluation.reports.report import write_json
from gausstr_training.evaluation.reports.reporting import OCC3D
from gausstr_training.processes import ranks

MOST_SHOWN = 20  # keyframes without a frame


def score_occ3d(arguments: argparse.Namespace) -> None:
    """Score a folder of predictions; the processes of torchrun share the frames.

    Raises:
        ValueError: one of the two folders is not given, or a file is not of the form.
    """
    truth, predictions = arguments.occ3d, arguments.predictions
    if truth is None or predictions is None or arguments.streets:
        raise ValueError('--occ3d GTS and --predictions DIR go together, without streets')
    with ranks.joined(arguments.device if arguments.bags else 'cpu') as device:
        about, only, missing = {}, None, {}
        if arguments.bags:
            keyframes = Keyframes(arguments.bags)
            missing = keyframes.missing(truth)
            refuse_missing(missing, allowed=arguments.allow_missing)
            only = keyframes.files
            occ3d.truth_files(truth, only)  # before the hours that predicting takes
            pipeline = OccupancyPipeline.from_preset(
                arguments.preset,
                str(device),
                weights=arguments.weights,
                folder=arguments.folder,
                depth=arguments.depth_network,
                networks=NetworkOptions(arguments.features),
            )
            about = model_settings(arguments)
            predict(pipeline, keyframes, predictions, about, ranks.rank(), ranks.count())
            ranks.wait()
        report, watch = report_of(arguments, OCC3D), None
        if report is not None:
            report.expect(map(occ3d.frame_name, occ3d.truth_files(truth, only)))
            watch = report.add_labels
        found = occ3d.score_folders(
            truth, predictions, only=only, rank=ranks.rank(), world=ranks.count(), watch=watch
        ).document()
        if report is not None:
            report.log.gather()
        if ranks.rank() > 0:
            return
    found |= {'missing': missing} if missing else {}
    if arguments.json:
        write_json(arguments.json, found)
    print(occ3d.table(found))
    without = f'; {len(missing)} keyframes have none' if missing else ''
    print(f'{found["frames"]} frames, percent{without}')
    if report is not None:
        places = {**about, 'truth': str(truth), 'predictions': str(predictions)}
        print(f'report: {report.write(found, {**places, "command": command_line()})}')


def refuse_missing(missing: Mapping[str, str], *, allowed: bool) -> None:
    """Name the keyframes that have no frame: scores of the others are of another set.

    Raises:
        ValueError: there are some, and going on without them was not asked for.
    """
    if not missing:
        return
    lines = [f'{name}: {why}' for name, why in missing.items()]
    more = [f'... and {len(lines) - MOST_SHOWN} more'] * (len(lines) > MOST_SHOWN)
    told = '\n  '.join([f'{len(lines)} keyframe(s) have no frame:', *lines[:MOST_SHOWN], *more])
    if not allowed:
        raise ValueError(f'{told}\n--allow-missing scores the others')
    if ranks.rank() == 0:
        print(told, file=sys.stderr)
