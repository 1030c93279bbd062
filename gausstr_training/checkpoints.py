"""Checkpoints of a run: written aside then renamed, read without running code."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stands: everything else is a function of the recipe and the step."""

    recipe: str
    stage: str
    step: int  # steps of the stage that are done
    seconds: float  # of training so far, all stages
    model: dict[str, Any]
    optimiser: dict[str, Any]


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint; a crash in between leaves the previous one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix('.partial')
    torch.save(vars(checkpoint), aside)
    os.replace(aside, path)


def load(path: Path, recipe: str) -> Checkpoint | None:
    """The checkpoint of a run, or None where there is none yet.

    Raises:
        ValueError: the file cannot be read, or belongs to another recipe.
    """
    if not path.exists():
        return None
    try:
        checkpoint = Checkpoint(**torch.load(path, map_location='cpu', weights_only=True))
    except (OSError, EOFError, RuntimeError, TypeError, pickle.UnpicklingError) as error:
        raise ValueError(f'checkpoint {path} cannot be read: {error}') from None
    if checkpoint.recipe != recipe:
        raise ValueError(f'checkpoint {path} is of recipe {checkpoint.recipe!r}, not {recipe!r}')
    return checkpoint
