"""What the trainer asks of a stage of training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gausstr_training.recipes import StageRecipe


class Stage(ABC):
    """One stage: which parameters it trains, and the loss of a step.

    A step's batch is shared by the processes and taken in pieces, so that any number of processes
    and any memory give the same gradient: the losses of all pieces of all processes add up to the
    loss of the step. What a piece gives is a function of weights, seed and step alone.
    """

    name: str
    precision: torch.dtype | None = None  # that autocast lowers the model to, if anything

    @property
    @abstractmethod
    def schedule(self) -> StageRecipe:
        """Learning rate, warm-up and clipping."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """How many steps the stage has."""

    @property
    @abstractmethod
    def module(self) -> nn.Module:
        """What is trained."""

    @abstractmethod
    def pieces(self, step: int) -> Sequence[Any]:
        """This process's share of a step, at least one piece."""

    @abstractmethod
    def loss(self, piece: Any) -> tuple[Tensor, dict[str, float]]:
        """What a piece adds to the loss of its step, and to the loss's parts by name."""

    def extras(self) -> dict[str, Tensor]:
        """What a checkpoint must keep beside the module."""
        return {}

    def restore(self, extras: Mapping[str, Tensor]) -> None:
        """Take over what `extras` gave."""
        assert not extras, 'a stage that keeps extras must take them back'

    def validate(self) -> dict[str, float]:
        """Sums over this process's share of the validation frames; 'frames' counts them."""
        return {}

    def pictures(self) -> dict[str, Tensor]:
        """Pictures [3, H, W] in [0, 1] for a look at how it goes; only rank 0 is asked."""
        return {}

    def close(self) -> None:  # noqa: B027  most have nothing to end
        """End the processes that it started; called when it is over, however it ended."""
