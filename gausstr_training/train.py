"""gausstr-train: bags or streets in, weights and their card out."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from gausstr_core.foundation.released import DEPTH_NETWORKS
from gausstr_core.process.command_line import PROCESSES_OR_NONE, refuse_misplaced
from gausstr_core.process.memory import keep_freed_memory
from gausstr_core.process.parallel import keep_torch_threads
from gausstr_core.process.reasons import told
from gausstr_core.transformer.build import COMPACT_PRESETS
from gausstr_core.weights import shipped_weights
from gausstr_training.compact.job import CompactJob
from gausstr_training.compact.recorded import Recordings
from gausstr_training.engine.job import Job
from gausstr_training.engine.provenance import commit
from gausstr_training.engine.trainer import Trainer
from gausstr_training.full.job import FullJob, Sources
from gausstr_training.processes import ranks
from gausstr_training.processes.stopping import Stopped
from gausstr_training.recipes import CompactRecipe, FullRecipe, read_recipe, shipped
from gausstr_training.recipes.schema import PRECISIONS

EXAMPLE = """examples:
  gausstr-train --list
  gausstr-train --recipe compact --data data/train --output runs/compact
  gausstr-train --recipe compact-own --data bags/own --targets data/targets --start compact \\
      --streets data/train data/varied --output runs/own
  gausstr-train --recipe talk2dino --data bags/train --device cuda --output runs/talk2dino
  torchrun --nproc-per-node 8 -m gausstr_training.train --recipe talk2dino --data bags/train \\
      --validation bags/val --device cuda --output runs/talk2dino
