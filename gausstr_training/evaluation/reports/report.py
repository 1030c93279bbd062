"""Scores as a table to read and as JSON to keep."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gausstr_core.drawing.page import write_files
from gausstr_training.evaluation.methods import HELDOUT, METHODS, threshold_of
from gausstr_training.evaluation.reports.table import Table
from gausstr_training.evaluation.scoring import Tallies
from gausstr_training.evaluation.tally import SCORED, Scores

UNTRAINED_IOU, UNTRAINED_MIOU = 'IoU before training', 'mIoU before training'
_HELDOUT = {'held-out': 'heldout_vocabulary', 'one word': 'heldout_names'}  # columns
BASELINES = tuple(name for name in METHODS if name != 'gaussians')


def document(
    tallies: Tallies, thresholds: Mapping[str, float], temperature: float | None = None
) -> dict[str, Any]:
    """The scores as JSON-ready values; percent, with the camera mask unless said otherwise.

    `told` are the scores in those voxels that the source of depth tells of (a lidar's sweep);
    `calibration` says how reliable the confidence of occupied voxels is, at the temperature;
    `road` how thick the road is, see `road.RoadThickness`.
    """
    masked = {n: t.scores(thresholds[threshold_of(n)]) for n, t in tallies.masked.items()}
    unmasked = {n: t.scores(thresholds[threshold_of(n)]) for n, t in tallies.unmasked.items()}
    ours = masked['gaussians']
    told = tallies.told['gaussians'].scores(thresholds['gaussians'])
    return {
        **ours.as_json(),
        'told': {'iou': told.as_json()['iou'], 'miou': told.as_json()['miou']},
        'unmasked': unmasked['gaussians'].as_json(),
        'road': tallies.roads['gaussians'].as_json(thresholds['gaussians']),
        'baselines': {
            name: {
                **masked[name].as_json(),
                'unmasked': unmasked[name].as_json(),
                'road': tallies.roads[name].as_json(thresholds[name]),
            }
            for name in BASELINES
        },
        **{
            name: {**masked[name].as_json(), 'ratio': _ratio(masked[name], ours)}
            for name in HELDOUT
            if name in masked
        },
        'calibration': None
        if tallies.reliability is None
        else {'temperature': temperature, **tallies.reliability.calibration().as_json()},
        'thresholds': dict(thresholds),
        'frames': tallies.frames,
    }


def _ratio(other: Scores, ours: Scores) -> float | None:
    """Share of the mIoU of the trained names that other words keep."""
    return round(other.miou / ours.miou, 4) if ours.miou > 0 else None


def table(scores: Mapping[str, Any]) -> Table:
    """A table of a `document`: one row per class, one column per method."""
    columns = {
        'gaussians': scores,
        **scores['baselines'],
        **{title: scores[name] for title, name in _HELDOUT.items() if name in scores},
        'no mask': scores['unmasked'],
    }
    totals = [
        (title, [column[key] for column in columns.values()])
        for title, key in (('IoU', 'iou'), ('mIoU', 'miou'))
    ]
    classes = [(name, [c['per_class'][name] for c in columns.values()]) for name in SCORED]
    error = [('ECE', [_calibration_error(scores)])] if scores['calibration'] else []
    return Table.of(columns, [*totals, *classes, *error, *_roads(columns.values())])


def _roads(columns: Iterable[Mapping[str, Any]]) -> list[tuple[str, list[float | None]]]:
    """Rows on the road's thickness, of the methods that have one."""
    found = [column['road'] for column in columns if column.get('road')]
    rows = (('road, voxels thick', 'voxels'), ('road, % covered', 'covered'))
    return [(title, [road[key] for road in found]) for title, key in rows] if found else []


def overall(scores: Mapping[str, Any]) -> dict[str, float | None]:
    """The figures of a `document` that runs are compared by, percent."""
    start, rival = (scores['baselines'][name] for name in ('untrained', 'lift_strong'))
    return {
        'IoU': scores['iou'],
        'mIoU': scores['miou'],
        'IoU, no mask': scores['unmasked']['iou'],
        'mIoU, no mask': scores['unmasked']['miou'],
        'mIoU, words never seen': scores['heldout_vocabulary']['miou'],
        'mIoU, one word never seen': scores['heldout_names']['miou'],
        UNTRAINED_IOU: start['iou'],
        UNTRAINED_MIOU: start['miou'],
        'IoU of the strong lift': rival['iou'],
        'mIoU of the strong lift': rival['miou'],
        'ECE': _calibration_error(scores),
    }


def _calibration_error(scores: Mapping[str, Any]) -> float | None:
    found = scores['calibration']
    return None if found is None or found['ece'] is None else 100 * found['ece']


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON aside, then rename."""
    write_files(path.parent, {path.name: as_json(values)})


def as_json(values: Mapping[str, Any]) -> str:
    """JSON for a file; raises ValueError for NaN, which JSON does not have."""
    return json.dumps(values, indent=2, allow_nan=False) + '\n'
