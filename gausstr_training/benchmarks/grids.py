"""The map at every resolution and from every source of depth: calibrated, scored, as a table.

python -m gausstr_training.benchmarks.grids --validation streets/validation --test streets/test \
    --output grids

Thresholds and temperature of a combination are chosen on the validation streets, its scores are
of the test streets; both need truth at every resolution (`gausstr-synthesize --resolution`). What
is done lies in `<output>/<depth>_<labels>_<resolution>.json` and is not repeated. The table of
docs/training.md is printed; `<output>/card.json` holds what the card of the weights says of it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.process.command_line import Real, Whole
from gausstr_core.process.parallel import keep_torch_threads
from gausstr_core.transformer.build import COMPACT_PRESETS, build
from gausstr_core.weights import read_card, shipped_weights
from gausstr_training.evaluation.methods import Contest
from gausstr_training.evaluation.reports.report import document, write_json
from gausstr_training.evaluation.reports.table import Table, shown_number
from gausstr_training.evaluation.road import most_voxels
from gausstr_training.evaluation.scoring import StreetSet, tally
from gausstr_training.evaluation.sensing import DEPTHS, LABELS, Sensing
from gausstr_training.evaluation.thresholds import (
    CANDIDATES,
    calibrated,
    chosen,
    refuse_known_streets,
)
from gausstr_training.streets.grids import truth_grid

MODULE = 'gausstr_training.benchmarks.grids'
RESOLUTIONS = (0.8, 0.4, 0.2, 0.1)
COLUMNS = (
    'threshold', 'IoU', 'mIoU', 'strong lift IoU', 'mIoU', 'road, voxels', 'covered, %', 'ECE, %',
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog=f'python -m {MODULE}', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    for name, use in (('validation', 'choose thresholds on'), ('test', 'score')):
        result.add_argument(
            f'--{name}',
            type=Path,
            nargs='+',
            required=True,
            metavar='DIR',
            help=f'streets to {use}',
        )
    result.add_argument(
        '--output', type=Path, required=True, metavar='DIR', help='what is done is kept there'
    )
    result.add_argument(
        '--preset', choices=list(COMPACT_PRESETS), default='compact', help='(default: %(default)s)'
    )
    result.add_argument('--weights', type=Path, help='of the preset (default: the shipped ones)')
    result.add_argument(
        '--depths', nargs='+', choices=DEPTHS, default=list(DEPTHS),
        help=f'sources (default: {" ".join(DEPTHS)})',
    )  # fmt: skip
    result.add_argument(
        '--labels',
        choices=LABELS,
        default=LABELS[0],
        help='as of gausstr-evaluate (default: %(default)s)',
    )
    result.add_argument(
        '--resolutions', nargs='+', type=Real(0.01, 10), default=list(RESOLUTIONS),
        metavar='METRES', help='(default: 0.8 0.4 0.2 0.1)',
    )  # fmt: skip
    result.add_argument(
        '--limit', type=Whole(1, 10**6), metavar='N', help='streets of each kind (default: all)'
    )
    result.add_argument('--device', default='cpu', help='torch device (default: %(default)s)')
    return result


def measured(
    weights: Path, sensing: Sensing, resolution: float, options: argparse.Namespace
) -> dict[str, Any]:
    """Thresholds, temperature and scores of one combination.

    Raises:
        ValueError: a street was trained on, or has no truth at the resolution.
    """
    grid = truth_grid(resolution)
    pipeline = OccupancyPipeline.from_preset(options.preset, options.device, grid, weights)
    contest = Contest(pipeline, build(options.preset).transformer, sensing)
    validation, test = (
        StreetSet.find(folders, options.limit, resolution)
        for folders in (options.validation, options.test)
    )
    card = {key: value for key, value in read_card(weights).items() if key == 'training_seeds'}
    refuse_known_streets(test.seeds, card, validation.seeds)
    known = tally(contest, validation, CANDIDATES, heldout=False)
    most = most_voxels(sensing.source, resolution)
    thresholds = chosen(known.told, known.roads['gaussians'], most)
    temperature = known.temperatures.best()
    levels = {name: [threshold] for name, threshold in thresholds.items()}
    found = tally(contest, test, levels, temperature, heldout=False)
    return {
        **document(found, thresholds, temperature),
        'depth': sensing.depth, 'labels': sensing.labels, 'source': sensing.source,
        'resolution': resolution, 'validation': list(validation.seeds), 'test': list(test.seeds),
    }  # fmt: skip


def table(results: Sequence[Mapping[str, Any]]) -> Table:
    """A row for every combination."""
    rows = []
    for found in results:
        rival, road = found['baselines']['lift_strong'], found['road']
        error = found['calibration']['ece']
        numbers = (
            found['iou'], found['miou'], rival['iou'], rival['miou'], road['voxels'],
            road['covered'], None if error is None else 100 * error,
        )  # fmt: skip
        digits = (1, 1, 1, 1, 2, 1, 1)
        cells = [shown_number(v, d) for v, d in zip(numbers, digits, strict=True)]
        threshold = f'{found["thresholds"]["gaussians"]:g}'
        rows.append((f'{found["depth"]}, {found["resolution"]:g} m', (threshold, *cells)))
    return Table(COLUMNS, tuple(rows))


def run(options: argparse.Namespace) -> None:
    """Measure what is not measured yet, print the table and write what a card says of it."""
    weights = options.weights or shipped_weights(options.preset)
    results, card = [], read_card(weights)
    for depth in options.depths:
        for resolution in options.resolutions:
            path = options.output / f'{depth}_{options.labels}_{resolution:g}.json'
            if not path.is_file():
                sensing = Sensing(depth, options.labels)
                write_json(path, measured(weights, sensing, resolution, options))
            results.append(json.loads(path.read_text()))
            print(table(results[-1:]), flush=True)
    for found in results:
        card |= calibrated(
            card, found['thresholds'], found['calibration']['temperature'], found['source'],
            found['resolution'],
        )  # fmt: skip
    stated = ('calibration', 'thresholds', 'class_temperature')
    facts = {key: card[key] for key in stated if key in card}
    write_json(options.output / 'card.json', facts)
    print(table(results).markdown())


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    options = parser().parse_args(arguments)
    keep_torch_threads()
    try:
        run(options)
    except (ValueError, OSError) as error:
        raise SystemExit(f'{MODULE}: {error}') from None
    except KeyboardInterrupt:
        raise SystemExit(f'{MODULE}: interrupted; run it again to go on') from None


if __name__ == '__main__':
    main()
