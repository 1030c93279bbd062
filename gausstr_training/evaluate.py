"""gausstr-evaluate: score a preset on streets with truth, beside its rivals."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed

from gausstr_core.memory import keep_freed_memory
from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.transformer.build import COMPACT_PRESETS
from gausstr_core.weights import read_card, shipped_weights
from gausstr_training.evaluation import occ3d
from gausstr_training.evaluation.methods import Contest
from gausstr_training.evaluation.report import document, table, write_json
from gausstr_training.evaluation.scoring import StreetSet, tally
from gausstr_training.evaluation.thresholds import (
    CANDIDATES,
    chosen,
    refuse_known_streets,
    refuse_training_streets,
    temperature_of,
    thresholds_of,
)

EXAMPLES = """examples:
  gausstr-evaluate --preset compact streets/test --json scores.json
  gausstr-evaluate --preset compact --calibrate streets/validation --output thresholds.json
  gausstr-evaluate --weights runs/compact/compact.safetensors --update-card streets/test
  gausstr-evaluate --occ3d data/nuscenes/gts --predictions predictions --json scores.json"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog='gausstr-evaluate',
        description=__doc__.split(': ', 1)[1] if __doc__ else None,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        'streets', nargs='*', type=Path, metavar='DIR', help='a street, or a folder of streets'
    )
    result.add_argument('--preset', default='compact', choices=list(COMPACT_PRESETS))
    result.add_argument('--weights', help="a file, or 'untrained' (default: the shipped ones)")
    result.add_argument('--device', default='cpu')
    result.add_argument('--limit', type=int, metavar='N', help='score only the first N streets')
    result.add_argument('--json', type=Path, metavar='FILE', help='write the scores there')
    result.add_argument(
        '--validation',
        nargs='+',
        type=Path,
        metavar='DIR',
        help='choose the thresholds on these streets instead of taking those of the weights',
    )
    result.add_argument(
        '--calibrate',
        nargs='+',
        type=Path,
        metavar='DIR',
        help='only choose thresholds and temperature on these streets and write them to --output',
    )
    result.add_argument('--output', type=Path, metavar='FILE', help='of --calibrate')
    result.add_argument(
        '--occ3d',
        type=Path,
        metavar='GTS',
        help='only score --predictions against these label files; also under torchrun',
    )
    result.add_argument(
        '--predictions',
        type=Path,
        metavar='DIR',
        help='of --occ3d: <scene>/<token>/labels.npz with semantics, labels 0..17',
    )
    result.add_argument(
        '--update-card',
        action='store_true',
        help='also write the thresholds, or the scores, into the card beside --weights',
    )
    return result


def load(arguments: argparse.Namespace) -> tuple[Contest, dict[str, Any], str]:
    """The contest, the card of its weights (empty if untrained) and what to call them."""
    preset, weights = arguments.preset, arguments.weights
    pipeline = OccupancyPipeline.from_preset(preset, arguments.device, weights=weights)
    if weights == 'untrained':
        return Contest(pipeline, preset), {}, "weights 'untrained'"
    path = Path(weights) if weights else shipped_weights(preset)
    return Contest(pipeline, preset), read_card(path), path.name


