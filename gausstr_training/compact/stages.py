"""The three stages of a compact run: what one step computes. The loop is in engine/trainer.py."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gausstr_core.contracts import Gaussians, VoxelGrid
from gausstr_core.transformer.build import GaussTR
from gausstr_core.transformer.transformer import GaussianTransformer
from gausstr_core.voxels.rules import CalibratedRule
from gausstr_training.compact.agreement import Agreement
from gausstr_training.compact.distillation import Distillation
from gausstr_training.compact.draws import DrawnRigs, DrawnViews, Sample
from gausstr_training.compact.frames import Store
from gausstr_training.compact.synced_batch_norm import synced
from gausstr_training.compact.teacher import RendererTeacher
from gausstr_training.engine.stage import Stage
from gausstr_training.processes import ranks
from gausstr_training.processes.read_ahead import ReadAhead
from gausstr_training.recipes import CompactRecipe, StageRecipe

# metres, of the map's loss: what the rule adds on the grid that is learned from
BLUR = CalibratedRule().blur * VoxelGrid().resolution


class CompactStage(Stage):
    """One stage: which parameters it trains, on which streets, and the loss of a step.

    Args:
        model: on its device.
        store: all streets.
        teacher: says what the streets show, on the CPU.
        recipe: the numbers.
        workers: processes that draw and augment; 0: this one does.
        blur: of the map's loss, metres.
    """

    def __init__(
        self,
        model: GaussTR,
        store: Store,
        teacher: RendererTeacher,
        recipe: CompactRecipe,
        workers: int = 0,
        blur: float = BLUR,
    ) -> None:
        # a fifth faster on CPUs; in all stages, or a resumed one would round otherwise
        model.foundation.to(memory_format=torch.channels_last)
        self.model, self.recipe = model, recipe
        self.device = next(model.parameters()).device
        self.store = store.part(*self.schedule.streets)
        self.teacher, self._workers, self._blur = teacher, workers, blur
        self._rigs = DrawnRigs(self.store, teacher, recipe)
        self._ahead = ReadAhead(self._rigs, workers, ranks.count())
        self.prepare()

    @abstractmethod
    def prepare(self) -> None:
        """Make what this stage needs beside."""

    @property
    def steps(self) -> int:
        """As many as the recipe says."""
        return self.schedule.steps_over(len(self.store))

    def pieces(self, step: int) -> Sequence[Sample]:
        """This process's frames of the step."""
        frames = self.schedule.frames
        positions = range(step * frames + ranks.rank(), (step + 1) * frames, ranks.count())
        return [self._ahead.at(position).to(self.device) for position in positions]

    def close(self) -> None:
        """End the workers."""
        self._ahead.close()

    def distillation(self) -> Distillation:
        """What the foundation network should see."""
        far = self.model.foundation.max_depth
        return Distillation(*self._judges(), self.recipe, far)

    def agreement(self) -> Agreement:
        """What the Gaussians should look like."""
        return Agreement(*self._judges(), self.recipe, self._blur)

    def shared(self, loss: Tensor, parts: dict[str, float]) -> tuple[Tensor, dict[str, float]]:
        """A frame's loss and parts as its share of the step's."""
        share = 1 / self.schedule.frames
        return loss * share, {name: value * share for name, value in parts.items()}

    def _judges(self) -> tuple[RendererTeacher, Tensor]:
        weights = self.store.class_weights(len(self.teacher.centroids))
        return self.teacher.to(self.device), weights.to(self.device)


class FoundationStage(CompactStage):
    """Distils the renderer into the compact network: text-aligned features and metric depth."""

    name = 'foundation'

    def prepare(self) -> None:
        """Batch norms over all processes; views instead of rigs."""
        if not self.recipe.frozen_norms:
            synced(self.model.foundation)
        views = DrawnViews(self.store, self.teacher, self.recipe, self.schedule.views)
        self._views = ReadAhead(views, self._workers)
        self._distilled = self.distillation()

    @property
    def schedule(self) -> StageRecipe:
        """The recipe's numbers for this stage."""
        return self.recipe.foundation

    @property
    def module(self) -> nn.Module:
        """The whole foundation network."""
        return self.model.foundation

    def pieces(self, step: int) -> Sequence[Sample]:
        """This process's views, in one piece: they go together through the batch norms."""
        return (self._views.at(step).to(self.device),)

    def close(self) -> None:
        """End the workers of both."""
        super().close()
        self._views.close()

    def loss(self, piece: Sample) -> tuple[Tensor, dict[str, float]]:
        """See `Distillation`."""
        self.model.foundation.train(not self.recipe.frozen_norms)
        maps = self.model.foundation(piece.batch.images, piece.batch.rig)
        return self._distilled(maps, piece, everywhere=True)


class TransformerStage(CompactStage):
    """The paper's training: splat the Gaussians of each layer back into the six images."""

    name = 'transformer'

    def prepare(self) -> None:
        """The foundation network as this stage found it."""
        self._frozen = copy.deepcopy(self.model.foundation).optimise_for_inference()
        self._agreed = self.agreement()

    @property
    def schedule(self) -> StageRecipe:
        """The recipe's numbers for this stage."""
        return self.recipe.transformer

    @property
    def module(self) -> GaussianTransformer:
        """The transformer alone; the foundation network stays as it is."""
        return self.model.transformer

    def loss(self, piece: Sample) -> tuple[Tensor, dict[str, float]]:
        """See `Agreement`."""
        return self.shared(*self._agreed(self._layers(piece), piece))

    def pictures(self) -> dict[str, Tensor]:
        """What the last layer shows of a frame, above what it should show."""
        sample = self._rigs[0].to(self.device)
        return self._agreed.pictures(self._layers(sample)[-1], sample)

    def _layers(self, sample: Sample) -> list[Gaussians]:
        with torch.no_grad():
            maps = self._frozen(sample.batch.images, sample.batch.rig)
        return self.module.forward_layers(maps, sample.batch.rig)


class JointStage(CompactStage):
    """Beyond the paper: both networks together, so that the map's loss reaches the depth.

    The losses of both stages on one rig; batch norms keep the statistics of the first stage, as
    six views of one street have others.
    """

    name = 'joint'

    def prepare(self) -> None:
        """The judges of both stages."""
        self._distilled, self._agreed = self.distillation(), self.agreement()

    @property
    def schedule(self) -> StageRecipe:
        """The recipe's numbers for this stage."""
        return self.recipe.joint

    @property
    def module(self) -> nn.Module:
        """The whole model."""
        return self.model

    def loss(self, piece: Sample) -> tuple[Tensor, dict[str, float]]:
        """The sum of what both stages ask for."""
        self.model.foundation.eval()
        maps = self.model.foundation(piece.batch.images, piece.batch.rig)
        distilled, parts = self._distilled(maps, piece, everywhere=False)
        layers = self.model.transformer.forward_layers(maps, piece.batch.rig, attached=True)
        agreed, more = self._agreed(layers, piece)
        return self.shared(distilled + agreed, parts | more)


STAGES: tuple[type[CompactStage], ...] = (FoundationStage, TransformerStage, JointStage)
