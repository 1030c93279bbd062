"""Under torchrun or alone: the gradient of a recipe's first step, of every stage, into a file.

python step_gradient.py RECIPE DATA WEIGHTS OUTPUT
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from gausstr_core.process.parallel import keep_torch_threads
from gausstr_training.compact.job import CompactJob
from gausstr_training.engine.stepping import Stepper
from gausstr_training.full.job import FullJob, Sources
from gausstr_training.processes import ranks
from gausstr_training.recipes import CompactRecipe, read_recipe


def main(recipe_name: str, data: str, weights: str, output: str) -> None:
    torch.set_num_threads(1)
    keep_torch_threads()
    recipe = read_recipe(recipe_name)
    with ranks.joined('cpu') as device:
        if isinstance(recipe, CompactRecipe):
            job = CompactJob(recipe, [Path(data)], device)
        else:
            job = FullJob(recipe, Sources((Path(data),), folder=Path(weights)), device)
        found = {}
        for name, make in job.stages.items():
            stage = make()
            parts = ranks.summed_by_name(Stepper(stage, 0.0, device).gather(0))
            gradients = {
                f'{name}.{key}': parameter.grad.clone()
                for key, parameter in stage.module.named_parameters()
                if parameter.grad is not None
            }
            found |= gradients | {f'{name}.part.{k}': torch.tensor(v) for k, v in parts.items()}
        if ranks.rank() == 0:
            torch.save(found, output)


if __name__ == '__main__':
    main(*sys.argv[1:])
