"""What a replay has mapped so far, so that one that was killed need not map it again.

An sqlite3 database beside the target. A set is in it with all its messages or not at all, whenever
the process ends. It belongs to one bag and one choice of parameters, which its name tells, so that
a mistyped command leaves the journal of the right one alone.

With a memory over time a map depends on those before it. So now and then what is remembered is
written down too, as plain arrays; a run that goes on maps the sets since then again.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import sqlite3
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gausstr_core
from gausstr_ros.settings.settings import Settings

_TABLES = """
create table if not exists sets
    (number integer primary key, stamp integer, facts text, place integer);
create table if not exists memory (only integer primary key, place integer, arrays blob);
create table if not exists messages (number integer, place integer, name text, data blob);
create index if not exists of_set on messages (number, place);
"""


@dataclass(frozen=True)
class StoredSet:
    """The result of one set of images."""

    seconds: dict[str, float]  # wall time per stage
    messages: list[tuple[str, bytes]]  # output and its serialised message
    faults: dict[str, str] = field(default_factory=dict)  # per camera that could not be used
    # per camera why its measured depth can hardly be right, else ''
    doubts: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)  # on the memory, for the diagnostics


class Journal:
    """The sets of one replay; used as a context.

    Args:
        target: what the replay writes.
        fingerprint: of everything that the results depend on.

    Raises:
        OSError: it cannot be written there.
    """

    def __init__(self, target: Path, fingerprint: str) -> None:
        self._target = target
        self._hash = fingerprint[:12]
        self._path = target.with_name(f'.{target.name}.{self._hash}.journal')

    def __enter__(self) -> Journal:
        """Open; one that is damaged is begun anew."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._open()
        except sqlite3.OperationalError as error:
            raise OSError(f'{self._path}: {error}') from error
        except sqlite3.DatabaseError:
            self._database.close()
            self._path.unlink()
            self._open()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Close; deleted where the target is complete, or where this run can never complete it.

        What may heal is no ValueError: a disk or network that does not answer, a full device.
        """
        self._database.close()
        if error is None or isinstance(error, ValueError):
            which = '[0-9a-f]{12}' if error is None else self._hash
            ours = re.compile(rf'\.{re.escape(self._target.name)}\.{which}\.journal(-journal)?')
            for path in self._path.parent.iterdir():
                if ours.fullmatch(path.name):
                    path.unlink()

    def __len__(self) -> int:
        return self._database.execute('select count(*) from sets').fetchone()[0]

    def find(self, number: int, stamp: int) -> StoredSet | None:
        """The result of a set by its place in the bag, if it was mapped before."""
        row = self._database.execute(
            'select facts from sets where number = ? and stamp = ?', (number, stamp)
        ).fetchone()
        if row is None:
            return None
        messages = self._database.execute(
            'select name, data from messages where number = ? order by place', (number,)
        )
        seconds, faults, doubts, notes = json.loads(row[0])
        return StoredSet(seconds, messages.fetchall(), faults, doubts, notes)

    def add(self, number: int, stamp: int, result: StoredSet) -> None:
        """Keep the result of a set, after those that were mapped before it."""
        facts = json.dumps([result.seconds, result.faults, result.doubts, result.notes])
        with self._database:
            self._database.execute(
                'insert into sets values (?, ?, ?, (select count(*) from sets))',
                (number, stamp, facts),
            )
            self._database.executemany(
                'insert into messages values (?, ?, ?, ?)',
                [(number, place, *message) for place, message in enumerate(result.messages)],
            )

    def keep_memory(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep what is remembered after the set that was added last."""
        packed = io.BytesIO()
        np.savez(packed, **arrays)
        with self._database:
            self._database.execute(
                'insert or replace into memory values (0, (select count(*) from sets), ?)',
                (packed.getvalue(),),
            )

    def memory(self) -> dict[str, NDArray[Any]]:
        """What was remembered when it was kept last; sets after that are mapped again.

        Raises:
            ValueError: it is damaged.
        """
        row = self._database.execute('select place, arrays from memory').fetchone()
        self._drop_from(0 if row is None else row[0])
        if row is None:
            return {}
        try:
            with np.load(io.BytesIO(row[1]), allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f'{self._path}: damaged memory: {error}') from error

    def begin_anew(self) -> None:
        """Forget everything."""
        self._drop_from(0)
        with self._database:
            self._database.execute('delete from memory')

    def _drop_from(self, place: int) -> None:
        """Forget the sets from one on, in the order in which they were mapped."""
        with self._database:
            self._database.execute(
                'delete from messages where number in (select number from sets where place >= ?)',
                (place,),
            )
            self._database.execute('delete from sets where place >= ?', (place,))

    def _open(self) -> None:
        self._database = sqlite3.connect(self._path, timeout=0)
        # The first write takes a lock, which then is kept until the end of the process.
        self._database.execute('pragma locking_mode = exclusive')
        self._database.executescript(f'begin exclusive; {_TABLES} commit;')


def fingerprint(bag: Path, settings: Settings, names: Sequence[str]) -> str:
    """Of a bag, the parameters and the outputs: runs that agree in it give the same results.

    Files, those of the bag and of the model, count by name, size and time of change.
    """
    places = [bag, *(Path(gausstr_core.__file__).parent / part for part in ('config', 'weights'))]
    given = (settings.weights, settings.weights_folder, settings.vocabulary_file)
    places += [Path(place) for place in given if place]
    files = [
        file
        for place in places
        for file in (sorted(place.iterdir()) if place.is_dir() else [place])
    ]
    states = [
        [str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns]
        for file in files
        if file.is_file()
    ]
    parts = [metadata.version('gausstr_ros'), repr(settings), sorted(names), states]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
