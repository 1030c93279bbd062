"""Variants of the compact model, one change each, trained and scored alike.

python -m gausstr_training.ablations --weights compact.safetensors --data streets/train \
    --validation streets/validation --test streets/test --output ablations

The foundation network of the weights is frozen, the transformer of each variant is trained from
its start on the same frames in the same order, and scored on the test streets at the threshold
that is best on the validation streets. Each variant leaves `<output>/<name>/scores.json`; those
that are there are not repeated.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from gausstr_core.contracts import FoundationMaps, Gaussians, VoxelGrid
from gausstr_core.parallel import keep_torch_threads
from gausstr_core.rig import CameraRig
from gausstr_core.rules import CalibratedRule
from gausstr_core.text_encoder import TextEncoder
from gausstr_core.transformer.build import GaussTR, build
from gausstr_core.transformer.formulation import FORMULATIONS
from gausstr_core.transformer.full import FullConfig, FullTransformer
from gausstr_core.transformer.reference_points import Lattice
from gausstr_core.transformer.transformer import GaussianTransformer
from gausstr_core.vocabulary import Vocabulary
from gausstr_core.weights import load_weights
from gausstr_training.evaluation.methods import accumulated
from gausstr_training.evaluation.report import write_json
from gausstr_training.evaluation.scoring import StreetSet
from gausstr_training.evaluation.tally import Tally
from gausstr_training.evaluation.thresholds import DENSITIES
from gausstr_training.frames import FrameStore
from gausstr_training.recipes import CompactRecipe, read_recipe
from gausstr_training.stages import TransformerStage
from gausstr_training.stepping import Stepper
from gausstr_training.teacher import RendererTeacher

SEED = 4  # of the transformers' first weights
DIM, HEADS, LAYERS = 128, 4, 3
FEATURES = 384


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    about: str
    transformer: Callable[[], nn.Module]
    changes: dict[str, Any]  # to the recipe
    blur: float = CalibratedRule().blur


def _ours(sub: int = 3, aligned: bool = True) -> GaussianTransformer:
    lattice = Lattice(rows=10, columns=14, sub=sub)
    return GaussianTransformer(FEATURES, lattice, DIM, LAYERS, HEADS, aligned=aligned)


def _published(formulation: str, queries: int = 300) -> FullTransformer:
    return FullTransformer(
        FullConfig(
            feature_dim=FEATURES,
            dim=DIM,
            queries=queries,
            layers=LAYERS,
            heads=HEADS,
            hidden=256,
            dropout=0.0,
            formulation=FORMULATIONS[formulation],
        )
    )


IMAGES_ONLY = {'map_weight': 0.0, 'class_weight': 0.0}
VARIANTS: dict[str, Variant] = {
    'ours': Variant('1260 Gaussians a view, aligned start, blur 0.2 m, all losses', _ours, {}),
    'gaussians-140': Variant('140 Gaussians a view', partial(_ours, 1), {}),
    'gaussians-560': Variant('560 Gaussians a view', partial(_ours, 2), {}),
    'gaussians-2240': Variant('2240 Gaussians a view', partial(_ours, 4), {}),
    'isotropic': Variant('start as balls', partial(_ours, 3, False), {}),
    'blur-0.1': Variant('blur 0.1 m', _ours, {}, 0.1),
    'blur-0': Variant('no blur', _ours, {}, 0.0),
    'images-only': Variant('splatted images alone', _ours, IMAGES_ONLY),
    'no-features': Variant(
        'depth and occupancy alone, features as seen', _ours,
        {'feature_weight': 0.0, 'class_weight': 0.0},
    ),
    'temporal': Variant('with the frames before and after', _ours, {'temporal_weight': 0.5}),
    'paper': Variant(
        '300 queries a view and losses as in the paper', partial(_published, 'paper'), IMAGES_ONLY
    ),
    'released': Variant(
        '300 queries a view and losses as released', partial(_published, 'released'), IMAGES_ONLY
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """What all variants share."""

    weights: Path
    data: tuple[Path, ...]
    validation: StreetSet
    test: StreetSet
    device: torch.device
    steps: int
    workers: int

    def score(self, variant: Variant) -> dict[str, Any]:
        """Train and score a variant; the JSON document of its row."""
        recipe = self._recipe(variant)
        model = build(recipe.preset)
        load_weights(model, self.weights, recipe.preset)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            model.transformer = variant.transformer()
        model.to(self.device)
        untrained = copy.deepcopy(model.transformer)
        seconds = self._train(model, recipe, variant)
        judged = {'untrained': untrained, 'trained': model.transformer}
        return {
            'about': variant.about,
            'steps': self.steps,
            'seconds_a_step': round(seconds / self.steps, 4),
            'streets': list(self.test.seeds),
            **{name: self._judge(model, t, variant.blur) for name, t in judged.items()},
        }

    def _recipe(self, variant: Variant) -> CompactRecipe:
        recipe = read_recipe('compact')
        assert isinstance(recipe, CompactRecipe)
        schedule = replace(recipe.transformer, steps=self.steps, streets=(0.0, 1.0))
        return replace(recipe, transformer=schedule, **variant.changes)

    def _train(self, model: GaussTR, recipe: CompactRecipe, variant: Variant) -> float:
        height, width = model.foundation.input_size
        store = FrameStore(self.data, height, width, self.workers)
        teacher = RendererTeacher(TextEncoder.default())
        stage = TransformerStage(model, store, teacher, recipe, self.workers, variant.blur)
        stepper = Stepper(stage, 0.0, self.device)
        started = time.perf_counter()
        for step in tqdm(range(self.steps), desc=variant.about, unit='step'):
            stepper.step(step)
        return time.perf_counter() - started

    @torch.inference_mode()
    def _judge(self, model: GaussTR, transformer: nn.Module, blur: float) -> dict[str, Any]:
        model.eval()
        transformer.eval()
        see = partial(self._tally, model, transformer, blur)
        threshold = see(self.validation, DENSITIES).best_threshold()
        scores = see(self.test, (threshold,)).scores(threshold)
        return {**scores.as_json(), 'threshold': threshold}

    def _tally(
        self,
        model: GaussTR,
        transformer: nn.Module,
        blur: float,
        streets: StreetSet,
        thresholds: Sequence[float],
    ) -> Tally:
        tally, vocabulary = Tally(thresholds), Vocabulary.from_yaml()
        for frame in streets.frames():
            assert frame.voxels is not None and frame.camera_mask is not None
            images = [torch.from_numpy(image) for image in frame.images]
            gaussians = _gaussians(model, transformer, images, frame.rig, self.device)
            guess = accumulated(gaussians, vocabulary, VoxelGrid(), blur)
            truth, mask = torch.from_numpy(frame.voxels), torch.from_numpy(frame.camera_mask)
            tally.add(guess, truth.to(self.device), mask.to(self.device))
        return tally


def _gaussians(
    model: GaussTR,
    transformer: nn.Module,
    images: list[Tensor],
    rig: CameraRig,
    device: torch.device,
) -> Gaussians:
    maps, small = model.foundation.see(images, rig, device)
    assert isinstance(maps, FoundationMaps)
    found: Gaussians = transformer(maps, small)
    return found


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog='gausstr_training.ablations', description=__doc__)
    result.add_argument('--weights', type=Path, required=True, help='of the preset compact')
    for name in ('data', 'validation', 'test'):
        result.add_argument(f'--{name}', type=Path, nargs='+', required=True, metavar='DIR')
    result.add_argument('--output', type=Path, required=True, metavar='DIR')
    result.add_argument('--only', nargs='+', choices=list(VARIANTS), default=list(VARIANTS))
    result.add_argument('--steps', type=int, default=600)
    result.add_argument('--device', default='cpu')
    result.add_argument('--workers', type=int, default=0)
    return result


def main() -> None:
    """Train and score the variants that have no scores yet."""
    options = parser().parse_args()
    keep_torch_threads()
    bench = Bench(
        options.weights,
        tuple(options.data),
        StreetSet.find(options.validation),
        StreetSet.find(options.test),
        torch.device(options.device),
        options.steps,
        options.workers,
    )
    for name in options.only:
        path = options.output / name / 'scores.json'
        if not path.exists():
            write_json(path, bench.score(VARIANTS[name]))
        print(name, path)


if __name__ == '__main__':
    main()
