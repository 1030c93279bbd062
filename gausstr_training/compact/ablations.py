"""Variants of the compact model, one change each, trained and scored alike.

python -m gausstr_training.compact.ablations --weights compact.safetensors --data streets/train \
    --validation streets/validation --test streets/test --output ablations

The foundation network of the weights is frozen, the transformer of each variant is trained from
its start on the same frames in the same order, and scored on the test streets at the threshold
that is best on the validation streets. Each variant leaves `<output>/<name>/transformer.pt` and
`scores.json`; what is there is not repeated. Without --test they are only trained: on a GPU, say,
to be scored elsewhere.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from gausstr_core.contracts import Gaussians, VoxelGrid
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
from gausstr_training.compact.frames import FrameStore
from gausstr_training.compact.stages import TransformerStage
from gausstr_training.compact.teacher import RendererTeacher
from gausstr_training.engine.stepping import Stepper
from gausstr_training.evaluation.methods import accumulated
from gausstr_training.evaluation.report import write_json
from gausstr_training.evaluation.scoring import StreetSet
from gausstr_training.evaluation.tally import Tally
from gausstr_training.evaluation.thresholds import DENSITIES
from gausstr_training.recipes import CompactRecipe, read_recipe

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
    device: torch.device
    steps: int
    workers: int

    def train(self, variant: Variant) -> dict[str, Any]:
        """Train a variant: its weights, and what it took."""
        recipe, model = self._recipe(variant), self.model(variant)
        height, width = model.foundation.input_size
        store = FrameStore(self.data, height, width, self.workers)
        teacher = RendererTeacher(TextEncoder.default())
        stage = TransformerStage(model, store, teacher, recipe, self.workers, variant.blur)
        stepper = Stepper(stage, 0.0, self.device)
        started = time.perf_counter()
        for step in tqdm(range(self.steps), desc=variant.about, unit='step'):
            stepper.step(step)
        seconds = time.perf_counter() - started
        return {
            'transformer': model.transformer.state_dict(),
            'steps': self.steps,
            'seconds_a_step': round(seconds / self.steps, 4),
            'device': _name_of(self.device),
        }

    def score(
        self, variant: Variant, trained: dict[str, Any], validation: StreetSet, test: StreetSet
    ) -> dict[str, Any]:
        """The JSON document of a variant's row."""
        model = self.model(variant)
        before = self._judge(model, variant.blur, validation, test)
        model.transformer.load_state_dict(trained['transformer'])
        after = self._judge(model, variant.blur, validation, test)
        facts = {key: trained[key] for key in ('steps', 'seconds_a_step', 'device')}
        streets = list(test.seeds)
        return {
            'about': variant.about, **facts, 'streets': streets,
            'untrained': before, 'trained': after,
        }  # fmt: skip

    def model(self, variant: Variant) -> GaussTR:
        """The foundation network of the weights, with the variant's untrained transformer."""
        model = build('compact')
        load_weights(model, self.weights, 'compact')
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            model.transformer = variant.transformer()
        return model.to(self.device)

    def _recipe(self, variant: Variant) -> CompactRecipe:
        recipe = read_recipe('compact')
        assert isinstance(recipe, CompactRecipe)
        schedule = replace(
            recipe.transformer, steps=self.steps, warmup=self.steps // 10, streets=(0.0, 1.0)
        )
        return replace(recipe, transformer=schedule, **variant.changes)

    @torch.inference_mode()
    def _judge(
        self, model: GaussTR, blur: float, validation: StreetSet, test: StreetSet
    ) -> dict[str, Any]:
        model.eval()
        threshold = self._tally(model, blur, validation, DENSITIES).best_threshold()
        scores = self._tally(model, blur, test, (threshold,)).scores(threshold)
        return {**scores.as_json(), 'threshold': threshold}

    def _tally(
        self, model: GaussTR, blur: float, streets: StreetSet, thresholds: Sequence[float]
    ) -> Tally:
        tally, vocabulary = Tally(thresholds), Vocabulary.from_yaml()
        for frame in streets.frames():
            assert frame.voxels is not None and frame.camera_mask is not None
            images = [torch.from_numpy(image) for image in frame.images]
            gaussians = _gaussians(model, images, frame.rig, self.device)
            guess = accumulated(gaussians, vocabulary, VoxelGrid(), blur)
            truth, mask = torch.from_numpy(frame.voxels), torch.from_numpy(frame.camera_mask)
            tally.add(guess, truth.to(self.device), mask.to(self.device))
        return tally


def _gaussians(
    model: GaussTR, images: list[Tensor], rig: CameraRig, device: torch.device
) -> Gaussians:
    maps, small = model.foundation.see(images, rig, device)
    found: Gaussians = model.transformer(maps, small)
    return found


def _name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == 'cuda' else str(device)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog='gausstr_training.compact.ablations', description=__doc__
    )
    result.add_argument('--weights', type=Path, required=True, help='of the preset compact')
    for name in ('data', 'validation', 'test'):
        result.add_argument(f'--{name}', type=Path, nargs='+', default=[], metavar='DIR')
    result.add_argument('--output', type=Path, required=True, metavar='DIR')
    result.add_argument('--only', nargs='+', choices=list(VARIANTS), default=list(VARIANTS))
    result.add_argument('--steps', type=int, default=600)
    result.add_argument('--device', default='cpu')
    result.add_argument('--workers', type=int, default=0)
    return result


def run(options: argparse.Namespace) -> None:
    """Train the variants that are not trained yet, score those without scores."""
    bench = Bench(
        options.weights, tuple(options.data), torch.device(options.device), options.steps,
        options.workers,
    )  # fmt: skip
    for name in options.only:
        weights = options.output / name / 'transformer.pt'
        if not weights.exists():
            save_aside(bench.train(VARIANTS[name]), weights)
        scores = options.output / name / 'scores.json'
        if options.test and not scores.exists():
            trained = torch.load(weights, map_location=bench.device, weights_only=True)
            judges = (StreetSet.find(folders) for folders in (options.validation, options.test))
            write_json(scores, bench.score(VARIANTS[name], trained, *judges))
        print(name, weights.parent)


def save_aside(content: dict[str, Any], path: Path) -> None:
    """torch.save, aside first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix('.partial')
    torch.save(content, aside)
    os.replace(aside, path)


def main() -> None:
    """Entry point."""
    keep_torch_threads()
    try:
        run(parser().parse_args())
    except (ValueError, OSError) as error:
        raise SystemExit(f'gausstr_training.compact.ablations: {error}') from None


if __name__ == '__main__':
    main()
