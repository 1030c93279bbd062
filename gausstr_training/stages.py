"""The two stages of a run: what one step computes. The loop is in trainer.py."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gausstr_core.contracts import FoundationMaps, Gaussians, VoxelGrid
from gausstr_core.rig import CameraRig
from gausstr_core.rules import CalibratedRule
from gausstr_core.transformer.build import GaussTR
from gausstr_core.vocabulary import TEMPERATURE as TEMPERATURE_OF_WORDS
from gausstr_training.carving import carve, carving_loss
from gausstr_training.frames import Batch, FrameStore, balanced_weights
from gausstr_training.losses import (
    depth_loss,
    feature_loss,
    log_depth_loss,
    principal_directions,
)
from gausstr_training.planar_depth import splat_surfaces
from gausstr_training.recipes import Recipe, StageRecipe
from gausstr_training.streets.classes import SKY, TERRAIN
from gausstr_training.teacher import RendererTeacher, thinned

TEMPERATURE = 0.07  # of the contrast between classes, as CLIP's at its start
GROUND = TERRAIN + 1  # classes 0, 1 and 2: road, sidewalk, terrain


class Stage(ABC):
    """One stage: which parameters it trains, on which streets, and the loss of a step."""

    name: str

    def __init__(
        self, model: GaussTR, store: FrameStore, teacher: RendererTeacher, recipe: Recipe
    ) -> None:
        self.model, self.teacher, self.recipe = model, teacher, recipe
        self.store = store.part(*self.schedule.streets)

    @property
    @abstractmethod
    def schedule(self) -> StageRecipe:
        """Steps, learning rate and clipping."""

    @property
    @abstractmethod
    def module(self) -> nn.Module:
        """What is trained."""

    @abstractmethod
    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of a step and its parts by name; a pure function of weights, seed and step."""

    def generator(self, step: int) -> torch.Generator:
        """Randomness that belongs to this step, so that a resumed run repeats it exactly."""
        return torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + step)

    def augmented(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The batch as the recipe varies it."""
        return self.recipe.augmentation(batch, generator)


class FoundationStage(Stage):
    """Distils the renderer into the compact network: text-aligned features and metric depth."""

    name = 'foundation'

    def __init__(
        self, model: GaussTR, store: FrameStore, teacher: RendererTeacher, recipe: Recipe
    ) -> None:
        super().__init__(model, store, teacher, recipe)
        self.class_weights = balanced_weights(self.store, len(teacher.centroids))
        # a fifth faster on CPUs, the same numbers
        model.foundation.to(memory_format=torch.channels_last)

    @property
    def schedule(self) -> StageRecipe:
        """The recipe's numbers for this stage."""
        return self.recipe.foundation

    @property
    def module(self) -> nn.Module:
        """The whole foundation network."""
        return self.model.foundation

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """What `distillation` gives for views of different streets."""
        self.model.foundation.train()
        generator = self.generator(step)
        batch = self.store.views(step, self.schedule.views, self.recipe.seed)
        batch = self.augmented(batch, generator)
        return self.distillation(self.model.foundation(batch.images, batch.rig), batch, generator)

    def distillation(
        self, maps: FoundationMaps, batch: Batch, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Cosine and contrast with the words, and the logarithmic depth error.

        Rare classes weigh more in all three: the map's score is a mean over classes, and what
        stands on the road is a small share of the pixels.
        """
        semantics = thinned(batch.semantics, *maps.features.shape[-2:]).long()
        words = self.teacher.draw(len(semantics), generator)
        cosine, contrast = self._alignment(maps.features, semantics, words)
        depth = log_depth_loss(
            maps.depth,
            batch.depth,
            self.model.foundation.max_depth,
            self.recipe.depth_limit,
            self.class_weights[batch.semantics.long()],
        )
        parts = {'cosine': cosine.item(), 'contrast': contrast.item(), 'depth': depth.item()}
        return cosine + contrast + self.recipe.depth_weight * depth, parts

    def _alignment(
        self, features: Tensor, semantics: Tensor, words: Tensor
    ) -> tuple[Tensor, Tensor]:
        """1 - cos to the drawn words, and the contrast with the other classes' words."""
        weight = self.class_weights[semantics]
        target = self.teacher.paint(semantics, words)
        apart = 1 - F.cosine_similarity(features, target, dim=1)
        cosine = (apart * weight).sum() / weight.sum()
        unit = self.teacher.centred(features)
        logits = torch.einsum('nchw,kc->nkhw', unit, self.teacher.centroids) / TEMPERATURE
        contrast = F.cross_entropy(logits, semantics, weight=self.class_weights)
        return cosine, contrast


class TransformerStage(Stage):
    """The paper's training: splat the Gaussians of each layer back into the six images."""

    name = 'transformer'

    def __init__(
        self, model: GaussTR, store: FrameStore, teacher: RendererTeacher, recipe: Recipe
    ) -> None:
        super().__init__(model, store, teacher, recipe)
        self.class_weights = balanced_weights(self.store, len(teacher.centroids))
        self.grid = VoxelGrid()

    @property
    def schedule(self) -> StageRecipe:
        """The recipe's numbers for this stage."""
        return self.recipe.transformer

    @property
    def module(self) -> nn.Module:
        """The transformer alone; the foundation network stays as it is."""
        return self.model.transformer

    @cached_property
    def frozen(self) -> nn.Module:
        """The foundation network as this stage found it."""
        return copy.deepcopy(self.model.foundation).optimise_for_inference()

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """What `agreement` gives for one rig."""
        generator = self.generator(step)
        batch = self.augmented(self.store.frame(step, self.recipe.seed), generator)
        with torch.no_grad():
            maps = self.frozen(batch.images, batch.rig)
        layers = self.model.transformer.forward_layers(maps, batch.rig)
        return self.agreement(layers, batch, generator)

    def agreement(
        self, layers: list[Gaussians], batch: Batch, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Losses of the splatted images, summed over the layers, and of the last layer's map."""
        target, basis, depth = self._targets(batch, generator)
        total, parts = torch.zeros(()), {}
        for index, gaussians in enumerate(layers):
            aligned, distance = self._render(gaussians, batch.rig, target, basis, depth)
            total = total + self.recipe.feature_weight * aligned + distance
            parts[f'cosine/{index}'], parts[f'depth/{index}'] = aligned.item(), distance.item()
        classes, occupancy = self._occupancy(gaussians, batch)
        parts['map'], parts['classes'] = occupancy.item(), classes.item()
        apart = self.recipe.class_weight * classes + self.recipe.map_weight * occupancy
        return total + apart, parts

    def _occupancy(self, gaussians: Gaussians, batch: Batch) -> tuple[Tensor, Tensor]:
        carving = carve(
            batch.depth, batch.semantics, self.class_weights[:SKY], batch.rig, self.grid, GROUND
        )
        probabilities = self.teacher.probabilities(gaussians.features, TEMPERATURE_OF_WORDS)
        solid = probabilities.argmax(-1) != SKY
        shares = probabilities[solid][:, :SKY]
        shares = shares / shares.sum(-1, keepdim=True)
        return carving_loss(
            gaussians.select(solid), shares, carving, self.grid, CalibratedRule().blur
        )

    def _targets(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """PCA-reduced target features [N, D, h, w], the basis [C, D], target depth [N, h, w]."""
        height, width = self.recipe.rendering
        semantics = thinned(batch.semantics, height, width)
        words = self.teacher.draw(len(semantics), generator)
        classes = words.shape[1]
        pixels = torch.stack([torch.bincount(m.flatten(), minlength=classes) for m in semantics])
        basis = principal_directions(
            words.flatten(0, 1), pixels.flatten(), self.recipe.reduced_dims
        )
        depth = thinned(batch.depth, height, width)
        depth = torch.where(depth < self.recipe.depth_limit, depth, 0.0)
        return self.teacher.paint(semantics, words @ basis), basis, depth

    def _render(
        self, gaussians: Gaussians, rig: CameraRig, target: Tensor, basis: Tensor, depth: Tensor
    ) -> tuple[Tensor, Tensor]:
        reduced = replace(gaussians, features=gaussians.features @ basis)
        features, surface, alpha = splat_surfaces(reduced, rig, *self.recipe.rendering)
        # neither cosine nor surface depth sees how opaque a pixel is
        holes = (1 - alpha).mean()
        return feature_loss(features, target), depth_loss(surface, depth) + holes


class JointStage(Stage):
    """Beyond the paper: both networks together, so that the map's loss reaches the depth.

    The losses of both stages on one rig; batch norms keep the statistics of the first stage, as
    six views of one street have others.
    """

    name = 'joint'

    def __init__(
        self, model: GaussTR, store: FrameStore, teacher: RendererTeacher, recipe: Recipe
    ) -> None:
        super().__init__(model, store, teacher, recipe)
        self.foundation = FoundationStage(model, store, teacher, recipe)
        self.transformer = TransformerStage(model, store, teacher, recipe)

    @property
    def schedule(self) -> StageRecipe:
        """The recipe's numbers for this stage."""
        return self.recipe.joint

    @property
    def module(self) -> nn.Module:
        """The whole model."""
        return self.model

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The sum of what both stages ask for."""
        self.model.foundation.eval()
        generator = self.generator(step)
        batch = self.augmented(self.store.frame(step, self.recipe.seed), generator)
        maps = self.model.foundation(batch.images, batch.rig)
        distilled, parts = self.foundation.distillation(maps, batch, generator)
        layers = self.model.transformer.forward_layers(maps, batch.rig, attached=True)
        agreed, more = self.transformer.agreement(layers, batch, generator)
        return distilled + agreed, parts | more


STAGES: tuple[type[Stage], ...] = (FoundationStage, TransformerStage, JointStage)
