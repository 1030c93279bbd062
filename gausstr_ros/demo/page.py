"""demo_output/index.html: one page with pictures beside it, no other resources."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gausstr_core.drawing.encoding import jpeg
from gausstr_core.drawing.maps import top_view
from gausstr_core.drawing.page import around, style, write_files
from gausstr_ros.demo.pictures import camera_card, grid_view
from gausstr_ros.demo.result import LOWER, RESOLUTION, Frame, Words
from gausstr_ros.demo.voxel_view import draw_voxels

TEMPLATE = Path(__file__).parent / 'templates' / 'demo.html'
# What the words of the second half mean in the classes of the truth; the rest is drawn grey.
_SAME_AS = {
    'car': ('car', 'truck', 'bus'),
    'person': ('pedestrian',),
    'plant': ('vegetation',),
    'building': ('building',),
    'ground': ('road', 'sidewalk', 'terrain'),
}
# Keys of the diagnostics that do not speak for themselves.
_STAGES = {
    'waiting': 'waiting for transforms and the worker',
    'decode': 'decoding six JPEGs, building the rig',
    'foundation': 'foundation network',
    'handover': 'waiting for the second thread',
    'publishing': 'rendering, converting and publishing 15 outputs',
    'total': 'whole cycle in the node',
}
_NO_WORD = (118, 124, 134)
_METHODS = {
    'lift_strong': 'every pixel lifted, the strong form',
    'lift': 'every pixel lifted, the plain form',
    'untrained': 'untrained Gaussians',
}


@dataclass(frozen=True)
class Report:
    """Everything the page says in numbers."""

    cycles: int
    sets: int  # played
    rate: float  # complete cycles per second
    played: float  # sets per second sent
    stages: dict[str, float]  # name -> median milliseconds
    change: str  # a sentence about set_categories
    drive_score: tuple[float, float]  # IoU, mIoU of the published maps, percent
    drive: dict[str, Any] | None = None  # JSON of gausstr-evaluate on this drive
    card: dict[str, Any] | None = None  # card of the weights
    machine: str = ''
    seed: int = 0
    facts: list[str] = field(default_factory=list)

    def with_scores(self, drive: dict[str, Any], card: dict[str, Any] | None) -> Report:
        """The same with what gausstr-evaluate says about this drive, and the weights' card."""
        return replace(self, drive=drive, card=card)


def draw_pictures(
    folder: Path,
    frames: Sequence[Frame],
    images: dict[tuple[str, int], NDArray[np.uint8]],
    classes: tuple[str, ...],
) -> None:
    """Write the pictures of all frames to folder/pictures, replacing those of an older run.

    Args:
        folder: where the page will be.
        frames: the cycles in the order of time.
        images: RGB by camera and stamp.
        classes: names of the labels of the truth.
    """
    pictures = folder / 'pictures'
    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.glob('*.jpg'):
        old.unlink()
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(_draw_frame, pictures, i, frame, frames[0].words, images, classes)
            for i, frame in enumerate(frames)
        ]
        for job in jobs:
            job.result()


def write_page(folder: Path, frames: Sequence[Frame], report: Report) -> Path:
    """Write folder/index.html, aside first; returns its path.

    Args:
        folder: where the pictures of the frames are.
        frames: the cycles in the order of time; the vocabulary changes between two of them.
        report: the numbers.
    """
    text = Template(TEMPLATE.read_text()).substitute(_fields(frames, report))
    write_files(folder, {'index.html': text})
    return folder / 'index.html'


