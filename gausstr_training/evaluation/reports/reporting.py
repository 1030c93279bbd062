"""A report in the making: filled while frames are scored, written when all are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gausstr_core.contracts import VoxelGrid
from gausstr_core.drawing.page import write_files
from gausstr_core.vocabulary.vocabulary import SHIPPED_VOCABULARY, read_categories, stable_color
from gausstr_core.voxels.released_labels import RELEASED_VOCABULARY
from gausstr_training.engine.provenance import versions
from gausstr_training.evaluation.drives import scores as drives
from gausstr_training.evaluation.occ3d import label_files as occ3d
from gausstr_training.evaluation.reports import report
from gausstr_training.evaluation.reports.frame_log import FrameLog, Labels, digest
from gausstr_training.evaluation.reports.page import Subject, page
from gausstr_training.evaluation.reports.runs import (
    FILE,
    FORMAT,
    ClassScore,
    Frame,
    Run,
    read_runs,
)
from gausstr_training.evaluation.reports.table import Table
from gausstr_training.evaluation.tally import COUNT, SCORED, Guess, Scores
from gausstr_training.streets.classes import FREE
from gausstr_training.streets.reader import StreetFrame

PAGE = 'index.html'
_OTHERS = (118, 124, 134)  # no word stands for them, so no vocabulary has their colour


@dataclass(frozen=True)
class Kind:
    """What is scored: streets, or label files of Occ3D."""

    name: str
    classes: tuple[str, ...]
    vocabulary: Path  # where the colours of the classes are
    mask: str  # in words
    resolution: float = VoxelGrid.resolution  # metres

    def subject(self) -> Subject:
        """What the page has to know; a class of no vocabulary gets a colour from its name."""
        known = {c.name: c.color for c in read_categories(self.vocabulary)} | {'others': _OTHERS}
        colors = [known.get(n.replace('_', ' ')) or stable_color(n) for n in self.classes]
        return Subject(self.classes, np.array(colors, np.uint8), self.resolution, self.mask)


STREETS = Kind('streets', SCORED, SHIPPED_VOCABULARY, 'voxels that a camera sees')
DRIVES = Kind(
    'drives', SCORED, SHIPPED_VOCABULARY, 'voxels that a camera sees, mapped with a memory'
)
OCC3D = Kind('occ3d', occ3d.CLASSES, RELEASED_VOCABULARY, 'voxels of the camera mask')


class Report:
    """Collects frames and writes the page and scores.json.

    Args:
        folder: to write to; made at once, so that hours of scoring do not end in an error.
        compared: folders of earlier reports on the same frames.
        keep: how many of the worst frames to show.
        kind: what is scored.

    Raises:
        ValueError: an earlier report cannot be read or is of another kind.
        OSError: the folder cannot be made.
    """

    def __init__(self, folder: Path, compared: Sequence[Path], keep: int, kind: Kind) -> None:
        if keep < 0:
            raise ValueError(f'--worst must be >= 0, got {keep}')
        self.folder, self.kind = folder, kind
        self.name = folder.resolve().name
        self.rivals = read_runs(compared, kind.name, kind.classes, self.name)
        self.log = FrameLog(kind.classes, keep)
        folder.mkdir(parents=True, exist_ok=True)

    def expect(self, names: Iterable[str]) -> None:
        """Compare the names of the frames to come; raises ValueError naming a run and a frame."""
        known = list(names)
        for rival in self.rivals:
            rival.check_names(known)

    def add_street(self, name: str, frame: StreetFrame, guess: Guess, threshold: float) -> None:
        """Count a frame of a street, with what the Gaussians say about it.

        Raises:
            ValueError: an earlier report has scored another frame under this name.
        """
        occupied = (guess.density > threshold).cpu().numpy()
        self.add_map(name, frame, np.where(occupied, guess.labels.cpu().numpy(), -1))

    def add_map(self, name: str, frame: StreetFrame, labels: np.ndarray) -> None:
        """Count a frame of a street or drive, labelled [X, Y, Z], -1 where nothing is.

        Raises:
            ValueError: as `add_street`.
        """
        assert frame.voxels is not None and frame.camera_mask is not None
        predicted = np.where(labels < 0, COUNT, labels).astype(np.uint8)
        truth = np.where(frame.voxels == FREE, COUNT, frame.voxels).astype(np.uint8)
        rig = (frame.rig.intrinsics.numpy(), frame.rig.ego_from_camera.numpy())
        origin = self._origin(name, frame.voxels, frame.camera_mask, *rig)
        images = dict(zip(frame.rig.names, frame.images, strict=True))
        self.log.add(name, origin, Labels(predicted, truth, frame.camera_mask), lambda: images)

    def add_labels(self, name: str, predicted: np.ndarray, truth: occ3d.Truth) -> None:
        """Count a frame of label files, which come without images.

        Raises:
            ValueError: an earlier report has scored another frame under this name.
        """
        mask = truth.masks['camera']
        origin = self._origin(name, truth.semantics, *truth.masks.values(), truth.origins)
        self.log.add(name, origin, Labels(predicted, truth.semantics, mask))

    def _origin(self, name: str, *arrays: np.ndarray) -> str:
        origin = digest(*arrays)
        for rival in self.rivals:
            rival.frame(name, origin)
        return origin

    def write(self, scores: Mapping[str, Any], settings: Mapping[str, Any]) -> Path:
        """Write scores.json and the page once both are complete; returns the page's path.

        Args:
            scores: the document of `report` or `occ3d`.
            settings: of this run, as numbers and text.
        """
        figures = {STREETS.name: report, DRIVES.name: drives, OCC3D.name: occ3d}[self.kind.name]
        run = self._run(figures.overall(scores), settings)
        subject = self.kind.subject()
        text = page(run, self.rivals, self.log, subject, figures.table(scores))
        write_files(self.folder, {FILE: report.as_json(self._document(run, scores)), PAGE: text})
        return self.folder / PAGE

    def _run(self, overall: Mapping[str, float | None], settings: Mapping[str, Any]) -> Run:
        counts, classes = self.log.confusion, self.kind.classes
        found = Scores.of(counts, classes).as_json()['per_class']
        voxels = counts.sum(1)[:-1].tolist()
        return Run(
            name=self.name,
            kind=self.kind.name,
            overall={k: None if v is None else round(v, 3) for k, v in overall.items()},
            classes={
                name: ClassScore(found[name], n, _percent(n, sum(voxels)))
                for name, n in zip(classes, voxels, strict=True)
            },
            frames=tuple(
                Frame(s.name, s.origin, s.as_json()['iou'], s.as_json()['miou'])
                for s in self.log.scores
            ),
            settings=dict(settings),
            versions=versions(),
        )

    def _document(self, run: Run, scores: Mapping[str, Any]) -> dict[str, Any]:
        return {
            'format': FORMAT,
            'kind': run.kind,
            'settings': run.settings,
            'versions': run.versions,
            'overall': run.overall,
            'classes': {name: dataclasses.asdict(c) for name, c in run.classes.items()},
            'scores': dict(scores),
            'frames': [score.as_json() for score in self.log.scores],
        }


def compare(
    folder: Path, reports: Sequence[Path], kind: Kind, summary: Callable[[Sequence[Run]], Table]
) -> Table:
    """Write a page of reports that exist, side by side; the others are compared with the first.

    Args:
        folder: gets the page alone; the scores stay where they are.
        reports: folders of at least one report.
        kind: what all of them scored.
        summary: makes the table of the page of the runs; it is returned.

    Raises:
        ValueError: a report cannot be read, or is of another kind or of other frames.
    """
    title = folder.resolve().name
    run, *rivals = runs = read_runs(reports, kind.name, kind.classes, title)
    for rival in rivals:
        rival.check_names(frame.name for frame in run.frames)
        for frame in run.frames:
            rival.frame(frame.name, frame.origin)
    table = summary(runs)
    write_files(folder, {PAGE: page(run, rivals, None, kind.subject(), table, title)})
    return table


def _percent(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 4) if whole else None
