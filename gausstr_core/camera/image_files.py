"""JPEG and PNG files in buffers: where the picture ends, and how large it says it is.

Buffers of drivers (V4L2, usb_cam) have a fixed size: behind the picture are zeros, 0xFF, or what
is left of an earlier one. A decoder takes no notice of them, but neither does it of a picture that
is cut: it fills the rest with grey and says nothing. So the file is walked as a decoder walks it,
up to its own end. That costs little, as most bytes are passed over by a search.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

JPEG, PNG = 'jpeg', 'png'

STARTS = _JPEG_START, _PNG_START = b'\xff\xd8', b'\x89PNG\r\n\x1a\n'
# In a scan: not 00, which makes FF a byte of it, nor restarts (D0 to D7), nor fill bytes (FF).
_AFTER_SCAN = re.compile(rb'\xff[^\x00\x01\xd0-\xd7\xff]')
_AFTER_SEGMENT = re.compile(rb'(?:\xff+[\x01\xd0-\xd7])*\xff+[^\x00\x01\xd0-\xd7\xff]')
_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_NAME = re.compile(rb'[A-Za-z]{4}')


class Picture(NamedTuple):
    """A whole file of a picture at the beginning of a buffer."""

    kind: str  # 'jpeg' or 'png', as the format of a CompressedImage has it
    height: int  # pixels, as the file declares them
    width: int
    length: int  # bytes; what lies behind is not of the picture


def find_picture(data: bytes, form: str | None = None) -> Picture:
    """The picture that begins with the buffer and ends in it.

    Args:
        data: the buffer.
        form: the format of its message, for errors.

    Raises:
        ValueError: the buffer is empty, holds no JPEG or PNG, or one that is cut.
    """
    called = f'{len(data)} bytes' + ('' if form is None else f' of format {form!r}')
    if not data:
        raise ValueError('the compressed image is empty')
    if data.startswith(_JPEG_START):
        return _jpeg(data, called)
    if data.startswith(_PNG_START):
        return _png(data, called)
    raise ValueError(f'{called} do not decode: no JPEG or PNG')


def _jpeg(data: bytes, called: str) -> Picture:
    """From segment to segment, over those that hold pictures of their own (EXIF), and the scans.

    What follows a scan is searched for, and so are its last bytes passed over, which some cameras
    leave there. A segment is followed by the next one, or it was cut, and this is another picture.
    """
    at, scanned = len(_JPEG_START), False
    size: tuple[int, int] | None = None
    find = _AFTER_SEGMENT.match
    while found := find(data, at):
        at = found.end()
        marker = data[at - 1]
        if marker == _END:
            if size is None or not scanned:
                raise ValueError(f'{called} do not decode: a JPEG without a frame')
            return Picture(JPEG, *size, at)
        if marker == _START:  # the beginning of another one, before this one has ended
            break
        if marker in _FRAMES and size is None and at + 7 <= len(data):
            height, width = struct.unpack_from('>HH', data, at + 3)
            size = height, width
        scanned |= marker == _SCAN
        find = _AFTER_SCAN.search if marker == _SCAN else _AFTER_SEGMENT.match
        at += int.from_bytes(data[at : at + 2], 'big')
    raise ValueError(f'truncated JPEG: {called} without an end marker of its own')


def _png(data: bytes, called: str) -> Picture:
    """From chunk to chunk: length, name, content, checksum."""
    if len(data) >= 16 and data[12:16] != b'IHDR':
        raise ValueError(f'{called} do not decode: a PNG without a header')
    at = len(_PNG_START)
    while _NAME.match(data, at + 4):
        end = at + 12 + int.from_bytes(data[at : at + 4], 'big')
        if end > len(data):
            break
        if data[at + 4 : at + 8] == b'IEND':
            width, height = struct.unpack_from('>II', data, 16)
            return Picture(PNG, height, width, end)
        at = end
    raise ValueError(f'truncated PNG: {called} without an end')
