"""Checkpoints of a run: written aside then renamed, pruned, read without running code."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from gausstr_training.recipes import Recipe

SUFFIX = '.pt'
# a run may go on with these changed: they do not change what is learned
FREE = ('name', 'about', 'checkpoint_every', 'keep', 'log_every', 'validate_every',
        'picture_every', 'validation_frames', 'views_at_once')  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stands.

    The schedule, the order of the frames and all randomness are functions of the recipe and the
    step, so that they need no place here.
    """

    recipe: dict[str, Any]
    data: dict[str, int]  # by which an exchange of the data is noticed
    order: int  # of the stage, from 0
    stage: str
    step: int  # steps of the stage that are done
    seconds: float  # of training so far, all stages
    model: dict[str, Any]
    optimiser: dict[str, Any]
    scaler: dict[str, Any] = field(default_factory=dict)
    averaged: dict[str, Any] = field(default_factory=dict)  # of the stage's module
    extras: dict[str, Any] = field(default_factory=dict)  # tensors that a stage wants to keep


class CheckpointFolder:
    """The newest few checkpoints of one run.

    Args:
        folder: made where it is missing.
        keep: how many stay.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self._keep = folder, keep

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write one and delete the oldest; a crash in between leaves what was there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f'{checkpoint.order}-{checkpoint.stage}-{checkpoint.step:08d}{SUFFIX}'
        path = self.folder / name
        aside = path.with_suffix('.partial')
        with aside.open('wb') as file:
            torch.save(vars(checkpoint), file)
            file.flush()
            os.fsync(file.fileno())  # else a power cut may leave the name without the content
        os.replace(aside, path)
        for old in self._paths()[: -self._keep]:
            old.unlink()
        return path

    def newest(self, recipe: Recipe, data: Mapping[str, int]) -> Checkpoint | None:
        """The checkpoint to go on from, or None where there is none yet.

        Raises:
            ValueError: the file cannot be read, or belongs to another recipe or other data.
        """
        paths = self._paths()
        if not paths:
            return None
        path = paths[-1]
        try:
            checkpoint = Checkpoint(**torch.load(path, map_location='cpu', weights_only=True))
        except (OSError, EOFError, RuntimeError, TypeError, pickle.UnpicklingError) as error:
            raise ValueError(
                f'checkpoint {path} cannot be read: {error}\n'
                'delete it to go on from the one before'
            ) from None
        _check_recipe(path, checkpoint.recipe, as_plain(recipe))
        if checkpoint.data != dict(data):
            raise ValueError(
                f'checkpoint {path} is of other data: {checkpoint.data}, now {dict(data)}; '
                'give another --output'
            )
        return checkpoint

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob(f'*{SUFFIX}'))


def as_plain(recipe: Recipe) -> dict[str, Any]:
    """A recipe as nested dicts, with lists where it has tuples: what a checkpoint may hold."""
    return {name: _plain(value) for name, value in asdict(recipe).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _check_recipe(path: Path, saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    names = [name for name in {**wanted, **saved} if name not in FREE]
    changed = [
        f'{name} was {saved.get(name)!r}, is {wanted.get(name)!r}'
        for name in names
        if saved.get(name) != wanted.get(name)
    ]
    if changed:
        raise ValueError(
            f'checkpoint {path} is of another recipe ({saved.get("name")}, now '
            f'{wanted.get("name")}): {"; ".join(changed)}; give another --output'
        )
