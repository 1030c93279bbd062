"""The keyframes of bags through a pipeline into label files, to be scored as Occ3D is."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from gausstr_core.contracts import Occupancy
from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.vocabulary.vocabulary import Vocabulary
from gausstr_training.bags.dataset import BagDataset
from gausstr_training.bags.frame import BagFrame
from gausstr_training.bags.sets import BagSettings
from gausstr_training.evaluation.occ3d.label_files import CLASSES, FILE, FREE, frame_name
from gausstr_training.evaluation.reports.report import write_json

PREDICTOR = 'predictor.json'  # in a folder of predictions: the model that made them

# our finer words for what Occ3D calls otherwise
OCC3D_NAMES = {'road': 'driveable_surface', 'building': 'manmade', 'pole': 'manmade'}


class Keyframes:
    """The keyframes of bags, and where each one's labels lie below a folder.

    A scene is called after its bag, as gausstr-nuscenes-to-rosbag names them.

    Args:
        bags: bags, or folders of bags.

    Raises:
        ValueError: the bags name no keyframes, or as `BagDataset`.
    """

    def __init__(self, bags: Sequence[Path]) -> None:
        self.frames = BagDataset(bags, BagSettings(keyframes_only=True))
        self.files = [
            Path(key).parent.name + f'/{token}/{FILE}'
            for key, token in zip(self.frames.keys, self.frames.tokens, strict=True)
        ]

    def missing(self, truth: Path) -> dict[str, str]:
        """Labelled keyframes that have no frame, by <scene>/<token>, and why, in their order.

        Those are the ones that a bag names without having all of their images and poses, and
        those with labels in `truth` that the bag of their scene does not name.
        """
        lost = self.frames.lost.items()
        found = {f'{Path(bag).name}/{token}': why for (bag, token), why in lost}
        known = {*found, *(frame_name(truth / file) for file in self.files)}
        for scene in {Path(bag.name).name for bag in self.frames.bags}:
            named = map(frame_name, truth.glob(f'{glob.escape(scene)}/*/{FILE}'))
            found |= dict.fromkeys(set(named) - known, 'its bag does not name it')
        return dict(sorted(found.items()))


def predict(
    pipeline: OccupancyPipeline,
    keyframes: Keyframes,
    output: Path,
    about: Mapping[str, Any],
    rank: int = 0,
    ranks: int = 1,
) -> int:
    """Write `<scene>/<token>/labels.npz` for every keyframe that has none yet.

    Args:
        pipeline: makes the labels; on the grid of Occ3D.
        keyframes: of which frames.
        output: gets the files, each written aside, then renamed.
        about: the model, as JSON: the folder remembers it, so that no file of another one is
            taken for its own.
        rank, ranks: of processes that share the keyframes.

    Returns:
        How many files this process wrote.

    Raises:
        ValueError: the folder holds labels of another model, or as `occ3d_labels`.
    """
    _claim(output, about, first=rank == 0)
    frames, vocabulary = keyframes.frames, pipeline.load_vocabulary()
    wanted = occ3d_labels(vocabulary)
    written = 0
    for index in tqdm(range(rank, len(frames), ranks), desc='keyframes', disable=rank > 0):
        path = output / keyframes.files[index]
        if path.exists():
            continue
        _write(_labels_of(frames[index], pipeline, vocabulary, wanted), path)
        written += 1
    return written


def _claim(output: Path, about: Mapping[str, Any], *, first: bool) -> None:
    """Note whose labels the folder holds, or raise ValueError where they are of another model."""
    note = output / PREDICTOR
    try:
        held = json.loads(note.read_text(encoding='utf-8-sig')) if note.exists() else None
    except ValueError as error:
        raise ValueError(f'{note} cannot be read as JSON: {error}') from error
    if held is None and first:
        if next(output.glob(f'*/*/{FILE}'), None) is not None:
            raise ValueError(
                f'{output} holds labels of a model that is not known ({PREDICTOR} is absent): '
                'score them without --bags, or give another --predictions'
            )
        write_json(note, about)
    elif held is not None and held != about:
        raise ValueError(
            f'{output} holds labels of {json.dumps(held)}, not of {json.dumps(about)}: give '
            'another --predictions'
        )


def occ3d_labels(vocabulary: Vocabulary) -> NDArray[np.uint8]:
    """[K + 1] the Occ3D class of each category; last, for label -1, FREE.

    Raises:
        ValueError: a category is none of Occ3D's.
    """
    found = []
    for column, name in enumerate(vocabulary.names):
        plain = name.replace(' ', '_')
        if column in vocabulary.sky_columns:
            found.append(FREE)
            continue
        own = OCC3D_NAMES.get(plain, plain)
        if own not in CLASSES:
            raise ValueError(f'category {name!r} is no class of Occ3D: {", ".join(CLASSES)}')
        found.append(CLASSES.index(own))
    return np.array([*found, FREE], np.uint8)


def _labels_of(
    frame: BagFrame,
    pipeline: OccupancyPipeline,
    vocabulary: Vocabulary,
    wanted: NDArray[np.uint8],
) -> Mapping[str, NDArray[np.uint8]]:
    occupancy: Occupancy = pipeline.run(frame.images, frame.rig, vocabulary).occupancy
    return {'semantics': wanted[occupancy.labels.to(torch.int64).cpu().numpy()]}


def _write(arrays: Mapping[str, NDArray[np.uint8]], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f'.{path.name}.{os.getpid()}.part')
    with aside.open('wb') as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    os.replace(aside, path)
