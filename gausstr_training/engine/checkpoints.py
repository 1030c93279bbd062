"""Checkpoints of a run: written aside then renamed, pruned, read without running code."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from gausstr_core.process.reasons import reason
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
    identity: dict[str, int | str]  # of data and networks, see `Job.identity`
    order: int  # of the stage, from 0
    stage: str
    step: int  # steps of the stage that are done
    seconds: float  # of training so far, all stages
    model: dict[str, Any]
    optimiser: dict[str, Any]
    scaler: dict[str, Any] = field(default_factory=dict)
    averaged: dict[str, Any] = field(default_factory=dict)  # of the stage's module
    extras: dict[str, Any] = field(default_factory=dict)  # tensors that a stage wants to keep


def read(path: Path) -> Checkpoint:
    """One checkpoint.

    Raises:
        ValueError: the file cannot be read.
    """
    try:
        return Checkpoint(**torch.load(path, map_location='cpu', weights_only=True))
    except (OSError, EOFError, RuntimeError, TypeError, pickle.UnpicklingError) as error:
        raise ValueError(
            f'checkpoint {path} cannot be read: {reason(error)}\n'
            'delete it to go on from the one before'
        ) from None


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

    def newest(self, recipe: Recipe, identity: Mapping[str, int | str]) -> Checkpoint | None:
        """The checkpoint to go on from, or None where there is none yet.

        Raises:
            ValueError: the file cannot be read, or belongs to another recipe, other data or other
                networks; what differs is named.
        """
        paths = self._paths()
        if not paths:
            return None
        path = paths[-1]
        checkpoint = read(path)
        _check_recipe(path, checkpoint.recipe, as_plain(recipe))
        if changed := _changes(checkpoint.identity, identity):
            raise ValueError(
                f'checkpoint {path} is of other data or networks: {changed}; give another --output'
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
    fixed = [{k: v for k, v in recipe.items() if k not in FREE} for recipe in (saved, wanted)]
    if changed := _changes(*fixed):
        raise ValueError(
            f'checkpoint {path} is of another recipe ({saved.get("name")}, now '
            f'{wanted.get("name")}): {changed}; give another --output'
        )


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    return '; '.join(
        f'{name} was {before.get(name)!r}, is {now.get(name)!r}'
        for name in {**now, **before}
        if before.get(name) != now.get(name)
    )
