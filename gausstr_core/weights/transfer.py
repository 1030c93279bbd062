"""One HTTP transfer into a file that may already hold the first part."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

CHUNK = 1 << 20
TIMEOUT = 30.0  # seconds without a byte


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects and keeps what they say of the file: the hub's checksum is only there."""

    def __init__(self) -> None:
        self.stated: dict[str, str] = {}

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if headers.get('X-Linked-ETag'):
            self.stated['X-Linked-ETag'] = headers['X-Linked-ETag'].strip('"')
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def transfer(url: str, part: Path, title: str) -> Mapping[str, str]:
    """Append what is missing to `part`; returns the headers, also those of redirects.

    Raises:
        ValueError: the address is not http or https.
        OSError: the transfer broke off; what came stays in `part`.
    """
    if not url.startswith(('http://', 'https://')):
        raise ValueError(f'weights come over http or https, got {url}')
    start = part.stat().st_size if part.exists() else 0
    note = Path(f'{part}.etag')
    headers = {'User-Agent': 'gausstr', 'Accept-Encoding': 'identity'}
    if start and note.exists():
        # If-Range: a file that changed meanwhile comes whole instead of being glued together
        headers |= {'Range': f'bytes={start}-', 'If-Range': note.read_text()}
    redirects = _Redirects()
    opener = urllib.request.build_opener(redirects)
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - scheme checked above
    with opener.open(request, timeout=TIMEOUT) as answer:
        stated = {**redirects.stated, **dict(answer.headers.items())}
        if answer.status != 206:
            start = 0
        etag = answer.headers.get('ETag')
        # a weak tag promises no equal bytes, so nothing can be resumed on it
        if etag and not etag.startswith('W/'):
            note.write_text(etag)
        else:
            note.unlink(missing_ok=True)
        _pour(answer, part, start, title)
    note.unlink(missing_ok=True)
    return stated


def _pour(answer: Any, part: Path, start: int, title: str) -> None:
    """Write the answer's body behind the first `start` bytes of `part`, with a progress bar."""
    length = answer.headers.get('Content-Length')
    total = start + int(length) if length else None
    with (
        part.open('ab' if start else 'wb') as out,
        tqdm(total=total, initial=start, unit='B', unit_scale=True, desc=title) as bar,
    ):
        while chunk := answer.read(CHUNK):
            out.write(chunk)
            bar.update(len(chunk))
    if total is not None and part.stat().st_size != total:
        raise ConnectionError(f'only {part.stat().st_size} of {total} bytes came')
