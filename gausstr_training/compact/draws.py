"""What a step of the compact training sees: drawn, augmented, with one word for every class."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import Dataset

from gausstr_training.bags.sampler import generator_at
from gausstr_training.compact.augmentation import augmented
from gausstr_training.compact.batch import Batch, join
from gausstr_training.compact.frames import Store
from gausstr_training.compact.teacher import RendererTeacher
from gausstr_training.processes import ranks
from gausstr_training.recipes import CompactRecipe


@dataclass(frozen=True)
class Sample:
    """Views, and what each class is called in them."""

    batch: Batch
    words: Tensor  # [N, classes, C] embeddings
    near: tuple[Batch, ...] = ()  # the same cameras before and after, in the ego frame of now

    def to(self, device: torch.device) -> Sample:
        """The same on a device."""
        near = tuple(batch.to(device) for batch in self.near)
        return Sample(self.batch.to(device), self.words.to(device), near)


class _Draws(Dataset[Sample]):
    """What all draws share; a draw is a function of seed and position alone."""

    def __init__(self, store: Store, teacher: RendererTeacher, recipe: CompactRecipe) -> None:
        self._store, self._teacher, self._recipe = store, teacher, recipe

    def _sample(self, batch: Batch, position: int) -> Sample:
        generator = generator_at(position, self._recipe.seed)
        batch = augmented(batch, self._recipe.augmentation, generator)
        return Sample(batch, self._teacher.draw(len(batch.rig), generator))


class DrawnRigs(_Draws):
    """The whole rig of a frame; by position."""

    def __getitem__(self, position: int) -> Sample:
        seed = self._recipe.seed
        sample = self._sample(self._store.frame(position, seed), position)
        if not self._recipe.temporal_weight:
            return sample
        # from the same generator: a mirror stands before all frames or before none
        near = [
            augmented(batch, self._recipe.augmentation, generator_at(position, seed))
            for batch in self._store.neighbours(position, seed)
        ]
        return replace(sample, near=tuple(near))


class DrawnViews(_Draws):
    """This process's share of the views of a step, of different frames; by step."""

    def __init__(
        self, store: Store, teacher: RendererTeacher, recipe: CompactRecipe, views: int
    ) -> None:
        super().__init__(store, teacher, recipe)
        # taken now: a worker process does not know
        self._share = range(ranks.rank(), views, ranks.count())
        self._views = views

    def __getitem__(self, step: int) -> Sample:
        positions = [step * self._views + index for index in self._share]
        seed = self._recipe.seed
        samples = [self._sample(self._store.view(at, seed), at) for at in positions]
        return Sample(
            join([sample.batch for sample in samples]),
            torch.cat([sample.words for sample in samples]),
        )
