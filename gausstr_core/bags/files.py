"""What a file is that should be one of a bag, and the command that makes one of it."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from rosbags.rosbag2 import ReaderError

MCAP, SQLITE = b'\x89MCAP0\r\n', b'SQLite format 3\0'
UNKNOWN = 'of no format that is known here'
_FORMATS = {
    MCAP: 'an MCAP file: name it .mcap',
    SQLITE: 'an sqlite3 file: name it .db3',
    b'version https://git-lfs': 'a pointer of Git LFS and not the file itself: git lfs pull',
    b'\x28\xb5\x2f\xfd': 'compressed by zstd: zstd -d FILE, or give the folder of its bag',
    b'#ROSBAG V2.0': 'a bag of ROS 1: rosbags-convert --src FILE --dst FOLDER',
}


class FileFault(ReaderError):
    """A file is none of a bag, or is incomplete; the text names it and says what helps."""


def format_of(path: Path) -> str:
    """What a file is by its first bytes, and what to do about it.

    Raises:
        OSError: it cannot be read.
    """
    with path.open('rb') as file:
        head = file.read(64)
    if not head:
        return 'empty: copy or record it anew'
    if not any(head):
        return 'filled with zeros, as after a power cut: copy or record it anew'
    known = (text for magic, text in _FORMATS.items() if head.startswith(magic))
    return next(known, UNKNOWN).replace('FILE', quote(str(path)))


def expect_format(path: Path, magic: bytes, name: str) -> None:
    """Refuse a file that begins in another way.

    Raises:
        FileFault: it does.
        OSError: it cannot be read.
    """
    with path.open('rb') as file:
        if file.read(len(magic)) == magic:
            return
    raise FileFault(f'{path.name} is {format_of(path)} (expected {name})')