def calibrate(
    contest: Contest, card: dict[str, Any], folders: list[Path], limit: int | None = None
) -> dict[str, Any]:
    """Choose a threshold per method, and the temperature, on validation streets.

    Raises:
        ValueError: a street is one that the weights were trained on, or cannot be read.
    """
    streets = StreetSet.find(folders, limit)
    refuse_training_streets(streets.seeds, card, 'choose thresholds on')
    tallies = tally(contest, streets, CANDIDATES)
    thresholds = chosen(tallies.masked)
    return {
        'thresholds': thresholds,
        'class_temperature': tallies.temperatures.best(),
        'validation_seeds': [min(streets.seeds), max(streets.seeds)],
        'scores': document(tallies, thresholds),
    }


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Score the streets of the command line; returns the JSON document.

    Raises:
        ValueError: a street was trained or calibrated on, no threshold is known, or a street
            cannot be read.
    """
    started = time.perf_counter()
    contest, card, name = load(arguments)
    streets = StreetSet.find(arguments.streets, arguments.limit)
    validation = StreetSet.find(arguments.validation) if arguments.validation else None
    refuse_known_streets(streets.seeds, card, validation.seeds if validation else ())
    if arguments.validation:
        card = calibrate(contest, card, arguments.validation)
    thresholds, temperature = thresholds_of(card, name), temperature_of(card)
    levels = {key: [value] for key, value in thresholds.items()}
    tallies = tally(contest, streets, levels, temperature)
    return {
        **document(tallies, thresholds, temperature),
        'preset': arguments.preset,
        'weights': name,
        'vocabulary': contest.vocabulary.id,
        'streets': list(streets.seeds),
        'seconds': round(time.perf_counter() - started, 1),
    }


def run(arguments: argparse.Namespace) -> None:
    """Do what the command line asks for and print the table."""
    if arguments.occ3d or arguments.predictions:
        score_occ3d(arguments)
        return
    if arguments.calibrate:
        if arguments.streets or arguments.output is None:
            raise ValueError('--calibrate needs --output FILE and no streets to score')
        contest, card, _ = load(arguments)
        found = calibrate(contest, card, arguments.calibrate, arguments.limit)
        write_json(arguments.output, found)
        print(table(found['scores']))
        print(
            f'thresholds {found["thresholds"]}, temperature {found["class_temperature"]} -> '
            f'{arguments.output}'
        )
        if arguments.update_card:
            kept = ('thresholds', 'class_temperature', 'validation_seeds')
            update_card(arguments, {key: found[key] for key in kept})
        return
    if not arguments.streets:
        raise ValueError('expected at least one street folder to score')
    scores = evaluate(arguments)
    if arguments.json:
        write_json(arguments.json, scores)
    if arguments.update_card:
        kept = (
            'streets', 'iou', 'miou', 'unmasked', 'baselines', 'heldout_vocabulary', 'calibration'
        )  # fmt: skip
        update_card(arguments, {'scores': {key: scores[key] for key in kept}})
    print(table(scores))
    ratio = scores['heldout_vocabulary']['ratio']
    kept = 'unknown' if ratio is None else f'{100 * ratio:.0f} %'
    print(
        f'{scores["frames"]} frames of {len(scores["streets"])} streets in '
        f'{scores["seconds"]:.0f} s; percent, camera mask; words never seen keep {kept} of the '
        'mIoU'
    )


def score_occ3d(arguments: argparse.Namespace) -> None:
    """Score a folder of predictions; the processes of torchrun share the frames.

    Raises:
        ValueError: one of the two folders is not given, or a file is not of the form.
    """
    if arguments.occ3d is None or arguments.predictions is None or arguments.streets:
        raise ValueError('--occ3d GTS and --predictions DIR go together, without streets')
    rank, world = int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))
    if world > 1:
        torch.distributed.init_process_group('gloo')
    try:
        found = occ3d.score_folders(
            arguments.occ3d, arguments.predictions, rank=rank, world=world
        ).document()
    finally:
        if world > 1:
            torch.distributed.destroy_process_group()
    if rank > 0:
        return
    if arguments.json:
        write_json(arguments.json, found)
    print(occ3d.table(found))
    print(f'{found["frames"]} frames, percent')


def update_card(arguments: argparse.Namespace, facts: dict[str, Any]) -> None:
    """Add facts to the card of the weights.

    Raises:
        ValueError: the weights are not a file, so that there is no card to write to.
    """
    if arguments.weights in (None, 'untrained'):
        raise ValueError('--update-card needs --weights FILE: shipped cards are not rewritten')
    path = Path(arguments.weights)
    write_json(path.with_suffix('.json'), {**read_card(path), **facts})


def main() -> None:
    """Entry point of gausstr-evaluate."""
    arguments = parser().parse_args()
    keep_freed_memory()
    try:
        run(arguments)
    except (ValueError, OSError) as error:
        raise SystemExit(f'gausstr-evaluate: {error}') from error


if __name__ == '__main__':
    main()
