"""demo_output/index.html: one page with pictures beside it, no other resources."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gausstr_core.drawing.encoding import jpeg
from gausstr_core.drawing.maps import top_view
from gausstr_core.drawing.page import around, render, write_files
from gausstr_ros.demo.pictures import camera_card, grid_view, paled
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
_NO_WORD = (118, 124, 134)


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
    change = next(i for i, f in enumerate(frames) if f.words.id != frames[0].words.id)
    milliseconds = [1e3 * frame.seconds for frame in frames]
    text = render(
        TEMPLATE,
        report=report,
        frames=frames,
        change=change,
        remembers=any(frame.ages is not None for frame in frames),
        shown=change // 2,
        captions=[_caption(i, frame, frames) for i, frame in enumerate(frames)],
        cameras=around(frames[0].depth),
        occupied=np.mean([(frame.labels >= 0).sum() for frame in frames]),
        latency=np.median(milliseconds),
        longest=max(milliseconds),
        full_bar=max([*report.stages.values(), np.median(milliseconds), 1.0]),
    )
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
    shown = paled(frame.labels, frame.ages, frame.words.colors)
    drawn = {
        'map3d': draw_voxels(*shown, LOWER, RESOLUTION),
        'truth3d': draw_voxels(truth, true_colors(frame.words, first, classes), LOWER, RESOLUTION),
        'above': top_view(*shown, RESOLUTION),
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


def _caption(index: int, frame: Frame, frames: Sequence[Frame]) -> dict[str, str]:
    seconds = (frame.truth.stamp - frames[0].truth.stamp) / 1e9
    caption = (
        f'cycle {index + 1} of {len(frames)}, {seconds:.1f} s, {len(frame.words.names)} words'
    )
    return {'id': f'{index:02d}', 'words': frame.words.id, 'caption': caption}
