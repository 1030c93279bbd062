"""One step of a stage: gradients over pieces and processes, clipping, the update, the average."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gausstr_training.engine.schedules import learning_rate
from gausstr_training.engine.stage import Stage
from gausstr_training.processes import ranks


class _Objective(nn.Module):
    """A stage's loss as a module, so that DistributedDataParallel sees what is trained."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.trained = stage.module
        self._loss = stage.loss

    def forward(self, piece: Any) -> tuple[Tensor, dict[str, float]]:
        return self._loss(piece)


class Stepper:
    """Holds all that changes from step to step, beside the model: optimiser, scaler, average.

    Args:
        stage: what to train; its module is on `device`.
        ema: decay per step of the averaged weights; 0: none are kept.
        device: of this process.
    """

    def __init__(self, stage: Stage, ema: float, device: torch.device) -> None:
        self.stage, self._device = stage, device
        self._parameters = [p for p in stage.module.parameters() if p.requires_grad]
        schedule = stage.schedule
        self._optimiser = torch.optim.AdamW(
            self._parameters, lr=schedule.learning_rate, weight_decay=schedule.weight_decay
        )
        half = stage.precision == torch.float16
        self._scaler = torch.amp.GradScaler(device.type, enabled=half)
        average = get_ema_multi_avg_fn(ema) if ema else None
        self._averaged = (
            AveragedModel(stage.module, multi_avg_fn=average, use_buffers=True) if ema else None
        )
        self._objective: nn.Module = _Objective(stage)
        if ranks.count() > 1:
            self._objective = DistributedDataParallel(
                self._objective, broadcast_buffers=False, find_unused_parameters=True
            )

    def step(self, step: int) -> dict[str, float]:
        """Do step `step`; gives this process's share of the loss and its parts.

        Raises:
            FloatingPointError: the gradient is not finite, and no loss scaling is to blame.
        """
        rate = learning_rate(self.stage.schedule, step, self.stage.steps)
        for group in self._optimiser.param_groups:
            group['lr'] = rate
        parts = self.gather(step)
        self._scaler.unscale_(self._optimiser)
        norm = nn.utils.clip_grad_norm_(self._parameters, self.stage.schedule.clip)
        if not torch.isfinite(norm) and not self._scaler.is_enabled():
            raise FloatingPointError(f'{self.stage.name} step {step}: gradient is not finite')
        self._scaler.step(self._optimiser)
        self._scaler.update()
        if self._averaged is not None:
            self._averaged.update_parameters(self.stage.module)
        # norm and rate are the same everywhere: as shares, they add up to themselves
        everywhere = {'norm': norm.item(), 'learning_rate': rate}
        return parts | {name: value / ranks.count() for name, value in everywhere.items()}

    def gather(self, step: int) -> dict[str, float]:
        """Leave the step's gradient, of all processes, in the parameters (times the scale)."""
        self._optimiser.zero_grad(set_to_none=True)
        parts: dict[str, float] = {}
        pieces = self.stage.pieces(step)
        assert pieces, 'every process has a share of every step'
        for index, piece in enumerate(pieces):
            last = index + 1 == len(pieces)
            with self._communicating(last):
                loss, found = self._objective(piece)
                # DistributedDataParallel divides by the number of processes; we want the sum
                self._scaler.scale(loss * ranks.count()).backward()
            for name, value in {'loss': loss.item(), **found}.items():
                parts[name] = parts.get(name, 0.0) + value
        return parts

    @contextlib.contextmanager
    def _communicating(self, now: bool) -> Iterator[None]:
        """Gradients are summed over the processes once a step, with the last piece."""
        if now or not isinstance(self._objective, DistributedDataParallel):
            yield
            return
        with self._objective.no_sync():
            yield

    @contextlib.contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Have the averaged weights in the module for a while."""
        if self._averaged is None:
            yield
            return
        module = self.stage.module
        own = {name: value.clone() for name, value in module.state_dict().items()}
        self.take_average()
        try:
            yield
        finally:
            module.load_state_dict(own)

    def take_average(self) -> None:
        """Put the averaged weights into the module, where there are any: the stage is over."""
        if self._averaged is not None:
            self.stage.module.load_state_dict(self._averaged.module.state_dict())

    def state(self) -> dict[str, dict[str, Any]]:
        """What a checkpoint keeps."""
        return {
            'optimiser': self._optimiser.state_dict(),
            'scaler': self._scaler.state_dict(),
            'averaged': {} if self._averaged is None else self._averaged.state_dict(),
        }

    def restore(
        self, optimiser: dict[str, Any], scaler: dict[str, Any], averaged: dict[str, Any]
    ) -> None:
        """Take over what `state` gave."""
        self._optimiser.load_state_dict(optimiser)
        if scaler:
            self._scaler.load_state_dict(scaler)
        if self._averaged is not None:
            self._averaged.load_state_dict(averaged)
