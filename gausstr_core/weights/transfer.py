"""One HTTP transfer into a file that may already hold the first part, and where it comes from."""

from __future__ import annotations

import os
import shutil
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import huggingface_hub
from tqdm import tqdm

HUB = 'https://huggingface.co/'
TIMEOUT = 30.0  # seconds without a byte


def source(url: str) -> tuple[str, str | None]:
    """Where to read a published address, and the SHA-256 that the model hub states of the file.

    $HF_ENDPOINT may name a mirror of the hub, and $HF_HUB_OFFLINE forbid it.

    Raises:
        OSError: the hub does not answer, or has no such file.
    """
    if not url.startswith(HUB):
        return url, None
    repository, _, name = url.removeprefix(HUB).partition('/resolve/main/')
    url = huggingface_hub.hf_hub_url(repository, name)
    try:
        # without the user's token: what we fetch is public
        tag = huggingface_hub.get_hf_file_metadata(url, token=False).etag or ''
    except OSError:
        raise
    except Exception as error:  # of whichever HTTP library it is built on
        raise ConnectionError(f'{url}: {error}') from error
    # of small files the hub states git's SHA-1
    return url, tag if len(tag) == 64 else None


def may_pass(error: Exception) -> bool:
    """Whether a transfer that failed so may succeed when it is tried again."""
    from huggingface_hub.errors import OfflineModeIsEnabled  # slow, and seldom needed

    code = getattr(error, 'code', getattr(getattr(error, 'response', None), 'status_code', 500))
    # 4xx will not get better by asking again; a false range and 429 (too many requests) will
    again = not 400 <= code < 500 or code in (416, 429)
    return again and not isinstance(error, OfflineModeIsEnabled)


def resume(part: Path, url: str, whole: str, _pooch: Any) -> None:
    """A downloader for pooch: append what is missing to `part`, then rename it to `whole`.

    Raises:
        OSError, HTTPException: the transfer broke off; what came stays in `part`.
    """
    note = Path(f'{part}.etag')
    start = part.stat().st_size if part.exists() and note.exists() else 0
    headers = {'User-Agent': 'gausstr', 'Accept-Encoding': 'identity'}
    if start:
        # If-Range: a file that changed meanwhile comes whole instead of being glued together
        headers |= {'Range': f'bytes={start}-', 'If-Range': note.read_text()}
    assert url.startswith(('http://', 'https://')), url
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - asserted above
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
            _append(answer, part, note, start)
    except HTTPError as error:
        if error.code == 416:  # asked for bytes behind the end: begin anew
            part.unlink()
        raise
    note.unlink(missing_ok=True)
    os.replace(part, whole)


def _append(answer: Any, part: Path, note: Path, start: int) -> None:
    """Write an answer behind the first `start` bytes of `part`, or in their place."""
    start = start if answer.status == 206 else 0
    etag = answer.headers.get('ETag', 'W/')
    # a weak tag promises no equal bytes, so nothing can be resumed on it
    note.unlink(missing_ok=True) if etag.startswith('W/') else note.write_text(etag)
    length = answer.headers.get('Content-Length')
    total = start + int(length) if length else None
    with (
        part.open('ab' if start else 'wb') as out,
        tqdm.wrapattr(out, 'write', total, initial=start, desc=part.stem) as counted,
    ):
        shutil.copyfileobj(answer, counted)
    if total not in (None, part.stat().st_size):
        raise ConnectionError(f'only {part.stat().st_size} of {total} bytes came')
