"""Voxel features of the released voxelisers -> labels of Occ3D, as the checkpoints were scored.

The features are already averages of class probabilities; a second softmax follows, so the merged
numbers are nearly flat and mean nothing as confidence (use `voxels.label` for that). A prompt that
nothing in the scene is sure of is struck out of the whole scene ("prompt denoising").
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gausstr_core.vocabulary.text_encoder import CONFIG
from gausstr_core.vocabulary.vocabulary import Category, read_categories

RELEASED_VOCABULARY = CONFIG / 'vocabulary_released.yaml'
FREE = 17  # of Occ3D; what is sky or empty
# the Occ3D label of each category: "others" (0) and "other flat" (12) are never predicted
LABELS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16, FREE)
SHARPNESS = 100.0  # of the softmax that asks whether a voxel is sure of a prompt
SURE = 0.1  # what that softmax must reach somewhere in the scene
OCCUPIED = 0.04  # density above which a voxel is not free


def prompt_owners(categories: Sequence[Category]) -> Tensor:
    """[K] int64: which category each of the K prompts belongs to, prompts in order."""
    return torch.tensor([n for n, c in enumerate(categories) for _ in c.prompts])


def released_owners() -> Tensor:
    """[21] int64: the owners of the prompts of the released checkpoints."""
    return prompt_owners(read_categories(RELEASED_VOCABULARY))


@torch.no_grad()
def surviving_prompts(features: Tensor) -> Tensor:
    """Which prompts, bool [K], some voxel of one scene is sure of.

    Args:
        features: [..., K], all voxels of one scene.
    """
    sharp = torch.softmax(SHARPNESS * features, dim=-1)
    return sharp.flatten(0, -2).amax(0) >= SURE


@torch.no_grad()
def denoised_probabilities(features: Tensor) -> Tensor:
    """Softmax of one scene's features [..., K], 0 for the prompts that do not survive."""
    return torch.softmax(features, dim=-1) * surviving_prompts(features)


@torch.no_grad()
def merged_probabilities(probabilities: Tensor, owners: Tensor) -> Tensor:
    """The best prompt of each category: [..., K] -> [..., M], M = owners.max() + 1."""
    categories = int(owners.max()) + 1
    merged = probabilities.new_zeros(*probabilities.shape[:-1], categories)
    index = owners.to(probabilities.device).expand_as(probabilities)
    return merged.scatter_reduce(-1, index, probabilities, 'amax')


@torch.no_grad()
def released_labels(
    density: Tensor,
    features: Tensor,
    owners: Tensor,
    *,
    labels: Sequence[int] = LABELS,
    free: int = FREE,
    occupied_threshold: float = OCCUPIED,
    backend: str = 'auto',
) -> tuple[Tensor, Tensor]:
    """Label one scene.

    Args:
        density: [X, Y, Z] of a released voxeliser.
        features: [X, Y, Z, K] of the same.
        owners: [K] category 0..M-1 of each prompt.
        labels: the label 0..255 of each of the M categories; `free` for the sky.
        free: the label of voxels that hold nothing.
        occupied_threshold: density above which a voxel is not free.
        backend: 'reference' (torch, any device), 'fast' (numba, CPU) or 'auto', by device.

    Returns:
        uint8 labels [X, Y, Z], and the merged probabilities [X, Y, Z, M] they were chosen from.

    Raises:
        ValueError: shapes disagree, or the backend cannot do it.
    """
    _check(density, features, owners, labels)
    on_cpu = density.device.type == 'cpu'
    if backend == 'auto':
        backend = 'fast' if on_cpu else 'reference'
    if backend not in ('reference', 'fast') or (backend == 'fast' and not on_cpu):
        raise ValueError(
            "backend must be 'auto', 'reference' or, on the CPU, 'fast', "
            f'got {backend!r} for a tensor on {density.device}'
        )
    if backend == 'fast':
        from gausstr_core.voxels import released_labels_fast

        return released_labels_fast.label(
            density, features, owners, labels, free, occupied_threshold
        )
    merged = merged_probabilities(denoised_probabilities(features), owners)
    table = torch.tensor(labels, dtype=torch.uint8, device=density.device)
    chosen = table[merged.argmax(-1)]
    return torch.where(density > occupied_threshold, chosen, free), merged


def _check(density: Tensor, features: Tensor, owners: Tensor, labels: Sequence[int]) -> None:
    if features.dim() != 4 or density.shape != features.shape[:-1]:
        raise ValueError(
            'released labels need density [X, Y, Z] and features [X, Y, Z, K], got '
            f'{tuple(density.shape)} and {tuple(features.shape)}'
        )
    if owners.shape != features.shape[-1:]:
        raise ValueError(
            f'expected an owner for each of the {features.shape[-1]} prompts, '
            f'got {tuple(owners.shape)}'
        )
    if len(owners) == 0 or int(owners.min()) < 0 or int(owners.max()) + 1 != len(labels):
        raise ValueError(
            f'owners of prompts must be categories 0..{len(labels) - 1} with a label each, '
            f'got {owners.tolist()}'
        )
