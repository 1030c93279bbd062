"""What a file really is, by its first bytes: a name says little about what a download gave."""

from __future__ import annotations

from pathlib import Path

from gausstr_core.process.reasons import reason

SAFETENSORS, TORCH = 'safetensors', 'torch'
_BEGINNING = 512  # bytes that are looked at
_LONGEST_HEADER = 100_000_000  # bytes; safetensors allows no more
_LFS = (b'version https://git-lfs.github.com/', b'version https://hawser.github.com/')
_PACKED = {
    b'\x1f\x8b': 'gzip',
    b'\xfd7zXZ': 'xz',
    b'BZh': 'bzip2',
    b'7z\xbc\xaf': '7z',
    b'\x28\xb5\x2f\xfd': 'zstd',
}
_TEXT_FILES = ('.json', '.txt', '.yaml', '.md')
_FETCH_AGAIN = 'download the file itself, or let gausstr-fetch do it'


def container(path: Path) -> str | None:
    """SAFETENSORS or TORCH, whatever the file is called; None where the beginning is of neither.

    Raises:
        ValueError: it cannot be read.
    """
    start = _beginning(path)
    length = int.from_bytes(start[:8], 'little')
    if start[8:9] == b'{' and length <= _LONGEST_HEADER:
        return SAFETENSORS
    # a zip archive, or the pickle that torch wrote before version 1.6
    return TORCH if start.startswith((b'PK\x03\x04', b'\x80')) else None


def refuse_stand_in(path: Path) -> None:
    """Refuse what often lies in the place of a published file.

    Raises:
        ValueError: it is empty, a Git LFS pointer, a web page, text, or packed; the message
            names the file and says what to do.
    """
    if container(path) is not None:
        return
    start = _beginning(path)
    what = _stand_in(path, start)
    if what:
        raise ValueError(f'{path} cannot be read as weights: it is {what}')


def first_bytes(path: Path) -> str:
    """The first eight, in hexadecimal."""
    return _beginning(path)[:8].hex(' ')


def _stand_in(path: Path, start: bytes) -> str | None:
    text = start.removeprefix(b'\xef\xbb\xbf').lstrip()
    if text.startswith(_LFS):
        return (
            f'a Git LFS pointer of {path.stat().st_size} bytes, not the file that it points at: '
            f'run "git lfs pull" in its repository, or {_FETCH_AGAIN}'
        )
    if text.startswith(b'<'):
        return (
            f'a web page, which begins {_shown(text)}, as a login, a proxy or a wrong address '
            f'gives: {_FETCH_AGAIN}'
        )
    if not start:
        return f'empty: {_FETCH_AGAIN}'
    for mark, kind in _PACKED.items():
        if start.startswith(mark):
            return f'packed with {kind}: unpack it'
    if path.suffix not in _TEXT_FILES and _is_text(start):
        return f'text, which begins {_shown(text)}: {_FETCH_AGAIN}'
    return None


def _is_text(start: bytes) -> bool:
    try:
        # a character may be cut at the end
        letters = start.decode('utf-8', 'strict' if len(start) < _BEGINNING else 'ignore')
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter.isspace() for letter in letters)


def _shown(text: bytes) -> str:
    return repr(text[:40].decode('utf-8', 'replace').strip())


def _beginning(path: Path) -> bytes:
    try:
        with path.open('rb') as file:
            return file.read(_BEGINNING)
    except OSError as error:
        raise ValueError(f'{path} cannot be read: {reason(error)}') from None
