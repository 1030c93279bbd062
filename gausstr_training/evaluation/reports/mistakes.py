"""What was wrong in a frame: the commonest mistakes in words, and where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from gausstr_core.drawing.maps import BACKGROUND, Image, finished_map, top_view
from gausstr_training.evaluation.reports.frame_log import Labels

# Of a column's voxels that are occupied in the truth or in the prediction, colours RGB.
WRONG, MISSED, INVENTED, RIGHT = 'wrong class', 'missed', 'invented', 'right'
COLORS = {
    WRONG: (255, 190, 60),
    MISSED: (232, 72, 60),
    INVENTED: (70, 150, 255),
    RIGHT: (92, 128, 104),
}
FREE_COLOR = (44, 53, 69)  # seen, and rightly said to be free


@dataclass(frozen=True)
class Mistake:
    """Voxels of one class that were taken for another."""

    truth: str  # 'free' where nothing is
    predicted: str  # 'free' where nothing was said
    voxels: int
    share: float  # percent of all voxels that are wrong


def mistakes(confusion: Tensor, classes: Sequence[str], count: int) -> list[Mistake]:
    """The most frequent mistakes, at most `count`, of a confusion matrix with free last."""
    names = (*classes, 'free')
    errors = confusion.clone()
    errors.fill_diagonal_(0)
    total = int(errors.sum())
    voxels, places = errors.flatten().sort(descending=True, stable=True)
    return [
        Mistake(names[place // len(names)], names[place % len(names)], number,
                100 * number / total)
        for number, place in zip(voxels[:count].tolist(), places.tolist(), strict=False)
        if number
    ]  # fmt: skip


def label_maps(labels: Labels, colors: Image, resolution: float) -> tuple[Image, Image]:
    """Prediction and truth from above, only where the mask counts; forward is up.

    Args:
        labels: of a frame.
        colors: [K, 3] RGB of the classes.
        resolution: metres per voxel.
    """
    drawn = []
    for classes in (labels.predicted, labels.truth):
        shown = labels.mask & (classes < len(colors))
        drawn.append(top_view(np.where(shown, classes.astype(np.int16), -1), colors, resolution))
    return drawn[0], drawn[1]


def error_map(labels: Labels, free: int, resolution: float) -> Image:
    """What most voxels of each column are, in `COLORS`; a mistake wins where there are as many.

    Args:
        labels: of a frame.
        free: the label of free voxels.
        resolution: metres per voxel.
    """
    there, said = labels.truth != free, labels.predicted != free
    same = labels.truth == labels.predicted
    kinds = {
        WRONG: there & said & ~same,
        MISSED: there & ~said,
        INVENTED: ~there & said,
        RIGHT: there & same,
    }
    counts = np.stack([(kinds[name] & labels.mask).sum(2) for name in COLORS])
    picture = np.array(list(COLORS.values()), np.uint8)[counts.argmax(0)]
    picture[counts.max(0) == 0] = FREE_COLOR
    picture[~labels.mask.any(2)] = BACKGROUND
    return finished_map(picture, resolution)
