"""Our version of the voxel arrays: density, features, merged probabilities, labels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gausstr_core.voxels.released import released_voxels
from gausstr_core.voxels.released_labels import released_labels, released_owners
from gausstr_training.verification.case import Case

INPUTS = tuple(
    f'voxelizer.in.{name}' for name in ('means3d', 'opacities', 'features', 'covariances')
)


def voxel_arrays(case: Case, gaussians: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All arrays after the Gaussians of `INPUTS`, ours or recorded ones, scene by scene.

    Raises:
        ValueError: the checkpoint has not one text prototype per released prompt.
    """
    owners = released_owners()
    prompts = gaussians['voxelizer.in.features'].shape[-1]
    if prompts != len(owners):
        raise ValueError(
            f'{case.name}: the released labels need {len(owners)} prompts, got {prompts}'
        )
    scenes = [_scene(case, gaussians, scene, owners) for scene in range(case.scenes)]
    return {name: torch.stack([scene[name] for scene in scenes]) for name in scenes[0]}


def _scene(
    case: Case, gaussians: Mapping[str, Tensor], scene: int, owners: Tensor
) -> dict[str, Tensor]:
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
    labels, merged = released_labels(density, features, owners)
    return {
        'voxelizer.density': density[..., None],
        'voxelizer.feats': features,
        'voxelizer.kept_mask': kept,
        'merged_probs': merged,
        'preds': labels,
    }
