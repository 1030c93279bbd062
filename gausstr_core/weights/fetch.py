"""Fetch published weights on first use: progress, resume, size, checksum, one cache folder.

Files lie under `cache_folder()`: $GAUSSTR_CACHE, else $XDG_CACHE_HOME/gausstr, else
~/.cache/gausstr; one that exists there is complete. Checksums, in this order: the one this
package knows; that of the first transfer, written down in checksums.json in the same folder and
demanded from then on (trust on first use); the one the model hub states, for large files. The
list travels with a folder that is copied to a robot.
"""

from __future__ import annotations

import json
import logging
import os
import time
from dataclasses import dataclass, replace
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pooch
from filelock import FileLock

from gausstr_core.process.reasons import reason, told
from gausstr_core.weights.first_bytes import refuse_stand_in
from gausstr_core.weights.transfer import may_pass, resume, source

log = logging.getLogger(__name__)
pooch.get_logger().setLevel(logging.WARNING)  # what it does is said here, with the licence

LEDGER = 'checksums.json'
PAUSES = (1.0, 2.0, 4.0)  # seconds between the attempts


@dataclass(frozen=True)
class RemoteFile:
    """A published file: where it lies in the cache, where it comes from, what is known of it."""

    name: str  # path below the cache folder
    url: str
    licence: str
    size: int | None = None  # bytes; None where not known beforehand
    sha256: str | None = None
    about: str = ''  # the size as a public page states it, rounded
    remark: str = ''  # what to know where it cannot be had


def cache_folder() -> Path:
    """The folder of all fetched files; it need not exist."""
    return Path(os.environ.get('GAUSSTR_CACHE') or pooch.os_cache('gausstr')).expanduser()


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
        if not path.is_file():
            _fetch(file, path)
        return _check_size(file, path)
    for path in (Path(folder) / file.name, Path(folder) / Path(file.name).name):
        if path.is_file():
            return _check_size(replace(file, size=None), path)
    raise ValueError(_by_hand(file, Path(folder) / file.name, f'is not in {folder}'))


def check_sum(file: RemoteFile, path: Path) -> str:
    """Compare the whole content with the known checksum; returns the sha256.

    Raises:
        ValueError: the content differs.
    """
    got, known = pooch.file_hash(_check_size(file, path)), _known(file, path).sha256
    if known not in (None, got):
        raise ValueError(f'weights file {path} has sha256 {got}, expected {known}')
    return got


def known_checksum(file: RemoteFile, path: Path) -> str | None:
    """Where the checksum that `check_sum` compares with comes from; None where none is known."""
    if file.sha256:
        return 'the published one'
    return f'that in {path.parent / LEDGER}' if _known(file, path).sha256 else None


def _check_size(file: RemoteFile, path: Path) -> Path:
    """`path`, if beginning and size are as they should: cheap enough for every start."""
    refuse_stand_in(path)
    size, known = path.stat().st_size, _known(file, path).size
    if known not in (None, size):
        raise ValueError(
            f'weights file {path} has {size} bytes, expected {known}; remove it and fetch it '
            f'again from {file.url}'
        )
    return path


def _fetch(file: RemoteFile, path: Path) -> None:
    """Transfer a file to `path` in several attempts, each going on where the last broke off."""
    if os.environ.get('GAUSSTR_OFFLINE', '').lower() not in ('', '0', 'false'):
        raise ValueError(_by_hand(file, path, 'is not here, and GAUSSTR_OFFLINE is set'))
    path.parent.mkdir(parents=True, exist_ok=True)
    # two nodes that start together must not write into one .part
    with FileLock(f'{path}.lock'):
        if path.is_file():
            return
        what = f'{file.name} ({file.about})' if file.about else file.name
        log.info('fetching %s from %s (licence: %s)', what, file.url, file.licence)
        for pause in (*PAUSES, None):
            try:
                return _attempt(file, path)
            except (OSError, HTTPException) as error:
                if pause is None or not may_pass(error):
                    why = f'is not here and could not be fetched ({told(error)})'
                    raise ValueError(_by_hand(file, path, why)) from None
                time.sleep(pause)


def _attempt(file: RemoteFile, path: Path) -> None:
    """Fetch a file, compare its checksum and write it down; a wrong one is not kept."""
    url, stated = source(file.url)
    known = _known(file, path).sha256 or stated
    download = partial(resume, Path(f'{path}.part'))
    pooch.retrieve(url, known, path.name, path.parent, downloader=download)
    try:
        refuse_stand_in(path)
    except ValueError as error:
        path.unlink()
        raise ValueError(_by_hand(file, path, f'could not be fetched: {error}')) from None
    if known is None:
        known = pooch.file_hash(path)
        log.warning('no checksum is known for %s; trusting this first copy: %s', file.name, known)
    with FileLock(f'{path.parent / LEDGER}.lock'):
        entry = {'size': path.stat().st_size, 'sha256': known, 'url': file.url}
        entries = _entries(path.parent) | {path.name: entry}
        aside = path.parent / f'{LEDGER}.part'
        aside.write_text(json.dumps(entries, indent=2, sort_keys=True) + '\n')
        os.replace(aside, path.parent / LEDGER)


def _known(file: RemoteFile, path: Path) -> RemoteFile:
    """`file` with the size and the checksum that are written down beside `path`."""
    entry = _entries(path.parent).get(path.name, {})
    if entry.get('url', file.url) != file.url:
        return file
    size, sha256 = file.size or entry.get('size'), file.sha256 or entry.get('sha256')
    return replace(file, size=size, sha256=sha256)


def _entries(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / LEDGER
    try:
        return json.loads(path.read_text(encoding='utf-8-sig')) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise ValueError(f'{path} is not a list of checksums: {reason(error)}') from None


def _by_hand(file: RemoteFile, path: Path, reason: str) -> str:
    what = f'{file.url} ({file.about})' if file.about else file.url
    remark = f'. {file.remark}' if file.remark else ''
    return (
        f'weights file {file.name} {reason}. On a machine with internet download {what} and '
        f'place it at {path}, or run gausstr-fetch there and copy its folder; GAUSSTR_CACHE names '
        f'another folder{remark}'
    )
