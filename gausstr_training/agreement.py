"""What Gaussians should look like: splatted back into the images, and in the map."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gausstr_core.contracts import Gaussians, VoxelGrid
from gausstr_core.rig import CameraRig
from gausstr_core.rules import CalibratedRule
from gausstr_core.vocabulary import TEMPERATURE
from gausstr_training.carving import carve, carving_loss
from gausstr_training.draws import Sample
from gausstr_training.losses import depth_loss, feature_loss, principal_directions
from gausstr_training.pictures import depth_picture, feature_picture
from gausstr_training.planar_depth import splat_surfaces
from gausstr_training.recipes import CompactRecipe
from gausstr_training.streets.classes import SKY, TERRAIN
from gausstr_training.teacher import RendererTeacher, thinned

GROUND = TERRAIN + 1  # classes 0, 1 and 2: road, sidewalk, terrain


@dataclass(frozen=True)
class Targets:
    """What the splatted images of a rig should show."""

    features: Tensor  # [N, D, h, w] along the basis
    basis: Tensor  # [C, D] principal directions of the rig's features
    depth: Tensor  # [N, h, w] metres; 0 where nothing is asked


class Agreement:
    """Losses of the splatted images, summed over the layers, and of the last layer's map.

    Args:
        teacher: on the device of the Gaussians.
        class_weights: [classes] likewise.
        recipe: sizes and weights.
    """

    def __init__(
        self, teacher: RendererTeacher, class_weights: Tensor, recipe: CompactRecipe
    ) -> None:
        self._teacher, self._class_weights, self._recipe = teacher, class_weights, recipe
        self._grid = VoxelGrid()

    def __call__(self, layers: list[Gaussians], sample: Sample) -> tuple[Tensor, dict[str, float]]:
        """The loss and its parts by name."""
        recipe, rig, targets = self._recipe, sample.batch.rig, self._targets(sample)
        total, parts = targets.basis.new_zeros(()), dict[str, float]()
        for index, gaussians in enumerate(layers):
            features, surface, alpha = self._splatted(gaussians, rig, targets.basis)
            aligned = feature_loss(features, targets.features)
            # neither cosine nor surface depth sees how opaque a pixel is
            distance = depth_loss(surface, targets.depth) + (1 - alpha).mean()
            total = total + recipe.feature_weight * aligned + distance
            parts[f'cosine/{index}'], parts[f'depth/{index}'] = aligned.item(), distance.item()
        if recipe.map_weight or recipe.class_weight:
            classes, occupied = self._map(layers[-1], sample)
            parts['classes'], parts['map'] = classes.item(), occupied.item()
            total = total + recipe.class_weight * classes + recipe.map_weight * occupied
        return total, parts

    def pictures(self, gaussians: Gaussians, sample: Sample) -> dict[str, Tensor]:
        """What Gaussians show, above what they should show."""
        targets = self._targets(sample)
        features, surface, _ = self._splatted(gaussians, sample.batch.rig, targets.basis)
        return {
            'features': feature_picture(features, targets.features),
            'depth': depth_picture(surface, targets.depth, self._recipe.depth_limit),
        }

    def _map(self, gaussians: Gaussians, sample: Sample) -> tuple[Tensor, Tensor]:
        batch, weights = sample.batch, self._class_weights[:SKY]
        carving = carve(batch.depth, batch.semantics, weights, batch.rig, self._grid, GROUND)
        probabilities = self._teacher.probabilities(gaussians.features, TEMPERATURE)
        solid = probabilities.argmax(-1) != SKY
        shares = probabilities[solid][:, :SKY]
        shares = shares / shares.sum(-1, keepdim=True)
        blur = CalibratedRule().blur
        return carving_loss(gaussians.select(solid), shares, carving, self._grid, blur)

    def _targets(self, sample: Sample) -> Targets:
        height, width = self._recipe.rendering
        semantics, words = thinned(sample.batch.semantics, height, width), sample.words
        classes = words.shape[1]
        pixels = torch.stack([torch.bincount(m.flatten(), minlength=classes) for m in semantics])
        basis = principal_directions(
            words.flatten(0, 1), pixels.flatten(), self._recipe.reduced_dims
        )
        depth = thinned(sample.batch.depth, height, width)
        depth = torch.where(depth < self._recipe.depth_limit, depth, 0.0)
        return Targets(self._teacher.paint(semantics, words @ basis), basis, depth)

    def _splatted(
        self, gaussians: Gaussians, rig: CameraRig, basis: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        reduced = replace(gaussians, features=gaussians.features @ basis)
        return splat_surfaces(reduced, rig, *self._recipe.rendering)
