"""gausstr-evaluate: score a preset on streets with truth, beside its rivals."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from gausstr_core.presets import UNTRAINED
from gausstr_core.process.command_line import refuse_misplaced
from gausstr_core.process.memory import keep_freed_memory
from gausstr_core.process.reasons import told
from gausstr_core.voxels.rules import CalibratedRule
from gausstr_training.evaluation.asked import (
    command_line,
    load,
    model_settings,
    report_of,
    sensed,
    update_card,
)
from gausstr_training.evaluation.drives.command import compare_drives
from gausstr_training.evaluation.drives.evidence_fit import fit_evidence, rule_with
from gausstr_training.evaluation.methods import Contest
from gausstr_training.evaluation.occ3d.command import score_occ3d
from gausstr_training.evaluation.options import parser
from gausstr_training.evaluation.reports.report import BASELINES, document, table, write_json
from gausstr_training.evaluation.reports.reporting import STREETS, Report
from gausstr_training.evaluation.road import most_voxels
from gausstr_training.evaluation.scoring import StreetSet, tally
from gausstr_training.evaluation.thresholds import (
    CANDIDATES,
    USUAL,
    calibrated,
    chosen,
    refuse_known_streets,
    refuse_training_streets,
    temperature_of,
    thresholds_of,
)


def calibrate(
    contest: Contest,
    card: dict[str, Any],
    folders: list[Path],
    limit: int | None = None,
    *,
    with_evidence: bool = False,
) -> dict[str, Any]:
    """Choose a threshold per method, and the temperature, on validation streets.

    With evidence: also fit the table of a memory, which runs the networks once more.

    Raises:
        ValueError: a street is one that the weights were trained on, or cannot be read.
    """
    resolution = contest.pipeline.grid.resolution
    streets = StreetSet.find(folders, limit, resolution)
    refuse_training_streets(streets.seeds, card, 'choose thresholds on')
    tallies = tally(contest, streets, CANDIDATES)
    most = most_voxels(contest.sensing.source, resolution)
    thresholds = chosen(tallies.told, tallies.roads['gaussians'], most)
    rule = contest.pipeline.rule_for(contest.sensing.source)
    assert isinstance(rule, CalibratedRule)
    evidence = fit_evidence(
        contest.pipeline, contest.sensing, contest.vocabulary, streets.named_frames(),
        rule_with(rule, resolution, thresholds['gaussians']),
    ) if with_evidence else None  # fmt: skip
    return {
        'thresholds': thresholds,
        'class_temperature': tallies.temperatures.best(),
        **({} if evidence is None else {'evidence': evidence}),
        'validation_seeds': [min(streets.seeds), max(streets.seeds)],
        'scores': document(tallies, thresholds),
        **sensed(contest),
    }


def evaluate(arguments: argparse.Namespace, report: Report | None = None) -> dict[str, Any]:
    """Score the streets of the command line; returns the JSON document.

    `report` sees every frame.

    Raises:
        ValueError: a street was trained or calibrated on, no threshold is known, or a street
            cannot be read.
    """
    started = time.perf_counter()
    contest, card, name = load(arguments)
    resolution, depth = arguments.resolution, contest.sensing.source
    streets = StreetSet.find(arguments.streets, arguments.limit, resolution)
    validation = None
    if arguments.validation:
        validation = StreetSet.find(arguments.validation, resolution=resolution)
    refuse_known_streets(streets.seeds, card, validation.seeds if validation else ())
    if report is not None:
        report.expect(streets.names())
    if arguments.validation:
        found = calibrate(contest, card, arguments.validation)
        thresholds, temperature = found['thresholds'], found['class_temperature']
    else:
        thresholds = thresholds_of(card, name, depth, resolution)
        temperature = temperature_of(card, depth)
    levels = {key: [value] for key, value in thresholds.items()}
    watch = None
    if report is not None:
        watch = partial(report.add_street, threshold=thresholds['gaussians'])
    tallies = tally(contest, streets, levels, temperature, watch)
    return {
        **document(tallies, thresholds, temperature),
        **sensed(contest),
        'preset': arguments.preset,
        'weights': name,
        'vocabulary': contest.vocabulary.id,
        'streets': list(streets.seeds),
        'seconds': round(time.perf_counter() - started, 1),
    }


def run(arguments: argparse.Namespace) -> None:
    """Do what the command line asks for and print the table."""
    refuse_misplaced(
        arguments,
        files=['--weights', '--json', '--output'],
        folders=[
            'streets', '--validation', '--calibrate', '--occ3d', '--predictions', '--folder',
            '--report', '--compare', '--drives',
        ],
    )  # fmt: skip
    if arguments.update_card and arguments.weights in (None, '', UNTRAINED):
        raise ValueError('--update-card needs --weights FILE: shipped cards are not rewritten')
    usual = (arguments.depth, arguments.labels, arguments.resolution) == ('model', *USUAL)
    if arguments.update_card and not usual and (arguments.streets or arguments.labels == 'true'):
        raise ValueError(
            '--update-card keeps scores of what the network sees at 0.4 m, and thresholds of its '
            'labels: not those of --labels true, nor scores of another --depth or --resolution'
        )
    if arguments.compare and arguments.report is None:
        raise ValueError('--compare needs --report DIR to write the comparison to')
    if arguments.occ3d or arguments.predictions:
        score_occ3d(arguments)
    elif arguments.drives:
        compare_drives(arguments)
    elif arguments.calibrate:
        choose_thresholds(arguments)
    else:
        score_streets(arguments)


def choose_thresholds(arguments: argparse.Namespace) -> None:
    """Choose thresholds and temperature on the streets of --calibrate and write them.

    Raises:
        ValueError: an option does not go with --calibrate.
    """
    if arguments.streets or arguments.output is None or arguments.report:
        raise ValueError('--calibrate needs --output FILE and no streets to score or report on')
    contest, card, _ = load(arguments)
    found = calibrate(contest, card, arguments.calibrate, arguments.limit, with_evidence=True)
    write_json(arguments.output, found)
    print(table(found['scores']))
    print(
        f'thresholds {found["thresholds"]}, temperature {found["class_temperature"]} -> '
        f'{arguments.output}'
    )
    if arguments.update_card:
        facts = calibrated(
            card, found['thresholds'], found['class_temperature'], contest.sensing.source,
            arguments.resolution, found['evidence'],
        )  # fmt: skip
        update_card(arguments, {**facts, 'validation_seeds': found['validation_seeds']})


def score_streets(arguments: argparse.Namespace) -> None:
    """Score the streets and write what was asked for.

    Raises:
        ValueError: no street is given, or as `evaluate`.
    """
    if not arguments.streets:
        raise ValueError('expected at least one street folder to score')
    report = report_of(arguments, replace(STREETS, resolution=arguments.resolution))
    scores = evaluate(arguments, report)
    if arguments.json:
        write_json(arguments.json, scores)
    if arguments.update_card:
        kept = (
            'streets', 'iou', 'miou', 'unmasked', 'baselines', 'heldout_vocabulary', 'calibration'
        )  # fmt: skip
        update_card(arguments, {'scores': {key: scores[key] for key in kept}})
    print(table(scores))
    ratio = scores['heldout_vocabulary']['ratio']
    share = 'unknown' if ratio is None else f'{100 * ratio:.0f} %'
    print(
        f'{scores["frames"]} frames of {len(scores["streets"])} streets in '
        f'{scores["seconds"]:.0f} s; percent, camera mask; voxels of {scores["resolution"]:g} m, '
        f'depth: {scores["depth"]}; words never seen keep {share} of the mIoU'
    )
    if report is not None:
        print(f'report: {report.write(scores, street_settings(arguments, scores))}')


def street_settings(arguments: argparse.Namespace, scores: dict[str, Any]) -> dict[str, Any]:
    """What a report says about how streets were scored."""
    found = scores['calibration']
    return {
        **model_settings(arguments),
        'threshold': scores['thresholds']['gaussians'],
        'thresholds_of_rivals': ', '.join(
            f'{name} {value:g}'
            for name, value in scores['thresholds'].items()
            if name in BASELINES
        ),
        'temperature': found and found['temperature'],
        'vocabulary': scores['vocabulary'],
        'depth': scores['depth'],
        'labels': scores['labels'],
        'resolution': scores['resolution'],
        'device': arguments.device,
        'streets': len(scores['streets']),
        'seconds': scores['seconds'],
        'command': command_line(),
    }


def main() -> None:
    """Entry point of gausstr-evaluate."""
    arguments = parser().parse_args()
    keep_freed_memory()
    try:
        run(arguments)
    except (ValueError, OSError) as error:
        raise SystemExit(f'gausstr-evaluate: {told(error)}') from error
    except KeyboardInterrupt:
        raise SystemExit('gausstr-evaluate: interrupted') from None


if __name__ == '__main__':
    main()
