"""gausstr-evaluate: score a preset on streets with truth, beside its rivals."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pooch import file_hash

from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.presets import UNTRAINED
from gausstr_core.process.command_line import refuse_misplaced
from gausstr_core.process.memory import keep_freed_memory
from gausstr_core.process.reasons import told
from gausstr_core.surface_preset import NetworkOptions
from gausstr_core.transformer.build import COMPACT_PRESETS, build
from gausstr_core.voxels.rules import CalibratedRule
from gausstr_core.weights import read_card, shipped_weights
from gausstr_training.evaluation import drives, occ3d
from gausstr_training.evaluation.evidence_fit import fit_evidence, rule_with
from gausstr_training.evaluation.methods import Contest
from gausstr_training.evaluation.options import memory_settings, parser
from gausstr_training.evaluation.predicting import Keyframes, predict
from gausstr_training.evaluation.report import BASELINES, document, table, write_json
from gausstr_training.evaluation.reporting import DRIVES, OCC3D, STREETS, Kind, Report
from gausstr_training.evaluation.road import most_voxels
from gausstr_training.evaluation.scoring import StreetSet, tally
from gausstr_training.evaluation.sensing import Sensing
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
from gausstr_training.processes import ranks
from gausstr_training.streets.grids import truth_grid

MOST_SHOWN = 20  # keyframes without a frame


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


def sensed(contest: Contest) -> dict[str, Any]:
    """Where depth and labels came from, and the grid, for files."""
    sensing, grid = contest.sensing, contest.pipeline.grid
    return {'depth': sensing.depth, 'labels': sensing.labels, 'resolution': grid.resolution}


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
    print(
        f'{scores["frames"]} frames of {len(scores["drives"])} drives in '
        f'{scores["seconds"]:.0f} s; percent; depth: {scores["depth"]}; IoU of the last quarter '
        'of each drive'
    )
    if report is not None:
        settings = {
            **model_settings(arguments),
            **{f'memory.{key}': value for key, value in scores['settings'].items()},
            'vocabulary': scores['vocabulary'],
            'depth': scores['depth'],
            'labels': scores['labels'],
            'resolution': scores['resolution'],
            'drives': len(scores['drives']),
            'seconds': scores['seconds'],
            'command': command_line(),
        }
        print(f'report: {report.write(scores, settings)}')


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


def report_of(arguments: argparse.Namespace, kind: Kind) -> Report | None:
    """The report that the command line asks for, still empty; None without --report."""
    if arguments.report is None:
        return None
    return Report(arguments.report, arguments.compare, arguments.worst, kind)


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
