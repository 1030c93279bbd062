"""Variants of the compact model, one change each, trained and scored alike.

python -m gausstr_training.compact.ablations --weights compact.safetensors --data streets/train \
    --validation streets/validation --test streets/test --output ablations

The foundation network of the weights is frozen, the transformer of each variant is trained from
its start on the same frames in the same order, and scored on the test streets at the threshold
that is best on the validation streets. Each variant leaves `<output>/<name>/transformer.pt` and a
report as of `gausstr-evaluate --report`, which --compare takes; what is there is not repeated.
`<output>/index.html` shows all of them beside the first. Without --test they are only trained: on
a GPU, say, to be scored elsewhere.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from gausstr_core.process.command_line import PROCESSES_OR_NONE, Whole
from gausstr_core.process.parallel import keep_torch_threads
from gausstr_core.vocabulary.text_encoder import TextEncoder
from gausstr_training.compact.ablation_reports import MODULE, Jury, summary
from gausstr_training.compact.frames import FrameStore
from gausstr_training.compact.stages import TransformerStage
from gausstr_training.compact.teacher import RendererTeacher
from gausstr_training.compact.variants import VARIANTS, Variant
from gausstr_training.engine.stepping import Stepper
from gausstr_training.evaluation.reports.reporting import STREETS, compare
from gausstr_training.evaluation.reports.runs import FILE, read_run
from gausstr_training.evaluation.scoring import StreetSet
from gausstr_training.processes import ranks
from gausstr_training.recipes import CompactRecipe, read_recipe


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
        recipe, model = self._recipe(variant), variant.model(self.weights).to(self.device)
        height, width = model.foundation.input_size
        store = FrameStore(self.data, height, width, self.workers)
        teacher = RendererTeacher(TextEncoder.default())
        stage = TransformerStage(model, store, teacher, recipe, self.workers, variant.blur)
        with closing(stage):
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

    def _recipe(self, variant: Variant) -> CompactRecipe:
        recipe = read_recipe('compact')
        assert isinstance(recipe, CompactRecipe)
        schedule = replace(
            recipe.transformer, steps=self.steps, warmup=self.steps // 10, streets=(0.0, 1.0)
        )
        return replace(recipe, transformer=schedule, **variant.changes)


def _name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == 'cuda' else str(device)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog=f'python -m {MODULE}',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument('--weights', type=Path, required=True, help='of the preset compact')
    for name, use in (
        ('data', 'train on'), ('validation', 'choose thresholds on'), ('test', 'score')
    ):  # fmt: skip
        result.add_argument(
            f'--{name}', type=Path, nargs='+', default=[], metavar='DIR',
            help=f'streets to {use} (default: none)',
        )  # fmt: skip
    result.add_argument(
        '--output', type=Path, required=True, metavar='DIR', help='gets a folder for each variant'
    )
    result.add_argument(
        '--only', nargs='+', choices=list(VARIANTS), default=list(VARIANTS),
        help=f'these variants (default: {" ".join(VARIANTS)})',
    )  # fmt: skip
    result.add_argument(
        '--steps', type=Whole(1, 10**7), default=600, metavar='N',
        help='of training, of each (default: %(default)s)',
    )  # fmt: skip
    result.add_argument('--device', default='cpu', help='torch device (default: %(default)s)')
    result.add_argument(
        '--workers', type=PROCESSES_OR_NONE, default=0, metavar='N',
        help='processes that read ahead; 0: none (default: %(default)s)',
    )  # fmt: skip
    return result


def run(options: argparse.Namespace, device: torch.device) -> None:
    """Train the variants that are not trained yet, score those without scores, compare all.

    Raises:
        ValueError: streets or weights are not what they should be, or as `jury_of`.
    """
    folders = {name: options.output / name for name in options.only}
    jury = jury_of(options, device, folders.values()) if options.test else None
    bench = Bench(options.weights, tuple(options.data), device, options.steps, options.workers)
    for name, folder in folders.items():
        weights = folder / 'transformer.pt'
        if not weights.exists():
            save_aside(bench.train(VARIANTS[name]), weights)
        if jury is not None and not (folder / FILE).exists():
            trained = torch.load(weights, map_location='cpu', weights_only=True)
            jury.report(VARIANTS[name], trained, folder)
        print(name, folder)
    if jury is not None:
        table = compare(options.output, list(folders.values()), STREETS, summary)
        print(table.markdown())
        print(f'side by side: {options.output / "index.html"}')


def jury_of(options: argparse.Namespace, device: torch.device, folders: Iterable[Path]) -> Jury:
    """Who scores on the streets of the command line; asked first, as training takes long.

    Raises:
        ValueError: as `Jury`, there are no validation streets, or a report that is there is of
            another format or of other streets.
    """
    if not options.validation:
        raise ValueError('--test needs --validation: thresholds must come from other streets')
    streets = (StreetSet.find(folders) for folders in (options.validation, options.test))
    jury = Jury(options.weights, *streets, device)
    for folder in folders:
        if (folder / FILE).exists():
            read_run(folder, folder.name).check_names(jury.test.names())
    return jury


def save_aside(content: dict[str, Any], path: Path) -> None:
    """torch.save, aside first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix('.partial')
    torch.save(content, aside)
    os.replace(aside, path)


def main() -> None:
    """Entry point."""
    options = parser().parse_args()
    keep_torch_threads()
    try:
        with ranks.joined(options.device) as device:
            run(options, device)
    except (ValueError, OSError) as error:
        raise SystemExit(f'{MODULE}: {error}') from None
    except KeyboardInterrupt:
        raise SystemExit(f'{MODULE}: interrupted; run it again to go on') from None


if __name__ == '__main__':
    main()
