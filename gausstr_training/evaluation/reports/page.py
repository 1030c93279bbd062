"""The page of a report: everything inside one HTML file, nothing fetched, no script."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gausstr_core.drawing.encoding import data_uri, jpeg, png
from gausstr_core.drawing.maps import Image
from gausstr_core.drawing.page import around, render
from gausstr_training.evaluation.reports.frame_log import FrameLog, WorstFrame
from gausstr_training.evaluation.reports.mistakes import COLORS, error_map, label_maps, mistakes
from gausstr_training.evaluation.reports.runs import Frame, Run
from gausstr_training.evaluation.reports.table import Table, shown_number

TEMPLATE = Path(__file__).parent / 'templates' / 'report.html'
# of the runs, in their order; the first six are told apart also by who sees no red or no green
RUN_COLORS = (
    '#3d7be8', '#e58a2b', '#16a08a', '#b063d6', '#d2486e', '#8d8f45',
    '#1f4c9c', '#8f4d12', '#6cc9bb', '#5c2a80', '#f29ab2', '#6b7280',
)  # fmt: skip
LOWER_IS_BETTER = ('ECE',)
COMMONEST = 8  # mistakes listed for all frames
_SPREAD = (('worst frame', 0), ('10th percentile', 10), ('median', 50), ('90th percentile', 90))
_ERRORS_EXPLAINED = {
    'wrong class': 'occupied, but named wrongly',
    'missed': 'occupied in the truth, said to be free',
    'invented': 'free in the truth, said to be occupied',
    'right': 'occupied and named rightly',
}


@dataclass(frozen=True)
class Subject:
    """What the page is about, beside the runs."""

    classes: tuple[str, ...]
    colors: Image  # [K, 3] RGB of the classes
    resolution: float  # metres per voxel
    mask: str  # in words: which voxels count


def page(
    run: Run,
    rivals: Sequence[Run],
    log: FrameLog | None,
    subject: Subject,
    methods: Table,
    title: str = '',
) -> str:
    """The page as HTML; whatever is shown is escaped by the template.

    Args:
        run: the new one.
        rivals: earlier ones of the same frames, a column for each.
        log: frames of the new run; None where it was read back, which keeps no pictures.
        subject: classes, colours and grid.
        methods: the table that the command prints.
        title: of the page; the name of the run without.
    """
    runs = [run, *rivals]
    return render(
        TEMPLATE,
        run=run,
        title=title or run.name,
        new=log is not None,
        runs=[{'name': r.name, 'color': _run_color(i)} for i, r in enumerate(runs)],
        mask=subject.mask,
        tiles=_tiles(run),
        overall=_overall(runs),
        bars=_bars(runs, subject),
        spread=_spread(runs),
        methods=methods,
        mistakes=mistakes(log.confusion, subject.classes, COMMONEST) if log else [],
        worst=[_worst(frame, runs, subject) for frame in log.worst] if log else [],
        legend=_legend(log, subject) if log else [],
        errors=[
            {'name': name, 'color': _css(color), 'text': _ERRORS_EXPLAINED[name]}
            for name, color in COLORS.items()
        ],
        settings=_facts(runs, lambda r: r.settings),
        versions=_facts(runs, lambda r: r.versions),
    )


def _tiles(run: Run) -> list[dict[str, str]]:
    shown = [
        {'value': '-' if value is None else f'{value:.1f} %', 'text': title}
        for title, value in list(run.overall.items())[:4]
    ]
    return [*shown, {'value': f'{len(run.frames):,}', 'text': 'frames'}]


def _overall(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row for every title that some run has; a cell for every run."""
    titles = list(dict.fromkeys(title for run in runs for title in run.overall))
    return [{'title': title, 'cells': _compared(runs, title)} for title in titles]


