"""The scores of Occ3D-nuScenes and RayIoU, from folders of label files.

Truth lies in `<scene>/<token>/labels.npz` with `semantics` uint8 [200, 200, 16] and the masks
`mask_lidar` and `mask_camera`; predictions in the same tree, `labels.npz` with `semantics`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
import torch.distributed
from torch import Tensor
from tqdm import tqdm

from gausstr_core.contracts import VoxelGrid
from gausstr_core.process.reasons import reason
from gausstr_training.evaluation.occ3d.raycast import first_hits, lidar_directions
from gausstr_training.evaluation.reports.table import Table
from gausstr_training.evaluation.tally import Scores, confusion_of

CLASSES = (
    'others', 'barrier', 'bicycle', 'bus', 'car', 'construction_vehicle', 'motorcycle',
    'pedestrian', 'traffic_cone', 'trailer', 'truck', 'driveable_surface', 'other_flat',
    'sidewalk', 'terrain', 'manmade', 'vegetation',
)  # fmt: skip
FREE = len(CLASSES)
MASKS = ('camera', 'camera_and_lidar', 'none')
DEPTH_ERRORS = (1.0, 2.0, 4.0)  # metres
LIDAR = (0.9858, 0.0, 1.8402)  # metres, ego frame: of nuScenes, as SparseOcc's ray_metrics has it
FILE = 'labels.npz'


@dataclass(frozen=True)
class Truth:
    """One labelled frame."""

    semantics: np.ndarray  # [X, Y, Z] uint8, FREE where nothing is
    masks: dict[str, np.ndarray]  # of MASKS: bool [X, Y, Z]
    origins: np.ndarray  # [N, 3] metres, ego frame: where rays start


class VoxelTally:
    """A confusion matrix [18, 18], rows truth, columns prediction; summed over frames."""

    def __init__(self) -> None:
        self.counts = torch.zeros(FREE + 1, FREE + 1, dtype=torch.int64)

    def add(self, predicted: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> None:
        """Count the voxels of a frame where the mask is true; all of one shape."""
        self.counts += confusion_of(predicted, truth, mask, FREE)

    def scores(self) -> Scores:
        """Percent; a class that never occurs is no part of the mean."""
        return Scores.of(self.counts, CLASSES)


class RayTally:
    """Rays per class: true, predicted, and hit within each of DEPTH_ERRORS.

    Rays that hit nothing in the truth do not count.
    """

    def __init__(self) -> None:
        self.counts = torch.zeros(2 + len(DEPTH_ERRORS), FREE, dtype=torch.int64)

    def add(
        self,
        predicted: tuple[np.ndarray, np.ndarray],
        truth: tuple[np.ndarray, np.ndarray],
    ) -> None:
        """Count rays; both are labels and distances of `first_hits`."""
        valid = truth[0] != FREE
        said, true = predicted[0][valid], truth[0][valid]
        error = np.abs(predicted[1][valid] - truth[1][valid])
        right = said == true
        groups = [true, said, *(true[right & (error < limit)] for limit in DEPTH_ERRORS)]
        for row, labels in zip(self.counts, groups, strict=True):
            row += torch.from_numpy(np.bincount(labels, minlength=FREE + 1)[:FREE])

    def scores(self) -> dict[str, float]:
        """Percent per depth error, and their mean: mean IoU over the classes that occur."""
        true, said, *hits = self.counts.double()
        found = {
            f'{limit:g}m': float(100 * (hit / (true + said - hit)).nanmean())
            for limit, hit in zip(DEPTH_ERRORS, hits, strict=True)
        }
        return {**found, 'mean': sum(found.values()) / len(found)}


class Occ3DTally:
    """All counts of one evaluation. A new evaluation takes a new one.

    Several processes each add their own frames; `gather` then sums their counts, so that every
    process has the scores of all frames.
    """

    def __init__(self, grid: VoxelGrid | None = None) -> None:
        self.grid = grid or VoxelGrid()
        self.directions = lidar_directions()
        self.voxels = {name: VoxelTally() for name in MASKS}
        self.rays = RayTally()
        self.frames = torch.zeros(1, dtype=torch.int64)

    def add(self, predicted: np.ndarray, truth: Truth) -> None:
        """Count one frame; `predicted` is uint8 [X, Y, Z] labels 0..17 of the truth's shape."""
        for name, tally in self.voxels.items():
            tally.add(predicted, truth.semantics, truth.masks[name])
        cast = (self.grid, truth.origins, self.directions, FREE)
        self.rays.add(first_hits(predicted, *cast), first_hits(truth.semantics, *cast))
        self.frames += 1

    def gather(self) -> None:
        """Sum over the processes of torch.distributed, if it is initialised; call it once."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            for counts in self._counts():
                torch.distributed.all_reduce(counts)

    def _counts(self) -> list[Tensor]:
        return [*(t.counts for t in self.voxels.values()), self.rays.counts, self.frames]

    def document(self) -> dict[str, Any]:
        """The scores as JSON-ready values, percent; null for what does not occur."""
        rays = {k: None if math.isnan(v) else round(v, 3) for k, v in self.rays.scores().items()}
        masks = {name: tally.scores().as_json() for name, tally in self.voxels.items()}
        return {'masks': masks, 'ray_iou': rays, 'frames': int(self.frames)}


def truth_files(folder: Path, only: Sequence[str] | None = None) -> list[Path]:
    """The label files of a tree, in the order of their names.

    Args:
        folder: the tree.
        only: these of its files, by their paths in it; None: all.

    Raises:
        ValueError: there is none, or one of those named is absent.
    """
    if only is not None:
        absent = [name for name in only if not (folder / name).is_file()]
        if absent:
            raise ValueError(
                f'{folder}: no truth for {len(absent)} of {len(only)} keyframes, such as '
                f'{absent[0]}'
            )
        return [folder / name for name in sorted(only)]
    files = sorted(folder.glob(f'*/*/{FILE}'))
    if not files:
        raise ValueError(f'expected truth in {folder}/<scene>/<token>/{FILE}, found none')
    return files


def frame_name(file: Path) -> str:
    """<scene>/<token> of a label file."""
    return f'{file.parts[-3]}/{file.parts[-2]}'


def score_folders(
    truth: Path,
    predictions: Path,
    *,
    only: Sequence[str] | None = None,
    rank: int = 0,
    world: int = 1,
    watch: Callable[[str, np.ndarray, Truth], None] | None = None,
) -> Occ3DTally:
    """Score the frames of `truth`; process `rank` of `world` takes every world-th one.

    `only` is as of `truth_files`. `watch` is called with the name, the prediction and the truth
    of each.

    Raises:
        ValueError: there is no truth, a prediction is missing, or a file is not of the form.
    """
    files = truth_files(truth, only)
    tally = Occ3DTally()
    for file in tqdm(files[rank::world], desc='frames', unit='frame', disable=rank > 0):
        labelled = read_truth(file, tally.grid)
        predicted = read_prediction(predictions / file.relative_to(truth), tally.grid)
        tally.add(predicted, labelled)
        if watch is not None:
            watch(frame_name(file), predicted, labelled)
    tally.gather()
    return tally


def read_truth(path: Path, grid: VoxelGrid) -> Truth:
    """Read a label file of Occ3D.

    A further array `ray_origins` [N, 3] says where rays start, in metres in the ego frame: the
    definition casts from up to eight places of the sensor along the drive, which these files do
    not hold. Without it rays start at the lidar of this frame only.

    Raises:
        ValueError: the file cannot be read or an array is missing or of another shape.
    """
    arrays = _read(path, ('semantics', 'mask_lidar', 'mask_camera'), grid)
    camera, lidar = arrays['mask_camera'].astype(bool), arrays['mask_lidar'].astype(bool)
    origins = np.asarray(arrays.get('ray_origins', np.array([LIDAR])), dtype=np.float64)
    if origins.ndim != 2 or origins.shape[1] != 3:
        raise ValueError(f'{path}: ray_origins must be [N, 3], got {origins.shape}')
    masks = {
        'camera': camera, 'camera_and_lidar': camera & lidar, 'none': np.ones_like(camera),
    }  # fmt: skip
    return Truth(arrays['semantics'], masks, origins)


def read_prediction(path: Path, grid: VoxelGrid) -> np.ndarray:
    """Read uint8 [X, Y, Z] labels 0..17.

    Raises:
        ValueError: the file cannot be read, or `semantics` is not of that form.
    """
    return _read(path, ('semantics',), grid)['semantics']


def _read(path: Path, needed: Sequence[str], grid: VoxelGrid) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, BadZipFile) as error:
        raise ValueError(f'{path} cannot be read as npz: {reason(error)}') from None
    for name in needed:
        if name not in arrays or arrays[name].shape != grid.shape:
            found = arrays[name].shape if name in arrays else 'nothing'
            raise ValueError(f'{path}: expected {name} of shape {grid.shape}, got {found}')
    labels = arrays['semantics']
    if labels.dtype != np.uint8 or labels.max() > FREE:
        raise ValueError(
            f'{path}: semantics must be uint8 labels 0..{FREE}, '
            f'got {labels.dtype} up to {labels.max()}'
        )
    return arrays


def table(scores: Mapping[str, Any]) -> Table:
    """A table of a `document`: one row per class, one column per mask, RayIoU below."""
    columns = scores['masks']
    totals = [
        (title, [c[key] for c in columns.values()])
        for title, key in (('IoU', 'iou'), ('mIoU', 'miou'))
    ]
    classes = [(name, [c['per_class'][name] for c in columns.values()]) for name in CLASSES]
    rays = [(f'RayIoU {key}', [value]) for key, value in scores['ray_iou'].items()]
    return Table.of(columns, [*totals, *classes, *rays], digits=2)


def overall(scores: Mapping[str, Any]) -> dict[str, float | None]:
    """The figures of a `document` that runs are compared by, percent."""
    masks, rays = scores['masks'], scores['ray_iou']
    return {
        'IoU': masks['camera']['iou'],
        'mIoU': masks['camera']['miou'],
        'RayIoU': rays['mean'],
        **{f'RayIoU, {key}': value for key, value in rays.items() if key != 'mean'},
        'IoU, camera and lidar mask': masks['camera_and_lidar']['iou'],
        'mIoU, camera and lidar mask': masks['camera_and_lidar']['miou'],
        'IoU, no mask': masks['none']['iou'],
        'mIoU, no mask': masks['none']['miou'],
    }
