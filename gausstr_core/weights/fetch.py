"""Fetch published weights on first use: progress, resume, size, checksum, one cache folder.

Files lie under `cache_folder()`: $GAUSSTR_CACHE, else $XDG_CACHE_HOME/gausstr, else
~/.cache/gausstr. A transfer goes into NAME.part and is renamed when whole, so a file that exists
is complete. Checksums, in this order: the one this package knows; the one the server states
(model hubs do, for large files); otherwise that of the first transfer, written down in
checksums.json in the same folder and demanded from then on (trust on first use). That file
travels with a folder that is copied to a robot.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from typing import Any

from filelock import FileLock

from gausstr_core.weights.checksum import sha256_of
from gausstr_core.weights.transfer import transfer

log = logging.getLogger(__name__)

LEDGER = 'checksums.json'
ATTEMPTS = 4
PAUSE = 1.0  # seconds before the second attempt, doubled each time


@dataclass(frozen=True)
class RemoteFile:
    """A published file: where it lies in the cache, where it comes from, what is known of it."""

    name: str  # path below the cache folder
    url: str
    licence: str
    size: int | None = None  # bytes; None where not known beforehand
    sha256: str | None = None


def cache_folder() -> Path:
    """The folder of all fetched files; it need not exist."""
    if os.environ.get('GAUSSTR_CACHE'):
        return Path(os.environ['GAUSSTR_CACHE']).expanduser()
    base = os.environ.get('XDG_CACHE_HOME')
    return (Path(base) if base else Path.home() / '.cache') / 'gausstr'


def locate(file: RemoteFile, folder: Path | str | None = None) -> Path:
    """Path of a published file, fetched into the cache if it is not there.

    Args:
        file: what to find.
        folder: look only here and fetch nothing: for robots without internet. The file may lie
            at its cache path below the folder or directly in it. It may be another file of the
            same kind, trained by the user: only its own checksums.json is asked, if there.

    Raises:
        ValueError: it is not in `folder`, cannot be fetched, or is not the file that was
            published; the message says which file belongs where.
    """
    if folder is None:
        path = cache_folder() / file.name
        return check_size(file, path) if path.is_file() else fetch(file, path)
    for path in (Path(folder) / file.name, Path(folder) / Path(file.name).name):
        if path.is_file():
            return check_size(replace(file, size=None), path)
    raise ValueError(
        f'weights file {file.name} is not in {folder}; download {file.url} and place it at '
        f'{Path(folder) / file.name}'
    )


def fetch(file: RemoteFile, path: Path) -> Path:
    """Transfer a file to `path`; a transfer that broke off goes on where it stopped.

    Raises:
        ValueError: no network, or what came is not what was published.
    """
    if os.environ.get('GAUSSTR_OFFLINE', '').lower() not in ('', '0', 'false'):
        raise ValueError(_by_hand(file, path, 'GAUSSTR_OFFLINE is set'))
    path.parent.mkdir(parents=True, exist_ok=True)
    # two nodes that start together must not write into one .part
    with FileLock(f'{path}.lock'):
        if path.is_file():
            return check_size(file, path)
        log.info('fetching %s from %s (licence: %s)', file.name, file.url, file.licence)
        part = Path(f'{path}.part')
        _accept(file, part, path, _persist(file, part, path))
    return path


def _persist(file: RemoteFile, part: Path, path: Path) -> Mapping[str, str]:
    """Transfer in several attempts; returns what the server states of the file."""
    for attempt in range(ATTEMPTS):
        try:
            return transfer(file.url, part, path.name)
        except (OSError, HTTPException) as error:
            code = getattr(error, 'code', 500)
            if code == 416:  # asked for bytes behind the end: begin anew
                part.unlink(missing_ok=True)
            # 4xx will not get better by asking again, 429 (too many requests) will
            elif attempt + 1 == ATTEMPTS or (400 <= code < 500 and code != 429):
                raise ValueError(_by_hand(file, path, str(error))) from None
        time.sleep(2**attempt * PAUSE)
    raise ValueError(_by_hand(file, path, 'the server sends no whole file'))


def check_size(file: RemoteFile, path: Path) -> Path:
    """Return `path` if its size is the known one: cheap enough for every start.

    Raises:
        ValueError: the size differs.
    """
    known = file.size or _ledger(path, file).get('size')
    size = path.stat().st_size
    if known is not None and size != known:
        raise ValueError(
            f'weights file {path} has {size} bytes, expected {known}; remove it and fetch it '
            f'again from {file.url}'
        )
    return path


def check_sum(file: RemoteFile, path: Path) -> str:
    """Compare the whole content with the known checksum; returns the sha256.

    Raises:
        ValueError: the content differs.
    """
    got = sha256_of(check_size(file, path))
    known = file.sha256 or _ledger(path, file).get('sha256')
    if known is not None and got != known:
        raise ValueError(f'weights file {path} has sha256 {got}, expected {known}')
    return got


def _accept(file: RemoteFile, part: Path, path: Path, headers: Mapping[str, str]) -> None:
    """Rename a checked transfer and write its checksum down; remove one that is wrong."""
    size, got = part.stat().st_size, sha256_of(part)
    stated = headers.get('X-Linked-ETag', '')
    known = file.sha256 or _ledger(path, file).get('sha256')
    known = known or (stated if len(stated) == 64 else None)
    if (file.size not in (None, size)) or known not in (None, got):
        part.unlink()
        raise ValueError(
            f'{file.url} gave {size} bytes with sha256 {got}, expected {file.size or "any"} '
            f'bytes with sha256 {known}; nothing was kept'
        )
    if known is None:
        log.warning('no checksum is known for %s; trusting this first copy: %s', file.name, got)
    os.replace(part, path)
    with FileLock(f'{path.parent / LEDGER}.lock'):
        entries = _entries(path.parent)
        entries[path.name] = {'size': size, 'sha256': got, 'url': file.url}
        aside = path.parent / f'{LEDGER}.part'
        aside.write_text(json.dumps(entries, indent=2, sort_keys=True) + '\n')
        os.replace(aside, path.parent / LEDGER)


def _entries(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / LEDGER
    try:
        entries = json.loads(path.read_text()) if path.exists() else {}
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f'{path} is not a list of checksums: {error}') from None
    return entries


def _ledger(path: Path, file: RemoteFile) -> dict[str, Any]:
    """What is written down of a file, or nothing."""
    entry = _entries(path.parent).get(path.name, {})
    return entry if entry.get('url', file.url) == file.url else {}


def _by_hand(file: RemoteFile, path: Path, reason: str) -> str:
    return (
        f'weights file {file.name} is not here and could not be fetched ({reason}). On a machine '
        f'with internet download {file.url} and place it at {path}, or run gausstr-fetch there '
        'and copy its folder; GAUSSTR_CACHE names another folder'
    )
