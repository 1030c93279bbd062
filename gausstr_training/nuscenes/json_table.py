"""Reads a JSON table of nuScenes row by row: the largest have millions of rows."""

from __future__ import annotations

import codecs
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import ijson
from tqdm import tqdm

START = 64  # bytes in which the list must begin
LARGE = 1 << 24  # bytes of a table that is worth a progress bar
_V = TypeVar('_V')
_UNIT = 1e-3  # how far a quaternion's norm may be from 1: what tf2 accepts


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


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a table, in its order; only one of them is in memory.

    Raises:
        ValueError: the file is missing, is cut short, or is no JSON list of objects; the message
            names the file and the row.
    """
    try:
        size = path.stat().st_size
        with path.open('rb') as file:
            start = file.read(START)
            if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise ValueError(f'{path}: expected UTF-8, got UTF-16: save it as UTF-8')
            mark = len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0
            if start[mark:].lstrip()[:1] != b'[':
                raise ValueError(f'{path}: expected a list')
            file.seek(mark)
            with tqdm.wrapattr(
                file, 'read', total=size, desc=path.name, leave=False, disable=size < LARGE
            ) as stream:
                yield from _rows(path, stream)
    except FileNotFoundError:
        raise ValueError(f'{path} is missing') from None


def _rows(path: Path, stream: Any) -> Iterator[Row]:
    number = 0
    try:
        # floats as Python's own JSON reads them; the default would be Decimal
        for values in ijson.items(stream, 'item', use_float=True):
            if not isinstance(values, dict):
                raise ValueError(f'{path}: expected row {number} to be an object')
            yield Row(path, values)
            number += 1
    except (ijson.JSONError, UnicodeDecodeError) as error:
        reason = ' '.join(str(error).split())
        raise ValueError(f'{path}: row {number} is not readable JSON: {reason}') from None


def _finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def linked(row: Row, name: str, rows: Mapping[str, _V], table: str) -> _V:
    """What the token in a field of a row stands for.

    Raises:
        ValueError: the table has no such token; file, row and field are named.
    """
    token = row.text(name)
    if token not in rows:
        row.refuse(name, f'a row of {table}')
    return rows[token]
