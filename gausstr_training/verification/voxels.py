"""Our version of the voxel arrays: density, features, merged probabilities, labels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gausstr_core.voxels.released import released_voxels
from gausstr_training.verification.case import Case

# The 21 prompts of the released model in order, as 16 classes: terrain and manmade have several.
GROUPS = (1,) * 12 + (2, 5, 1, 1)
SHARPNESS, LEAST_CONFIDENCE = 100.0, 0.1
LEAST_DENSITY = 0.04
FREE = 17
BEFORE_OTHER_FLAT = 10  # the class after it has no prompt, so that later labels move up by one


INPUTS = tuple(
    f'voxelizer.in.{name}' for name in ('means3d', 'opacities', 'features', 'covariances')
)


def voxel_arrays(case: Case, gaussians: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All arrays after the Gaussians of `INPUTS`, ours or recorded ones, scene by scene.

    Raises:
        ValueError: the checkpoint has not one text prototype per released prompt.
    """
    prompts = gaussians['voxelizer.in.features'].shape[-1]
    if prompts != sum(GROUPS):
        raise ValueError(
            f'{case.name}: the released labels need {sum(GROUPS)} prompts, got {prompts}'
        )
    scenes = [_scene(case, gaussians, scene) for scene in range(case.scenes)]
    return {name: torch.stack([scene[name] for scene in scenes]) for name in scenes[0]}


def _scene(case: Case, gaussians: Mapping[str, Tensor], scene: int) -> dict[str, Tensor]:
    means, opacities, probabilities, covariances = (
        gaussians[name][scene].to(case.maps.depth) for name in INPUTS
    )
    density, features, kept = released_voxels(
        means,
        opacities[:, 0],
        probabilities,
        covariances,
        case.grid,
        opacity_threshold=case.opacity_threshold,
        covariance_threshold=case.covariance_threshold,
    )
    merged = denoised_and_merged(features)
    return {
        'voxelizer.density': density[..., None],
        'voxelizer.feats': features,
        'voxelizer.kept_mask': kept,
        'merged_probs': merged,
        'preds': labels(merged, density),
    }


def denoised_and_merged(features: Tensor) -> Tensor:
    """Class probabilities [X, Y, Z, 16] of voxel features [X, Y, Z, 21] of one scene.

    A prompt that is nowhere in the scene confident is silenced; a class is its best prompt.
    """
    best = (SHARPNESS * features).softmax(-1).flatten(0, -2).amax(0)
    shown = features.softmax(-1) * (best >= LEAST_CONFIDENCE)
    return torch.stack([part.amax(-1) for part in shown.split(GROUPS, dim=-1)], dim=-1)


def labels(merged: Tensor, density: Tensor) -> Tensor:
    """Occ3D labels [X, Y, Z] of class probabilities [X, Y, Z, 16]; sky and thin air are free."""
    best = merged.argmax(-1)
    named = best + 1 + (best > BEFORE_OTHER_FLAT)
    return named.masked_fill(density <= LEAST_DENSITY, FREE)
