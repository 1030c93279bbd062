"""Drives mapped frame by frame, each frame alone and with a memory, and scored side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.remembering import Memory, MemorySettings
from gausstr_core.vocabulary.vocabulary import Vocabulary
from gausstr_training.evaluation.drives.counts import (
    LATER,
    MASKS,
    DriveCounts,
    DriveScorer,
    TrueFrame,
)
from gausstr_training.evaluation.reports.table import Table
from gausstr_training.evaluation.scoring import frame_name
from gausstr_training.evaluation.sensing import Sensing
from gausstr_training.streets.reader import Street, StreetFrame, find_streets, read_street

WAYS = ('single', 'memory')
NEEDED = 'gausstr-synthesize --moving --frames 12 makes it'
Watch = Callable[[str, StreetFrame, np.ndarray], None]


@dataclass(frozen=True)
class Drives:
    """Drives with truth of what moves.

    Raises (on `find`):
        ValueError: there is none, or one has no such truth or a single frame.
    """

    streets: tuple[Street, ...]

    @classmethod
    def find(
        cls, folders: Sequence[Path], limit: int | None = None, resolution: float | None = None
    ) -> Drives:
        """The drives in folders, at most `limit`, with truth of a resolution in metres."""
        streets = []
        for folder in find_streets(list(folders))[:limit]:
            street = read_street(folder, resolution)
            if street.grid is None or not street.settings.moving:
                raise ValueError(f'{folder} has no truth of what moves; {NEEDED}')
            if len(street) < 2:
                raise ValueError(f'{folder} has one frame: nothing to remember; {NEEDED}')
            streets.append(street)
        return cls(tuple(streets))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of each drive."""
        return tuple(street.seed for street in self.streets)

    def names(self) -> list[str]:
        """Of all frames, in order."""
        return [frame_name(s.seed, index) for s in self.streets for index in range(len(s))]


def score_drives(
    pipeline: OccupancyPipeline,
    sensing: Sensing,
    drives: Drives,
    settings: MemorySettings,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Map each drive both ways and count.

    Args:
        pipeline: on the grid of the truth.
        sensing: where depth and labels come from.
        drives: with truth.
        settings: of the memory.
        watch: called with each frame's name, the frame, and its labels with memory, int64
            [X, Y, Z].

    Returns:
        A document of JSON: `single` and `memory`, in percent, and what was scored.

    Raises:
        ValueError: the pipeline's rule has no evidence, or a file cannot be read.
    """
    vocabulary = pipeline.load_vocabulary()
    counts = {way: DriveCounts() for way in WAYS}
    total = sum(len(street) for street in drives.streets)
    resets: dict[str, int] = {}
    with tqdm(total=total, desc='drives', unit='frame') as bar:
        for street in drives.streets:
            memory = Memory(settings, pipeline.grid, pipeline.evidence_for(sensing.source))
            period = street.settings.period / 1e9
            scorer = DriveScorer(pipeline.grid, counts, len(street), period)
            for index in range(len(street)):
                frame = street[index]
                labels = _both(pipeline, sensing, vocabulary, memory, street, frame)
                scorer.add(true_frame(frame), labels)
                if watch is not None:
                    watch(frame_name(street.seed, index), frame, labels['memory'])
                bar.update()
            for reason, count in memory.resets.items():
                resets[reason] = resets.get(reason, 0) + count
    return {
        **{way: counts[way].document() for way in WAYS},
        'frames': total,
        'drives': list(drives.seeds),
        'settings': asdict(settings),
        'resets': resets,
        'vocabulary': vocabulary.id,
    }


def _both(
    pipeline: OccupancyPipeline,
    sensing: Sensing,
    vocabulary: Vocabulary,
    memory: Memory,
    street: Street,
    frame: StreetFrame,
) -> dict[str, np.ndarray]:
    """Labels int64 [X, Y, Z] of a frame alone and with what is remembered."""
    encoded = sensing.encode(pipeline, street, frame)
    result = pipeline.map(encoded, vocabulary, pipeline.rule_for(sensing.source))
    found = memory.remember(result, vocabulary, frame.odom_from_ego, frame.stamp)
    maps = {'single': result.occupancy, 'memory': found.occupancy}
    return {way: occupancy.labels.cpu().numpy() for way, occupancy in maps.items()}


def true_frame(frame: StreetFrame) -> TrueFrame:
    """The truth of a frame of a drive."""
    assert frame.voxels is not None and frame.camera_mask is not None
    assert frame.moving is not None
    return TrueFrame(
        frame.stamp, frame.odom_from_ego, frame.voxels, frame.camera_mask, frame.moving
    )


def overall(scores: Mapping[str, Any]) -> dict[str, float | None]:
    """The figures by which two reports are compared: those with memory."""
    found = scores['memory']
    return {
        'IoU': found['present']['iou'],
        'mIoU': found['present']['miou'],
        'IoU, seen at some time': found['seen']['iou'],
        'mIoU, seen at some time': found['seen']['miou'],
        'IoU, no mask': found['unmasked']['iou'],
        'mIoU, no mask': found['unmasked']['miou'],
        'moving voxels found': found['moving_found'],
    }


def table(scores: Mapping[str, Any]) -> Table:
    """Both ways as columns, in percent."""
    titles = {'present': 'camera mask', 'seen': 'seen at some time', 'unmasked': 'no mask'}

    def row(title: str, pick: Callable[[Mapping[str, Any]], Any]) -> tuple[str, list[Any]]:
        return title, [pick(scores[way]) for way in WAYS]

    rows = []
    for mask in MASKS:
        rows.append(row(f'IoU, {titles[mask]}', lambda s, m=mask: s[m]['iou']))
        rows.append(row(f'mIoU, {titles[mask]}', lambda s, m=mask: s[m]['miou']))
    rows.append(row('static flicker', lambda s: s['flicker']))
    for where, title in (('in_view', 'in view'), ('out_of_view', 'out of view')):
        for n, later in enumerate(LATER):
            name = f'ghosts {title} after {later:g} s'
            rows.append(row(name, lambda s, w=where, n=n: s['ghosts'][w][n]))
    rows.append(row('moving voxels found', lambda s: s['moving_found']))
    for name in scores['single']['per_class']:
        rows.append(row(name, lambda s, n=name: s['per_class'][n]))
    return Table.of(WAYS, rows)


def summary(scores: Mapping[str, Any]) -> str:
    """What was scored, in a line."""
    return (
        f'{scores["frames"]} frames of {len(scores["drives"])} drives in {scores["seconds"]:.0f} '
        f's; percent; depth: {scores["depth"]}; IoU of the last quarter of each drive'
    )


def report_settings(scores: Mapping[str, Any]) -> dict[str, Any]:
    """What a report says about how drives were scored."""
    kept = ('vocabulary', 'depth', 'labels', 'resolution', 'seconds')
    return {
        **{f'memory.{key}': value for key, value in scores['settings'].items()},
        **{key: scores[key] for key in kept},
        'drives': len(scores['drives']),
    }
