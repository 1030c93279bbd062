"""Errors in words: a message names what was found, never an errno or a Python repr."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_UNSET = ('', 'untrained')  # of --weights: no file is meant


def reason(error: BaseException) -> str:
    """Why something failed, for a message that names the place already."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    if isinstance(error, KeyError) and error.args:
        return f'{error.args[0]} is missing'
    return ' '.join(str(error).split()) or type(error).__name__


def told(error: BaseException) -> str:
    """The message of a command: as it was written, or the file and the reason."""
    if isinstance(error, OSError) and error.strerror:
        places = [str(name) for name in (error.filename, error.filename2) if name is not None]
        return ': '.join([*[' -> '.join(places)] * bool(places), reason(error)])
    return str(error) or type(error).__name__


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
