"""What Gaussians should look like: splatted back into the images, and in the map."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import Gaussians, VoxelGrid
from gausstr_core.vocabulary.text_encoder import TEMPERATURE
from gausstr_training.compact.batch import Batch, thinned
from gausstr_training.compact.draws import Sample
from gausstr_training.compact.planar_depth import splat_surfaces
from gausstr_training.compact.teacher import RendererTeacher
from gausstr_training.engine.pictures import depth_picture, feature_picture
from gausstr_training.losses.carving import carve, carving_loss
from gausstr_training.losses.paper import depth_loss, feature_loss, principal_directions
from gausstr_training.losses.temporal import seen_from
from gausstr_training.recipes import CompactRecipe
from gausstr_training.streets.classes import SKY, TERRAIN

GROUND = TERRAIN + 1  # classes 0, 1 and 2: road, sidewalk, terrain


@dataclass(frozen=True)
class Targets:
    """What the splatted images of a rig should show."""

    features: Tensor  # [N, D, h, w] along the basis
    basis: Tensor  # [C, D] principal directions of the rig's features
    depth: Tensor  # [N, h, w] metres; 0 where nothing is asked
    seen: Tensor | None = None  # bool [N, h, w] pixels that count; None: all


class Agreement:
    """Losses of the splatted images, summed over the layers, and of the last layer's map.

    Args:
        teacher: on the device of the Gaussians.
        class_weights: [classes] likewise.
        recipe: sizes and weights.
        blur: metres, of the map, see `voxels.voxelise`.
    """

    def __init__(
        self,
        teacher: RendererTeacher,
        class_weights: Tensor,
        recipe: CompactRecipe,
        blur: float,
    ) -> None:
        self._teacher, self._class_weights, self._recipe = teacher, class_weights, recipe
        self._blur = blur
        self._grid = VoxelGrid()

    def __call__(self, layers: list[Gaussians], sample: Sample) -> tuple[Tensor, dict[str, float]]:
        """The loss and its parts by name."""
        recipe, own, basis = self._recipe, sample.batch.rig, self._basis(sample)
        targets = self._targets(sample.batch, sample.words, basis)
        near = [(batch.rig, self._near(batch, sample, basis)) for batch in sample.near]
        total, parts = basis.new_zeros(()), dict[str, float]()
        for index, gaussians in enumerate(layers):
            aligned, distance = self._seen(gaussians, own, own, targets)
            total = total + recipe.feature_weight * aligned + distance
            parts[f'cosine/{index}'], parts[f'depth/{index}'] = aligned.item(), distance.item()
            for rig, wanted in near:
                aligned, distance = self._seen(gaussians, own, rig, wanted)
                apart = recipe.feature_weight * aligned + distance
                total = total + recipe.temporal_weight * apart
        if recipe.map_weight or recipe.class_weight:
            classes, occupied = self._map(layers[-1], sample)
            parts['classes'], parts['map'] = classes.item(), occupied.item()
            total = total + recipe.class_weight * classes + recipe.map_weight * occupied
        return total, parts

    def pictures(self, gaussians: Gaussians, sample: Sample) -> dict[str, Tensor]:
        """What Gaussians show, above what they should show."""
        own, basis = sample.batch.rig, self._basis(sample)
        targets = self._targets(sample.batch, sample.words, basis)
        features, surface, _ = self._splatted(gaussians, own, own, basis)
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
        return carving_loss(gaussians.select(solid), shares, carving, self._grid, self._blur)

    def _seen(
        self, gaussians: Gaussians, own: CameraRig, rig: CameraRig, targets: Targets
    ) -> tuple[Tensor, Tensor]:
        """Feature and depth loss in the cameras of `rig`."""
        features, surface, alpha = self._splatted(gaussians, own, rig, targets.basis)
        counts = torch.ones_like(alpha) if targets.seen is None else targets.seen.float()
        # neither cosine nor surface depth sees how opaque a pixel is
        holes = ((1 - alpha) * counts).sum() / counts.sum().clamp_min(1)
        return (
            feature_loss(features, targets.features, targets.seen),
            depth_loss(surface, targets.depth) + holes,
        )

    def _basis(self, sample: Sample) -> Tensor:
        """[C, D] principal directions of the features that the rig should show."""
        words, (height, width) = sample.words, self._recipe.rendering
        semantics = thinned(sample.batch.semantics, height, width)
        classes = words.shape[1]
        pixels = torch.stack([torch.bincount(m.flatten(), minlength=classes) for m in semantics])
        dims = self._recipe.reduced_dims
        return principal_directions(words.flatten(0, 1), pixels.flatten(), dims)

    def _targets(self, batch: Batch, words: Tensor, basis: Tensor) -> Targets:
        height, width = self._recipe.rendering
        depth = thinned(batch.depth, height, width)
        depth = torch.where(depth < self._recipe.depth_limit, depth, 0.0)
        return Targets(self._teacher.painted(batch, words @ basis, height, width), basis, depth)

    def _near(self, batch: Batch, sample: Sample, basis: Tensor) -> Targets:
        """Of a neighbouring frame: only what this one sees at the same place."""
        height, width = self._recipe.rendering
        targets = self._targets(batch, sample.words, basis)
        own = sample.batch
        limit = self._recipe.depth_limit
        depth = torch.where(own.depth > 0, own.depth, torch.inf)  # the sky is beyond any limit
        there = thinned(torch.where(batch.depth > 0, batch.depth, torch.inf), height, width)
        seen = seen_from(there, batch.rig.resized(height, width), depth, own.rig, limit)
        depth = torch.where(seen, targets.depth, 0.0)
        return replace(targets, depth=depth, seen=seen)

    def _splatted(
        self, gaussians: Gaussians, own: CameraRig, rig: CameraRig, basis: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features, depth and alpha in `rig`; `own` are the cameras that the Gaussians are of."""
        reduced = replace(gaussians, features=gaussians.features @ basis)
        return splat_surfaces(reduced, rig, *self._recipe.rendering, seen_by=own)
