"""What a report needs of every frame: its scores, and the pictures of the few worst."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gausstr_core.drawing.encoding import shrink
from gausstr_core.drawing.maps import Image
from gausstr_training.evaluation.tally import Scores, confusion_of
from gausstr_training.processes import ranks

CAMERA_WIDTH = 448  # pixels of the camera images that are kept


@dataclass(frozen=True)
class Labels:
    """What was said about a frame, and what is true."""

    predicted: NDArray[np.uint8]  # [X, Y, Z] class, or the number of classes where free
    truth: NDArray[np.uint8]  # [X, Y, Z] likewise
    mask: NDArray[np.bool_]  # [X, Y, Z] the voxels that count


@dataclass(frozen=True)
class FrameScore:
    """One frame in numbers."""

    name: str
    origin: str  # digest of its truth and rig: the same in two runs if the frame is
    scores: Scores

    @property
    def worth(self) -> float:
        """IoU + mIoU, by which frames are ranked; a frame without anything in it is perfect."""
        total = self.scores.iou + self.scores.miou
        return 200.0 if np.isnan(total) else total

    def as_json(self) -> dict[str, Any]:
        """Percent; null for what does not occur."""
        return {'name': self.name, 'origin': self.origin, **self.scores.as_json()}


@dataclass(frozen=True)
class WorstFrame:
    """A frame that is worth a look."""

    score: FrameScore
    labels: Labels
    confusion: Tensor  # [M + 1, M + 1] int64, rows truth, free last
    cameras: dict[str, Image]  # small, by name


class FrameLog:
    """Scores of every frame, counts of all, labels and pictures of the `keep` worst only."""

    def __init__(self, classes: Sequence[str], keep: int) -> None:
        self.classes, self.keep = tuple(classes), keep
        self.scores: list[FrameScore] = []
        self.worst: list[WorstFrame] = []  # the worst first
        self.confusion = torch.zeros(len(classes) + 1, len(classes) + 1, dtype=torch.int64)

    def add(
        self,
        name: str,
        origin: str,
        labels: Labels,
        cameras: Callable[[], dict[str, Image]] = dict,
    ) -> None:
        """Count a frame; `cameras` gives its images and is called only if they are kept."""
        counts = confusion_of(labels.predicted, labels.truth, labels.mask, len(self.classes))
        self.confusion += counts
        score = FrameScore(name, origin, Scores.of(counts, self.classes))
        self.scores.append(score)
        if len(self.worst) < self.keep or (self.keep and score.worth < self.worst[-1].score.worth):
            small = {camera: shrink(image, CAMERA_WIDTH) for camera, image in cameras().items()}
            self._keep([*self.worst, WorstFrame(score, labels, counts, small)])

    def _keep(self, frames: list[WorstFrame]) -> None:
        self.worst = sorted(frames, key=lambda f: (f.score.worth, f.score.name))[: self.keep]

    def gather(self) -> None:
        """Join what the processes of torch.distributed have seen; call it once, in each."""
        logs = ranks.gathered(self)
        self.scores = sorted((s for log in logs for s in log.scores), key=lambda s: s.name)
        self.confusion = torch.stack([log.confusion for log in logs]).sum(0)
        self._keep([frame for log in logs for frame in log.worst])


def digest(*arrays: NDArray[Any]) -> str:
    """16 hexadecimal digits of the SHA-256 of arrays."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f'{array.dtype.str}{array.shape}'.encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()[:16]
