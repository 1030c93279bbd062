"""What gausstr-evaluate is given in tests: small streets, tiny weights, trees of label files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from gausstr_core.contracts import VoxelGrid
from gausstr_core.transformer.build import build
from gausstr_core.weights import save_weights
from gausstr_training import synthesize
from gausstr_training.evaluation.occ3d.label_files import FREE

THRESHOLDS = {'gaussians': 0.3, 'untrained': 0.35, 'lift': 0.5, 'lift_strong': 1.5}


def write_streets(folder: Path) -> Path:
    """Two streets of one frame with truth, street_000500 and street_000501."""
    size = ['--size', '224x126', '--frames', '1']
    synthesize.main(['--seed', '500', '--streets', '2', '--output', str(folder), *size])
    return folder


def write_weights(path: Path, validation: int = 501, thresholds: dict | None = None) -> Path:
    """Tiny weights with a card, whose thresholds were chosen on one street."""
    save_weights(build('tiny'), path, 'tiny')
    card = {
        'training_seeds': [0, 99],
        'validation_seeds': [validation, validation],
        'thresholds': thresholds or THRESHOLDS,
    }
    path.with_suffix('.json').write_text(json.dumps(card))
    return path


def label_arrays(seed: int, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """A label file of Occ3D with a tenth of the voxels occupied at random."""
    random = np.random.default_rng(seed)
    labels = np.where(random.random(shape) < 0.9, FREE, random.integers(0, FREE, shape))
    labels[102:103, 100:101, 7:8] = FREE  # where the rays start in the grid of Occ3D
    masks = {f'mask_{n}': random.random(shape) < 0.5 for n in ('camera', 'lidar')}
    return {'semantics': labels.astype(np.uint8), **masks}


def write_label_trees(folder: Path) -> tuple[Path, Path]:
    """Truth and predictions of s1/a, s1/b and s2/c; nothing is predicted in the first."""
    truth, predictions = folder / 'gts', folder / 'predictions'
    for index, (scene, token) in enumerate((('s1', 'a'), ('s1', 'b'), ('s2', 'c'))):
        arrays = label_arrays(index, VoxelGrid().shape)
        for root in (truth, predictions):
            (root / scene / token).mkdir(parents=True)
        np.savez_compressed(truth / scene / token / 'labels.npz', **arrays)
        said = arrays['semantics'] if index else np.full_like(arrays['semantics'], FREE)
        np.savez_compressed(predictions / scene / token / 'labels.npz', semantics=said)
    return truth, predictions
