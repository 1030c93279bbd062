"""CompressedImage -> pixels: JPEG and PNG as image_transport's plug-ins send them.

The `format` of a message tells what was compressed: 'jpeg', 'rgb8; jpeg compressed bgr8',
'bayer_rggb8; png compressed ', '16UC1; compressedDepth png'. No other decoder of OpenCV is ever
reached, and none is asked for more pixels than `MOST_PIXELS`, whatever the header promises.
Messages are those of whichever library; `data` is bytes or an array of them.
"""

from __future__ import annotations

import re
import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

MOST_PIXELS = 2**26

_PNG, _PNG_END = b'\x89PNG\r\n\x1a\n', b'IEND'
_JPEG, _JPEG_END = b'\xff\xd8', b'\xff\xd9'
_DEPTHS = ('16UC1', 'mono16', '32FC1')
_DEPTH_HEADER = struct.Struct('<iff')  # of compressedDepth: kind, and two numbers
_STANDALONE = {0x01, *range(0xD0, 0xD8)}  # JPEG markers without a segment
_NO_FRAME = {0xC4, 0xC8, 0xCC}  # among the markers C0 to CF, which begin frames


def decode_color(message: Any) -> tuple[str, NDArray[np.uint8]]:
    """The encoding before compression, and RGB pixels [H, W, 3] or a Bayer mosaic [H, W] of it.

    Raises:
        ValueError: the image is damaged, empty, too large, or no colour image.
    """
    source, how = _parts(message)
    if source in _DEPTHS or 'compressedDepth' in how:
        raise ValueError(f'expected a colour image, got format {message.format!r}')
    data = np.frombuffer(message.data, np.uint8)
    if re.fullmatch(r'bayer_\w{4}8', source) and not re.search('bgr|rgb', how):
        return source, _decode(data, message.format, cv2.IMREAD_GRAYSCALE)
    pixels = _decode(data, message.format, cv2.IMREAD_COLOR)
    if re.search(r'compressed\s+rgb', how):  # the encoder took red for blue
        return source, pixels
    return source, np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def decode_depth(message: Any) -> NDArray[np.float32]:
    """Depth in metres [H, W], 0 where unknown, of a PNG with 16 bits per pixel.

    It holds millimetres, or, where compressedDepth took 32FC1, the inverse of the depth in steps
    that its header gives.

    Raises:
        ValueError: the image is damaged, empty, too large, or of another format.
    """
    source, how = _parts(message)
    if source not in _DEPTHS or 'rvl' in how:
        raise ValueError(
            "expected depth as PNG, of format '16UC1; png compressed' or "
            f"'16UC1; compressedDepth png' (or 32FC1), got {message.format!r}"
        )
    data, scale, shift = np.frombuffer(message.data, np.uint8), 0.0, 0.0
    if 'compressedDepth' in how:
        if data.size < _DEPTH_HEADER.size:
            raise ValueError(f'compressedDepth of {data.size} bytes is shorter than its header')
        _, scale, shift = _DEPTH_HEADER.unpack(data[: _DEPTH_HEADER.size].tobytes())
        data = data[_DEPTH_HEADER.size :]
    elif source == '32FC1':
        raise ValueError(f'depth of format {message.format!r} has lost its metres in the PNG')
    stored = _decode(data, message.format, cv2.IMREAD_UNCHANGED)
    if stored.dtype != np.uint16 or stored.ndim != 2:
        raise ValueError(
            f'expected depth of 16 bits in one channel, got {stored.dtype} of {stored.shape}'
        )
    if source != '32FC1':
        return stored.astype(np.float32) * np.float32(0.001)
    return _from_inverse(stored, scale, shift)


def _from_inverse(stored: NDArray[np.uint16], scale: float, shift: float) -> NDArray[np.float32]:
    if not (np.isfinite([scale, shift]).all() and scale > 0):
        raise ValueError(f'the header of compressedDepth has the numbers {scale} and {shift}')
    inverse = stored.astype(np.float32) - np.float32(shift)
    known = (stored > 0) & (inverse > 0)
    return np.where(known, np.float32(scale) / np.where(known, inverse, 1), 0).astype(np.float32)


def _parts(message: Any) -> tuple[str, str]:
    """The encoding before compression, empty where the format does not say, and the rest."""
    before, separator, after = message.format.partition(';')
    return (before.strip(), after) if separator else ('', before)


def _decode(data: NDArray[np.uint8], name: str, flags: int) -> NDArray[Any]:
    """Pixels as OpenCV has them."""
    height, width = _declared_size(data.tobytes(), name)
    if not 0 < height * width <= MOST_PIXELS:
        raise ValueError(
            f'compressed image of {width}x{height} (WxH): expected 1 to {MOST_PIXELS} pixels'
        )
    try:
        # the calibration is for the pixels as they are stored, however the camera was held
        pixels = cv2.imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ValueError(
            f'{data.size} bytes of format {name!r} do not decode: {error.err}'
        ) from error
    if pixels is None:
        raise ValueError(f'{data.size} bytes of format {name!r} do not decode')
    if pixels.shape[:2] != (height, width):
        raise ValueError(
            f'compressed image of {width}x{height} (WxH) decodes to '
            f'{pixels.shape[1]}x{pixels.shape[0]}'
        )
    return pixels


def _declared_size(data: bytes, name: str) -> tuple[int, int]:
    """Height and width from the header of a JPEG or PNG that looks whole."""
    if not data:
        raise ValueError('the compressed image is empty')
    # A decoder fills the rest of a truncated image with grey and says nothing.
    if data.startswith(_PNG):
        if _PNG_END not in data[24:]:
            raise ValueError(f'truncated PNG: {len(data)} bytes without an end')
        width, height = struct.unpack_from('>II', data, 16)
        return height, width
    if not data.startswith(_JPEG):
        raise ValueError(f'{len(data)} bytes of format {name!r} do not decode: no JPEG or PNG')
    # some cameras pad after the end marker, so it is looked for from behind
    if data.rfind(_JPEG_END) < len(data) // 2:
        raise ValueError(f'truncated JPEG: {len(data)} bytes without an end marker')
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # filling
            at += 1
        elif marker in _STANDALONE:
            at += 2
        elif 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            height, width = struct.unpack_from('>HH', data, at + 5)
            return height, width
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], 'big')
    raise ValueError(f'{len(data)} bytes of format {name!r} do not decode: a JPEG without a frame')
