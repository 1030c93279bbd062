"""The published model, trained on bags with the foundation networks as teachers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

from gausstr_core.foundation.released import FEATURES
from gausstr_core.transformer.build import UNTRAINED_SEED
from gausstr_core.transformer.checkpoints.checkpoint import Checkpoint, TrainedOn, load_any, save
from gausstr_core.transformer.full.formulation import FORMULATIONS
from gausstr_core.transformer.full.transformer import FullConfig, FullTransformer
from gausstr_training.bags.dataset import open_frames
from gausstr_training.bags.sets import BagSettings
from gausstr_training.engine.job import Job
from gausstr_training.engine.stage import Stage
from gausstr_training.full.stage import FullStage
from gausstr_training.full.target_source import CachedTargets, OnlineTargets, TargetSource
from gausstr_training.processes import ranks
from gausstr_training.recipes import FullRecipe
from gausstr_training.targets.online import Teacher


@dataclass(frozen=True)
class Sources:
    """Where a run finds what it needs."""

    data: tuple[Path, ...]  # bags, or folders of bags
    validation: tuple[Path, ...] = ()
    folder: Path | None = None  # of published weights; None: fetched into the cache
    depth: str = 'metric3d'
    start: str | None = None  # weights to start from
    workers: int = 0  # processes that read bags
    targets: Path | None = None  # cache of the networks' answers; None: they are asked every time


class FullJob(Job):
    """One stage: the transformer learns from splatted images.

    Args:
        recipe: the numbers.
        sources: bags and weights.
        device: of this process.
        precision: of the transformer; None: the recipe's on a GPU, fp32 on the CPU, where half
            precision saves nothing.
        targets: gives the targets instead of the foundation networks of the recipe.

    Raises:
        ValueError: bags or weights are missing or do not fit, the processes cannot share the
            batch, or segmentation maps are wanted where there are none.
    """

    def __init__(
        self,
        recipe: FullRecipe,
        sources: Sources,
        device: torch.device,
        precision: str | None = None,
        targets: TargetSource | None = None,
    ) -> None:
        ranks.check_shares(recipe.stage.frames, 'frames')
        self.recipe: FullRecipe = recipe
        self.device, self._sources = device, sources
        self._precision = precision or (recipe.precision if device.type == 'cuda' else 'fp32')
        self._frames = open_frames(sources.data, _settings(recipe))
        self._validation = (
            open_frames(sources.validation, _settings(recipe)) if sources.validation else None
        )
        self._targets = targets or _teacher(recipe, sources, device)
        if recipe.model.segments and not self._targets.gives_segments:
            raise ValueError(
                f'recipe {recipe.name} wants segmentation maps, and the foundation networks give '
                'none; make them with gausstr-make-targets --masks and give --targets, or use a '
                'recipe without segments, such as featup-without-segments'
            )
        self._transformer = _transformer(recipe, self._targets.feature_dim, sources.start)
        self._transformer.to(device)

    @property
    def model(self) -> FullTransformer:
        """The transformer alone: the foundation networks are public files."""
        return self._transformer

    @property
    def stages(self) -> Mapping[str, Callable[[], Stage]]:
        """One."""
        return {FullStage.name: self._stage}

    @property
    def identity(self) -> dict[str, int | str]:
        """The frames wherever their bags lie, and how their targets are made."""
        digest = blake2b(digest_size=6)
        for bag in self._frames.bags:
            digest.update(bag.name.encode() + bag.stamps.tobytes())
        return {
            **self._data,
            'digest of the frames': digest.hexdigest(),
            'depth': self._sources.depth,
            'precision': self._precision,
            'targets': 'from networks' if self._sources.targets is None else 'from a cache',
        }

    def save(self, output: Path) -> Path:
        """`<preset>.safetensors`, as `gausstr_core.presets.assemble` takes it."""
        path = output / f'{self.recipe.preset}.safetensors'
        state = {name: value.cpu() for name, value in self._transformer.state_dict().items()}
        save(Checkpoint(self._transformer.config, state, None, self._trained_on()), path)
        return path

    def about(self) -> dict[str, Any]:
        """Preset, data, networks and steps."""
        return {
            'preset': self.recipe.preset,
            'data': self._data,
            'features': self.recipe.features,
            'depth': self._sources.depth,
            'start': self._sources.start,
            'precision': self._precision,
            'input_size': list(self._targets.input_size),
            'steps': {FullStage.name: self.recipe.stage.steps_over(len(self._frames))},
        }

    @property
    def _data(self) -> dict[str, int]:
        return {'frames': len(self._frames), 'bags': len(self._frames.bags)}

    def _trained_on(self) -> TrainedOn:
        return TrainedOn(self.recipe.features, self._targets.input_size, self._sources.depth)

    def _stage(self) -> FullStage:
        return FullStage(
            self._transformer, self._frames, self._validation, self._targets, self.recipe,
            self._precision, self._sources.workers,
        )  # fmt: skip


def _settings(recipe: FullRecipe) -> BagSettings:
    return BagSettings(
        period=recipe.period,
        neighbours=recipe.temporal_weight > 0,
        neighbour_gap=recipe.neighbour_gap,
    )


def _teacher(recipe: FullRecipe, sources: Sources, device: torch.device) -> TargetSource:
    size = {'input_size': recipe.input_size} if any(recipe.input_size) else {}
    foundation = FEATURES[recipe.features](sources.folder, sources.depth, **size).to(device)
    if sources.targets is None:
        return OnlineTargets(foundation, device)
    teacher = Teacher.of(recipe.features, foundation, sources.targets, device=device)
    return CachedTargets(teacher, segments=recipe.model.segments > 0)


def _transformer(recipe: FullRecipe, channels: int, start: str | None) -> FullTransformer:
    """A new transformer of the recipe's size, or that of a file.

    Raises:
        ValueError: the file's sizes are not the recipe's.
    """
    config = FullConfig(
        feature_dim=channels,
        formulation=FORMULATIONS[recipe.formulation],
        **asdict(recipe.model),
    )
    if start is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(UNTRAINED_SEED)
            return FullTransformer(config)
    saved = load_any(Path(start))
    # neither dropout nor an unused width of the splatted images is in any weight
    found = replace(saved.config, dropout=config.dropout)
    if not config.segments:
        found = replace(found, reduced=config.reduced)
    if found != config:
        names = [n for n in asdict(config) if getattr(found, n) != getattr(config, n)]
        differ = ', '.join(f'{n} {getattr(found, n)}, not {getattr(config, n)}' for n in names)
        raise ValueError(f'weights {start} do not fit recipe {recipe.name}: they have {differ}')
    transformer = FullTransformer(config)
    transformer.load_state_dict(saved.state)
    return transformer
