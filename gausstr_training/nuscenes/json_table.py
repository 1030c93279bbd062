"""Reads a JSON table of nuScenes row by row: the largest have millions of rows."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

CHUNK = 1 << 20  # characters read at a time
LONGEST_ROW = 1 << 24  # characters; in nuScenes about a thousand
LARGE = 1 << 24  # bytes of a table that is worth a progress bar
_UNIT = 1e-3  # how far a quaternion's norm may be from 1: what tf2 accepts
_SPACE = re.compile(r'\s*')


@dataclass(frozen=True)
class Row:
    """A row whose fields are checked when they are asked for.

    Every access raises ValueError if the field is missing or of another kind; the message names
    the file, the row and the field.
    """

    path: Path
    values: dict[str, Any]

    def text(self, name: str) -> str:
        """A string."""
        value = self.values.get(name)
        return value if isinstance(value, str) else self.refuse(name, 'text')

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self.values.get(name)
        return value if isinstance(value, bool) else self.refuse(name, 'true or false')

    def count(self, name: str) -> int:
        """A whole number from 0 on."""
        value = self.values.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        return self.refuse(name, 'a whole number from 0 on')

    def vector(self, name: str, length: int) -> tuple[float, ...]:
        """Finite numbers."""
        value = self.values.get(name)
        if not (isinstance(value, list) and len(value) == length and all(map(_finite, value))):
            self.refuse(name, f'{length} finite numbers')
        return tuple(map(float, value))

    def quaternion(self, name: str) -> tuple[float, ...]:
        """A unit quaternion wxyz, as recorded."""
        value = self.vector(name, 4)
        if abs(math.hypot(*value) - 1) > _UNIT:
            self.refuse(name, 'a unit quaternion w x y z')
        return value

    def matrix(self, name: str) -> tuple[tuple[float, ...], ...]:
        """3 x 3 finite numbers."""
        value = self.values.get(name)
        if not (isinstance(value, list) and len(value) == 3):
            self.refuse(name, '3 x 3 finite numbers')
        rows = (Row(self.path, {**self.values, name: row}) for row in value)
        return tuple(row.vector(name, 3) for row in rows)

    def refuse(self, name: str, expected: str) -> NoReturn:
        """Raise the error of a field that is not what was expected."""
        got = repr(self.values[name]) if name in self.values else 'nothing'
        raise ValueError(
            f'{self.path}: row {self.values.get("token")!r}: expected {name} to be {expected}, '
            f'got {got if len(got) < 80 else got[:77] + "..."}'
        )


def read_rows(path: Path, chunk: int = CHUNK) -> Iterator[Row]:
    """The rows of a table, in its order; only one of them is in memory.

    Raises:
        ValueError: the file is missing, is cut short, or is no JSON list of objects; the message
            names the file and the row.
    """
    try:
        size = path.stat().st_size
        with (
            path.open(encoding='utf-8') as file,
            tqdm(
                total=size, desc=path.name, unit='B', unit_scale=True, leave=False,
                disable=size < LARGE,
            ) as bar,
        ):  # fmt: skip
            for values in _objects(path, _pieces(file, chunk, bar)):
                yield Row(path, values)
    except FileNotFoundError:
        raise ValueError(f'{path} is missing') from None
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} is not UTF-8: {error}') from None


def _pieces(file: Any, chunk: int, bar: Any) -> Iterator[str]:
    while text := file.read(chunk):
        bar.update(len(text))
        yield text


def _objects(path: Path, pieces: Iterator[str]) -> Iterator[dict[str, Any]]:
    decoder = json.JSONDecoder()
    text = _Text(path, pieces)
    text.take('[', 'a list')
    number, mark = 0, ','
    if text.next() == ']':
        mark = text.take(']', 'the end')
    while mark == ',':
        yield text.row(decoder, number)
        mark = text.take(',]', f'a comma or the end of the list after row {number}')
        number += 1
    if text.next():
        raise ValueError(f'{path}: expected nothing after the list, got {text.next()!r}')


class _Text:
    """The unread part of a file."""

    def __init__(self, path: Path, pieces: Iterator[str]) -> None:
        self._path, self._pieces = path, pieces
        self._buffer, self._at = '', 0

    def next(self) -> str:
        """The next character that is no space; nothing at the end."""
        while True:
            found = _SPACE.match(self._buffer, self._at)
            assert found
            self._at = found.end()
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more():
                return ''

    def take(self, characters: str, expected: str) -> str:
        """Pass over one of some characters and return it."""
        got = self.next()
        if not got or got not in characters:
            raise ValueError(
                f'{self._path}: expected {expected}, got {repr(got) if got else "the end"}'
            )
        self._at += 1
        return got

    def row(self, decoder: json.JSONDecoder, number: int) -> dict[str, Any]:
        """Pass over an object and return it: where it is not readable yet, more is read."""
        if self.next() != '{':
            raise ValueError(f'{self._path}: expected row {number} to be an object')
        while True:
            try:
                value, self._at = decoder.raw_decode(self._buffer, self._at)
                return value
            except (ValueError, RecursionError) as error:
                if len(self._buffer) - self._at > LONGEST_ROW or not self._more():
                    why = error.msg if isinstance(error, json.JSONDecodeError) else error
                    raise ValueError(
                        f'{self._path}: row {number} is not readable JSON: {why}'
                    ) from None

    def _more(self) -> bool:
        piece = next(self._pieces, '')
        self._buffer, self._at = self._buffer[self._at :] + piece, 0
        return bool(piece)


def _finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False