def _draw_frame(
    folder: Path,
    index: int,
    frame: Frame,
    first: Words,
    images: dict[tuple[str, int], NDArray[np.uint8]],
    classes: tuple[str, ...],
) -> None:
    truth = np.where(frame.truth.camera_mask, frame.truth.labels, np.int16(-1))
    drawn = {
        'map3d': draw_voxels(frame.labels, frame.words.colors, LOWER, RESOLUTION),
        'truth3d': draw_voxels(truth, true_colors(frame.words, first, classes), LOWER, RESOLUTION),
        'above': top_view(frame.labels, frame.words.colors, RESOLUTION),
        'grid': grid_view(frame.cells, RESOLUTION),
    }
    for camera, depth in frame.depth.items():
        image = images[camera, frame.truth.image_stamps[camera]]
        drawn[camera] = camera_card(image, depth, frame.semantics[camera])
    for name, picture in drawn.items():
        (folder / f'{name}_{index:02d}.jpg').write_bytes(jpeg(picture))


def true_colors(words: Words, first: Words, classes: tuple[str, ...]) -> NDArray[np.uint8]:
    """RGB [K, 3] of the classes of the truth in the colours of some words, grey without one."""
    colors = np.empty((len(classes), 3), np.uint8)
    colors[:] = _NO_WORD
    for index, name in enumerate(classes):
        for word, color in zip(words.names, words.colors, strict=True):
            if name == word or (words.id != first.id and name in _SAME_AS.get(word, ())):
                colors[index] = color
    return colors


def _fields(frames: Sequence[Frame], report: Report) -> dict[str, str]:
    change = next(i for i, f in enumerate(frames) if f.words.id != frames[0].words.id)
    shown = change // 2
    seconds = np.array([frame.seconds for frame in frames])
    occupied = np.mean([(frame.labels >= 0).sum() for frame in frames])
    return {
        'style': style(),
        'introduction': (
            f'A synthesised drive (seed {report.seed}) was played over DDS into the GaussTR node. '
            'Everything below was received from its topics. Move the slider or press play.'
        ),
        'tiles': _tiles(
            (
                f'{report.rate:.2f} Hz',
                f'{report.cycles} of {report.sets} six-camera cycles came out complete, '
                f'played at {report.played:.2f} Hz',
            ),
            (
                f'{1e3 * np.median(seconds):.0f} ms',
                'from the last image sent to the map received, median '
                f'(longest {1e3 * seconds.max():.0f} ms)',
            ),
            (f'{report.drive_score[0]:.1f} %', 'IoU of the published maps on this drive'),
            (f'{report.drive_score[1]:.1f} %', 'mIoU, classes of the first vocabulary'),
            (
                f'{occupied:,.0f}',
                f'occupied voxels per map, {frames[0].ellipsoids:,} ellipsoids shown',
            ),
        ),
        'first': str(shown),
        'last': str(len(frames) - 1),
        'shown': f'{shown:02d}',
        'legends': _legend(frames[0].words, shown=True) + _legend(frames[-1].words, shown=False),
        'rig': _rig(frames[0], shown),
        'change': html.escape(report.change),
        'maps': _maps(frames, change),
        'scores_text': _scores_text(report),
        'scores': _scores(report),
        'latency_text': (
            'Median wall time per stage in the node while the drive played, and from sending the '
            f'last image of a set to receiving its map. {html.escape(report.machine)}.'
        ),
        'latency': _latency(report.stages, float(np.median(seconds))),
        'footer': html.escape(' '.join(report.facts)),
        'frames': json.dumps([_caption(i, f, frames) for i, f in enumerate(frames)]),
    }


def _caption(index: int, frame: Frame, frames: Sequence[Frame]) -> dict[str, str]:
    seconds = (frame.truth.stamp - frames[0].truth.stamp) / 1e9
    caption = (
        f'cycle {index + 1} of {len(frames)}, {seconds:.1f} s, {len(frame.words.names)} words'
    )
    return {'id': f'{index:02d}', 'words': frame.words.id, 'caption': caption}


def _tiles(*tiles: tuple[str, str]) -> str:
    return ''.join(f'<div class="tile"><b>{v}</b><span>{text}</span></div>' for v, text in tiles)


