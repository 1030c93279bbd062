"""A folder with the targets of frames, one file to a frame, all of one teacher.

Files are written aside and renamed, and what they hold depends on the frame and the teacher
alone: processes on any number of machines may fill one folder at once, and whoever comes second
replaces a file by its equal.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gausstr_core.process.reasons import reason
from gausstr_training.targets.codec import PackedTargets, Summary, decode, summary
from gausstr_training.targets.container import DamagedFile

CARD = 'teacher.json'
SUFFIX = '.targets'
PART = '.part'
ABANDONED = 24 * 3600.0  # seconds after which what a killed process left is taken away
T = TypeVar('T', PackedTargets, Summary)
_KEY = re.compile(r'[^/\0]{1,200}(/[^/\0]{1,200})*')


@dataclass(frozen=True)
class TargetCache:
    """The targets that one teacher made.

    Args:
        folder: of this teacher alone.
        teacher: its identity; see `gausstr_training.targets.networks.identity`.
    """

    folder: Path
    teacher: str

    @classmethod
    def of(cls, root: Path, teacher: str, card: dict[str, Any]) -> TargetCache:
        """The folder of a teacher in a folder of several; made where it is not there.

        Args:
            root: the folder of all teachers.
            teacher: the identity, which becomes the folder's name.
            card: what people should know of the teacher; written beside the files.
        """
        cache = cls(root / teacher, teacher)
        text = json.dumps({'teacher': teacher, **card}, indent=2, sort_keys=True) + '\n'
        if not (cache.folder / CARD).is_file():
            cache._put(cache.folder / CARD, text.encode())
        return cache

    @classmethod
    def open(cls, folder: Path) -> TargetCache:
        """A folder that a teacher has filled, perhaps elsewhere.

        Raises:
            ValueError: it is not such a folder.
        """
        return cls(folder, str(read_card(folder)['teacher']))

    def path(self, key: str) -> Path:
        """The file of a frame.

        Raises:
            ValueError: the key is no path below the folder.
        """
        if not _KEY.fullmatch(key) or {'.', '..'} & set(key.split('/')):
            raise ValueError(f'a frame must be called like "bag/stamp", got {key!r}')
        return self.folder / f'{key}{SUFFIX}'

    def read(self, key: str) -> PackedTargets | None:
        """The targets of a frame; None where there are none.

        Raises:
            DamagedFile: the file is damaged, or another frame's or teacher's; it is named.
        """
        return self._opened(key, decode)

    def check(self, key: str) -> Summary | None:
        """What the file of a frame says of itself, its checksum compared; see `read`."""
        return self._opened(key, summary)

    def write(self, key: str, data: bytes) -> None:
        """Put the file of a frame in its place, whole or not at all."""
        self._put(self.path(key), data)

    def _opened(self, key: str, how: Callable[[bytes], T]) -> T | None:
        path = self.path(key)
        try:
            found = how(path.read_bytes())
        except FileNotFoundError:
            return None
        except DamagedFile as error:
            raise DamagedFile(f'{path} is damaged: {error}') from None
        if (found.key, found.teacher) != (key, self.teacher):
            raise DamagedFile(f'{path} holds {found.key!r} by {found.teacher!r}')
        return found

    def _put(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # on a shared file system two machines may have a process of the same number
        mark = f'{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}'
        aside = path.with_name(f'.{path.name}.{mark}{PART}')
        try:
            aside.write_bytes(data)
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)


def read_card(folder: Path) -> dict[str, Any]:
    """What people should know of the teacher that filled a folder.

    Raises:
        ValueError: it is not such a folder.
    """
    try:
        card = json.loads((folder / CARD).read_text(encoding='utf-8-sig'))
        return {'teacher': str(card['teacher']), **card}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(
            f'{folder} is not a folder of one teacher, which has a {CARD}: {reason(error)}'
        ) from None


def sweep(root: Path, patience: float = ABANDONED) -> list[Path]:
    """Remove what processes that died have left half-written below a folder.

    Args:
        root: of caches.
        patience: seconds without change after which a file counts as left.

    Returns:
        What was removed.
    """
    old = time.time() - patience
    left = [path for path in root.rglob(f'.*{PART}') if _changed(path) < old]
    for path in left:
        path.unlink(missing_ok=True)
    return left


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # finished meanwhile
        return time.time()
