"""Scores as a table to read and as JSON to keep."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gausstr_training.evaluation.methods import HELDOUT, METHODS, threshold_of
from gausstr_training.evaluation.scoring import Tallies
from gausstr_training.evaluation.tally import SCORED, Scores

BASELINES = tuple(name for name in METHODS if name != 'gaussians')


def document(
    tallies: Tallies, thresholds: Mapping[str, float], temperature: float | None = None
) -> dict[str, Any]:
    """The scores as JSON-ready values; percent, with the camera mask unless said otherwise.

    `calibration` says how reliable the confidence of occupied voxels is, at the temperature.
    """
    masked = {n: t.scores(thresholds[threshold_of(n)]) for n, t in tallies.masked.items()}
    unmasked = {n: t.scores(thresholds[threshold_of(n)]) for n, t in tallies.unmasked.items()}
    ours = masked['gaussians']
    return {
        **ours.as_json(),
        'unmasked': unmasked['gaussians'].as_json(),
        'baselines': {
            name: {**masked[name].as_json(), 'unmasked': unmasked[name].as_json()}
            for name in BASELINES
        },
        **{
            name: {**masked[name].as_json(), 'ratio': _ratio(masked[name], ours)}
            for name in HELDOUT
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


def table(scores: Mapping[str, Any]) -> str:
    """A table of a `document`: one row per class, one column per method."""
    columns = {
        'gaussians': scores,
        **scores['baselines'],
        'held-out': scores['heldout_vocabulary'],
        'one word': scores['heldout_names'],
        'no mask': scores['unmasked'],
    }
    rows = [('', *columns)]
    rows += [
        (title, *(_cell(column[key]) for column in columns.values()))
        for title, key in (('IoU', 'iou'), ('mIoU', 'miou'))
    ]
    rows += [
        (name, *(_cell(column['per_class'][name]) for column in columns.values()))
        for name in SCORED
    ]
    if scores['calibration'] is not None:
        error = scores['calibration']['ece']
        shown = _cell(None if error is None else 100 * error)
        rows.append(('ECE', shown, *[''] * (len(columns) - 1)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return '\n'.join(
        '  '.join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        )
        for row in rows
    )


def _cell(value: float | None) -> str:
    return '-' if value is None else f'{value:.1f}'


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON aside, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + '.part')
    aside.write_text(json.dumps(values, indent=2, allow_nan=False) + '\n')
    os.replace(aside, path)
