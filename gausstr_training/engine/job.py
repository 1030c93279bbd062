"""What is trained, on what: a recipe put together with its data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gausstr_training.engine.stage import Stage
from gausstr_training.recipes import Recipe


class Job(ABC):
    """A run: its model, its stages one after another, and what comes out."""

    recipe: Recipe
    device: torch.device

    @property
    @abstractmethod
    def model(self) -> nn.Module:
        """What checkpoints keep."""

    @property
    @abstractmethod
    def stages(self) -> Mapping[str, Callable[[], Stage]]:
        """By name, in order; each is made when the one before it is over."""

    @property
    @abstractmethod
    def identity(self) -> dict[str, int | str]:
        """Data and networks, besides the recipe, with which alone a run goes on as it began."""

    @abstractmethod
    def save(self, output: Path) -> Path:
        """Write the weights that the pipeline loads; gives their file."""

    @abstractmethod
    def about(self) -> dict[str, Any]:
        """The facts on the card that only the job knows."""