def _compared(runs: Sequence[Run], title: str) -> list[dict[str, str]]:
    own = runs[0].overall.get(title)
    cells = []
    for index, run in enumerate(runs):
        value = run.overall.get(title)
        delta, kind = '', ''
        if index and value is not None and own is not None:
            difference = value - own
            better = difference < 0 if title in LOWER_IS_BETTER else difference > 0
            delta = f'{difference:+.1f}'
            kind = 'same' if abs(difference) < 0.05 else 'better' if better else 'worse'
        cells.append({'value': shown_number(value), 'delta': delta, 'kind': kind})
    return cells


def _bars(runs: Sequence[Run], subject: Subject) -> list[dict[str, Any]]:
    """A row for every class, the commonest first; a bar for every run."""
    own = runs[0].classes
    ordered = sorted(subject.classes, key=lambda name: -own[name].voxels)
    colors = dict(zip(subject.classes, subject.colors.tolist(), strict=True))
    return [
        {
            'name': name,
            'color': _css(colors[name]),
            'share': _share(own[name].share),
            'voxels': f'{own[name].voxels:,}',
            'bars': [
                {
                    'run': run.name,
                    'color': _run_color(index),
                    'width': f'{run.classes[name].iou or 0.0:.2f}',
                    'value': shown_number(run.classes[name].iou),
                }
                for index, run in enumerate(runs)
            ],
        }
        for name in ordered
    ]


def _share(share: float | None) -> str:
    if share is None:
        return '-'
    return '< 0.01 %' if 0 < share < 0.01 else f'{share:.{2 if share < 1 else 1}f} %'


def _spread(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """How the frames of each run lie, in IoU and mIoU."""
    rows = []
    measures: tuple[tuple[str, Callable[[Frame], float | None]], ...] = (
        ('IoU', lambda frame: frame.iou),
        ('mIoU', lambda frame: frame.miou),
    )
    for measure, of in measures:
        known = [[v for f in run.frames if (v := of(f)) is not None] for run in runs]
        for title, percentile in _SPREAD:
            cells = [
                shown_number(float(np.percentile(values, percentile)) if values else None)
                for values in known
            ]
            rows.append({'title': f'{measure}, {title}', 'cells': cells})
    return rows


def _worst(frame: WorstFrame, runs: Sequence[Run], subject: Subject) -> dict[str, Any]:
    predicted, truth = label_maps(frame.labels, subject.colors, subject.resolution)
    wrong = error_map(frame.labels, len(subject.classes), subject.resolution)
    found = [run.frame(frame.score.name, frame.score.origin) for run in runs]
    return {
        'name': frame.score.name,
        'scores': [
            {'run': run.name, 'iou': shown_number(f.iou), 'miou': shown_number(f.miou)}
            for run, f in zip(runs, found, strict=True)
        ],
        'mistakes': mistakes(frame.confusion, subject.classes, 4),
        'cameras': [
            {'name': name, 'uri': data_uri(jpeg(frame.cameras[name]))}
            for name in around(frame.cameras)
        ],
        'maps': [
            {'title': title, 'uri': data_uri(png(picture))}
            for title, picture in (('prediction', predicted), ('truth', truth), ('errors', wrong))
        ],
    }


def _legend(log: FrameLog, subject: Subject) -> list[dict[str, str]]:
    """The classes that occur in the truth or in the prediction."""
    occurs = (log.confusion.sum(0) + log.confusion.sum(1))[:-1] > 0
    return [
        {'name': name, 'color': _css(color)}
        for name, color, there in zip(
            subject.classes, subject.colors.tolist(), occurs.tolist(), strict=True
        )
        if there
    ]


def _facts(runs: Sequence[Run], of: Callable[[Run], Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for every key that some run states."""
    keys = list(dict.fromkeys(key for run in runs for key in of(run)))
    rows = []
    for key in keys:
        values = [of(run).get(key) for run in runs]
        cells = ['-' if value is None else str(value) for value in values]
        rows.append({'title': key.replace('_', ' '), 'cells': cells})
    return rows


def _run_color(index: int) -> str:
    return RUN_COLORS[index % len(RUN_COLORS)]


def _css(color: Sequence[int]) -> str:
    red, green, blue = color
    return f'rgb({red},{green},{blue})'