Stop it whenever you like (Ctrl-C, SIGTERM, power): the same command goes on from the last
checkpoint. Curves and pictures: tensorboard --logdir runs/compact/curves
"""


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the console script."""
    options = parser().parse_args(arguments)
    keep_freed_memory()
    try:
        if options.list:
            print(listing())
            return
        if not options.data or options.output is None:
            raise ValueError('--data and --output must be given')
        refuse_misplaced(options, files=['--start'], folders=['--output', '--folder', '--targets'])
        with ranks.joined(options.device) as device:
            train(options, device)
    except (ValueError, OSError) as error:
        raise SystemExit(f'gausstr-train: {told(error)}') from None
    except (Stopped, KeyboardInterrupt):
        raise SystemExit('gausstr-train: interrupted; run it again to go on') from None


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    result = argparse.ArgumentParser(
        prog='gausstr-train',
        description='Train GaussTR without 3D labels; under torchrun on many GPUs.',
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument('--list', action='store_true', help='show the recipes that are shipped')
    result.add_argument(
        '--recipe',
        default='compact',
        metavar='NAME',
        help='of --list, or your own .yaml file (default: %(default)s)',
    )
    result.add_argument(
        '--data', type=Path, nargs='+', metavar='DIR',
        help='bags, or folders of bags; for recipes that learn from streets alone folders of '
        'streets (needed, no default)',
    )  # fmt: skip
    result.add_argument(
        '--output', type=Path, metavar='DIR', help='folder of the run (needed, no default)'
    )
    result.add_argument('--device', default='cpu', help='cpu or cuda (default: %(default)s)')
    result.add_argument(
        '--threads', type=PROCESSES_OR_NONE, default=0, metavar='N',
        help='of torch; 0 leaves its own number (default: %(default)s)',
    )  # fmt: skip
    result.add_argument(
        '--workers', type=PROCESSES_OR_NONE, default=0, metavar='N',
        help='processes that read and augment ahead; 0: none, all is done in turn (default: '
        '%(default)s)',
    )  # fmt: skip
    result.add_argument(
        '--start',
        metavar='FILE',
        help='weights to start from, such as released ones, or the name of a preset that ships '
        'with its own (default: the recipe decides)',
    )
    result.add_argument(
        '--streets', type=Path, nargs='+', metavar='DIR', default=[],
        help='of compact-own: streets to mix in, so that nothing is forgotten (default: none)',
    )  # fmt: skip
    full = result.add_argument_group('recipes other than compact and tiny')
    full.add_argument(
        '--validation', type=Path, nargs='+', metavar='DIR', default=[],
        help='bags to validate on (default: none)',
    )  # fmt: skip
    full.add_argument(
        '--folder', type=Path, metavar='DIR',
        help='where published weights lie (default: fetch into the cache)',
    )  # fmt: skip
    full.add_argument(
        '--targets', type=Path, metavar='DIR',
        help='cache of what the networks see, as of gausstr-make-targets; filled on first use, '
        'for compact-own filled before (default: none, the networks run in every step)',
    )  # fmt: skip
    full.add_argument(
        '--depth', default='metric3d', choices=sorted(DEPTH_NETWORKS),
        help='depth network (default: %(default)s)',
    )  # fmt: skip
    full.add_argument(
        '--precision', choices=PRECISIONS,
        help="of the transformer (default: the recipe's on a GPU, fp32 on the CPU)",
    )  # fmt: skip
    return result


def listing() -> str:
    """The shipped recipes, a line each."""
    recipes = [read_recipe(name) for name in shipped()]
    width = max(len(recipe.name) for recipe in recipes)
    return '\n'.join(f'{recipe.name:<{width}}  {recipe.about}' for recipe in recipes)


def job_of(options: argparse.Namespace, device: torch.device) -> Job:
    """The recipe with its data.

    Raises:
        ValueError: recipe, data or weights are not what they should be.
    """
    recipe = read_recipe(options.recipe)
    if isinstance(recipe, CompactRecipe):
        return compact_job(recipe, options, device)
    assert isinstance(recipe, FullRecipe)
    if options.streets:
        raise ValueError(f'recipe {recipe.name} takes no --streets')
    sources = Sources(
        tuple(options.data), tuple(options.validation), options.folder, options.depth,
        options.start, options.workers, options.targets,
    )  # fmt: skip
    return FullJob(recipe, sources, device, options.precision)


def compact_job(
    recipe: CompactRecipe, options: argparse.Namespace, device: torch.device
) -> CompactJob:
    """A recipe of streets, of one's own bags, or of both.

    Raises:
        ValueError: as `job_of`.
    """
    taught = recipe.recorded > 0
    if options.validation or options.precision:
        raise ValueError(f'recipe {recipe.name} takes no --validation or --precision')
    if not taught and (options.folder or options.targets or options.streets):
        raise ValueError(f'recipe {recipe.name} takes no --folder, --targets or --streets')
    start = options.start and Path(options.start)
    if options.start in COMPACT_PRESETS:
        start = shipped_weights(options.start)
    if not taught:
        return CompactJob(recipe, options.data, device, options.workers, start)
    if options.targets is None:
        raise ValueError(
            f'recipe {recipe.name} learns what gausstr-make-targets stored: --targets must be '
            'given'
        )
    if not options.streets and ranks.rank() == 0:
        print('no --streets: what the weights know of streets may be forgotten', file=sys.stderr)
    recordings = Recordings(tuple(options.data), options.targets, options.folder)
    return CompactJob(recipe, options.streets, device, options.workers, start, recordings)


def train(options: argparse.Namespace, device: torch.device) -> None:
    """Run the recipe and write weights and card into the output folder."""
    if options.threads:
        torch.set_num_threads(options.threads)
    keep_torch_threads()
    trainer = Trainer(job_of(options, device), options.output)
    first = ranks.rank() == 0
    if trainer.resumed and first:
        print(f'going on from {trainer.resumed.stage} {trainer.resumed.step}')
    trainer.run()
    if first:
        options.output.mkdir(parents=True, exist_ok=True)
        weights = trainer.job.save(options.output)
        write_card(weights.with_suffix('.json'), describe(trainer))
        print(f'wrote {weights} and its card; next: gausstr-evaluate')


def write_card(path: Path, card: dict[str, Any]) -> None:
    """Write the card, aside first."""
    aside = path.with_suffix('.json.partial')
    aside.write_text(json.dumps(card, indent=2) + '\n')
    os.replace(aside, path)


def describe(trainer: Trainer) -> dict[str, Any]:
    """The card of a run; evaluation adds thresholds and scores."""
    recipe = trainer.job.recipe
    return {
        'recipe': recipe.name,
        'seed': recipe.seed,
        'commit': commit(),
        **trainer.job.about(),
        'duration_minutes': round(trainer.seconds / 60, 1),
        'machine': f'{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}',
        'processes': ranks.count(),
        'licence': 'Apache-2.0',
    }


if __name__ == '__main__':
    main()
