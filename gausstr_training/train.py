"""gausstr-train: streets in, weights and their card out."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from gausstr_core.memory import keep_freed_memory
from gausstr_core.weights import save_weights
from gausstr_training.recipes import RECIPES
from gausstr_training.trainer import Trainer

EXAMPLE = """example:
  gausstr-synthesize --seed 10000 --streets 640 --frames 1 --no-voxels --output data/train
  gausstr-train --recipe compact --data data/train --output runs/compact
Interrupt it whenever you like: the same command goes on from the last checkpoint.
Curves: tensorboard --logdir runs/compact/curves
"""


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the console script."""
    options = parser().parse_args(arguments)
    keep_freed_memory()
    try:
        train(options)
    except (ValueError, OSError) as error:
        raise SystemExit(f'gausstr-train: {error}') from None
    except KeyboardInterrupt:
        raise SystemExit('gausstr-train: interrupted; run it again to go on') from None


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    result = argparse.ArgumentParser(
        prog='gausstr-train',
        description='Train GaussTR from streets, without 3D labels.',
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument('--recipe', choices=sorted(RECIPES), default='compact')
    result.add_argument('--data', type=Path, nargs='+', required=True, help='folders of streets')
    result.add_argument('--output', type=Path, required=True, help='folder of the run')
    result.add_argument('--threads', type=int, default=0, help='of torch; 0 leaves its default')
    return result


def train(options: argparse.Namespace) -> None:
    """Run the recipe and write weights and card into the output folder."""
    if options.threads:
        torch.set_num_threads(options.threads)
    trainer = Trainer(options.recipe, options.data, options.output)
    if trainer.resumed:
        print(f'going on from {trainer.path}: {trainer.resumed.stage} {trainer.resumed.step}')
    model = trainer.run()
    weights = options.output / f'{trainer.recipe.preset}.safetensors'
    save_weights(model, weights, trainer.recipe.preset)
    card = describe(trainer)
    aside = weights.with_suffix('.json.partial')
    aside.write_text(json.dumps(card, indent=2) + '\n')
    os.replace(aside, weights.with_suffix('.json'))
    print(f'wrote {weights} and its card; next: gausstr-evaluate --calibrate')


def describe(trainer: Trainer) -> dict[str, Any]:
    """The card of a run; evaluation adds thresholds and scores."""
    seeds = trainer.store.seeds
    return {
        'preset': trainer.recipe.preset,
        'recipe': trainer.name,
        'seed': trainer.recipe.seed,
        'commit': commit(),
        'data': {
            'streets': len(seeds),
            'frames': len(trainer.store),
            'made_by': trainer.recipe.synthesize,
        },
        'training_seeds': [min(seeds), max(seeds)],
        'steps': {'foundation': trainer.recipe.foundation.steps,
                  'transformer': trainer.recipe.transformer.steps,
                  'joint': trainer.recipe.joint.steps},
        'duration_minutes': round(trainer.seconds / 60, 1),
        'machine': f'{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}',
        'licence': 'Apache-2.0',
    }  # fmt: skip


def commit() -> str:
    """The commit of the checkout, with + where it has changes; 'installed' outside of one."""
    folder = Path(__file__).parent
    try:
        head = subprocess.run(
            ['git', 'describe', '--always', '--dirty=+'],
            cwd=folder, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return 'installed'
    return head.stdout.strip()


if __name__ == '__main__':
    main()
