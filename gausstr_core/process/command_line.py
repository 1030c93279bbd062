"""What options of a command may be: numbers within a range, sizes, files, folders.

Those with a range are given as `type` to `add_argument`. A number of a command always has one, or
zero, a negative, `nan` or a number that fills the machine would be found somewhere inside.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_UNSET = ('', 'untrained')  # of --weights: no file is meant


@dataclass(frozen=True)
class Whole:
    """A whole number from `low` to `high`."""

    low: int
    high: int

    def __call__(self, text: str) -> int:
        """Read it, or have argparse refuse it."""
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not self.low <= value <= self.high:
            raise argparse.ArgumentTypeError(
                f'expected a whole number from {self.low} to {self.high}, got {text!r}'
            )
        return value


@dataclass(frozen=True)
class Real:
    """A number from `low` to `high`; neither nan nor infinite."""

    low: float
    high: float

    def __call__(self, text: str) -> float:
        """Read it, or have argparse refuse it."""
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not self.low <= value <= self.high:
            raise argparse.ArgumentTypeError(
                f'expected a number from {self.low:g} to {self.high:g}, got {text!r}'
            )
        return value


@dataclass(frozen=True)
class ImageSize:
    """WIDTHxHEIGHT in pixels, each from `low` to `high`."""

    low: int = 16
    high: int = 4096

    def __call__(self, text: str) -> tuple[int, int]:
        """Read (width, height), or have argparse refuse it."""
        match = re.fullmatch(r'(\d{1,5})x(\d{1,5})', text, re.ASCII)
        size = (int(match[1]), int(match[2])) if match else None
        if size is None or not all(self.low <= pixels <= self.high for pixels in size):
            raise argparse.ArgumentTypeError(
                f'expected WIDTHxHEIGHT like 448x252, from {self.low}x{self.low} to '
                f'{self.high}x{self.high}, got {text!r}'
            )
        return size


PROCESSES = Whole(1, 1024)  # or threads
PROCESSES_OR_NONE = Whole(0, PROCESSES.high)
SEED = Whole(0, 2**32 - 1)  # what every generator takes


def refuse_misplaced(
    options: argparse.Namespace, *, files: Iterable[str] = (), folders: Iterable[str] = ()
) -> None:
    """Refuse folders where files are wanted, and the reverse; what is absent passes.

    Args:
        options: of a command line.
        files, folders: options as they are typed, such as --json, or names of arguments.

    Raises:
        ValueError: one is the other; the message names the option and the path.
    """
    for name in files:
        for path in _paths(options, name):
            if path.is_dir():
                raise ValueError(f'{name}: expected a file, {path} is a folder')
            _refuse_files(name, path.parents)
    for name in folders:
        for path in _paths(options, name):
            _refuse_files(name, (path, *path.parents))


def _refuse_files(name: str, folders: Iterable[Path]) -> None:
    for path in folders:
        if path.is_file():
            raise ValueError(f'{name}: expected a folder, {path} is a file')


def _paths(options: argparse.Namespace, name: str) -> list[Path]:
    value: Any = getattr(options, name.lstrip('-').replace('-', '_'))
    values = value if isinstance(value, (list, tuple)) else [value]
    return [Path(item) for item in values if item is not None and str(item) not in _UNSET]