def _legend(words: Words, *, shown: bool) -> str:
    items = ''.join(
        f'<li><i style="background:rgb({r},{g},{b})"></i>{html.escape(name)}</li>'
        for name, (r, g, b) in zip(words.names, words.colors.tolist(), strict=True)
        if name != 'sky'
    )
    hidden = '' if shown else ' hidden'
    return f'<ul class="legend" data-words="{words.id}"{hidden}>{items}</ul>'


def _rig(frame: Frame, shown: int) -> str:
    return ''.join(
        f'<figure><img data-picture="{html.escape(camera)}" '
        f'src="pictures/{html.escape(camera)}_{shown:02d}.jpg" alt="{html.escape(camera)}">'
        f'<figcaption><b>{html.escape(camera)}</b></figcaption></figure>'
        for camera in around(frame.depth)
    )


def _maps(frames: Sequence[Frame], change: int) -> str:
    before, after = frames[change - 1].words, frames[change].words
    figures = (
        ('above', change - 1, f'<b>{len(before.names)} words</b>, {before.id}'),
        (
            'above',
            change,
            f'<b>{len(after.names)} words</b>, the next map, {after.id}',
        ),
        (
            'grid',
            change - 1,
            '<b>2D grid</b> before: orange is obstacle, grey free, dark unknown',
        ),
        ('grid', change, '<b>2D grid</b> after: obstacles are what stands, in any words'),
    )
    return ''.join(
        f'<figure><img src="pictures/{name}_{index:02d}.jpg" alt="map from above">'
        f'<figcaption>{text}</figcaption></figure>'
        for name, index, text in figures
    )


def _scores_text(report: Report) -> str:
    mask = 'Percent, voxels that a camera sees.'
    if not (report.drive or report.card):
        return mask
    return (
        f'{mask} The first line scores the maps received before the change of words, the others '
        'are from <code>gausstr-evaluate</code> over whole drives. The rivals use the same '
        'images, depth and labels, each with the threshold that suited it best on validation '
        'streets.'
    )


def _scores(report: Report) -> str:
    card = (report.card or {}).get('scores')
    head = '<tr><th>method</th><th>IoU, this drive</th><th>mIoU, this drive</th>'
    title = f'{len(card["streets"])} held-out streets' if card else ''
    head += f'<th>IoU, {title}</th><th>mIoU, {title}</th></tr>' if card else '</tr>'
    rows = [_row('published by the node', report.drive_score, None, card is not None)]
    if report.drive or card:
        rows.append(_row('GaussTR compact', _pair(report.drive), _pair(card), bool(card)))
        for key, name in _METHODS.items():
            pairs = [_pair(s['baselines'][key]) if s else None for s in (report.drive, card)]
            rows.append(_row(name, *pairs, bool(card)))
    rows[0] = rows[0].replace('<tr>', '<tr class="ours">', 1)
    return f'<table>{head}{"".join(rows)}</table>'


def _pair(scores: dict[str, Any] | None) -> tuple[float, float] | None:
    return (scores['iou'], scores['miou']) if scores else None


def _row(
    name: str,
    drive: tuple[float, float] | None,
    streets: tuple[float, float] | None,
    with_streets: bool,
) -> str:
    values = [*(drive or (None, None)), *((streets or (None, None)) if with_streets else ())]
    cells = ''.join(f'<td>{"&ndash;" if v is None else f"{v:.1f}"}</td>' for v in values)
    return f'<tr><td>{html.escape(name)}</td>{cells}</tr>'


def _latency(stages: dict[str, float], total: float) -> str:
    longest = max([*stages.values(), 1e3 * total, 1.0])
    rows = ''.join(
        f'<tr{kind}><td>{html.escape(name)}</td><td>{value:.0f} ms</td>'
        f'<td class="bar"><i style="width:{100 * value / longest:.1f}%"></i></td></tr>'
        for name, value, kind in [
            *((_STAGES.get(name, name), value, '') for name, value in stages.items()),
            ('end to end: last image sent to map received', 1e3 * total, ' class="ours"'),
        ]
    )
    return f'<table><tr><th>stage</th><th>time</th><th></th></tr>{rows}</table>'
