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

from gausstr_core.camera.image_files import JPEG, find_picture

MOST_PIXELS = 2**26

_MOSAIC = re.compile(r'(bayer_(?:rggb|bggr|gbrg|grbg))(?:8|16)')
_DEPTHS = ('16UC1', '32FC1')
_DEPTH_HEADER = struct.Struct('<iff')  # of compressedDepth: kind, and two numbers
# as the file has them: colour or grey, 8 bits or 16
_AS_STORED = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH


def decode_color(message: Any) -> tuple[str, NDArray[np.uint8]]:
    """RGB pixels [H, W, 3] under the name rgb8, or a mosaic [H, W] under that of its pattern.

    Of 16 bits the upper eight are taken, as of raw images.

    Raises:
        ValueError: the image is damaged, empty, too large, or no colour image.
    """
    source, how = _parts(message)
    if source in _DEPTHS or 'compressedDepth' in how:
        raise ValueError(f'expected a colour image, got format {message.format!r}')
    kind, pixels = _decode(message.data, message.format, _AS_STORED)
    if pixels.ndim == 3:  # of a mosaic too, where it was debayered before it was compressed
        swapped = re.search(r'compressed\s+rgb', how)  # the encoder took red for blue
        order = _upper_eight(pixels)
        return 'rgb8', order if swapped else _converted(order, cv2.COLOR_BGR2RGB)
    _refuse_ambiguous(source, how, kind, pixels, message.format)
    grey = _upper_eight(pixels)
    if not source.startswith('bayer_') or re.search('bgr|rgb', how):
        return 'rgb8', _converted(grey, cv2.COLOR_GRAY2RGB)
    pattern = _MOSAIC.fullmatch(source)
    if pattern is None:
        raise ValueError(
            f'a mosaic of format {message.format!r} is of no pattern that is known: expected '
            'bayer_ rggb, bggr, gbrg or grbg, with 8 or 16 bits'
        )
    return f'{pattern[1]}8', grey


def _refuse_ambiguous(source: str, how: str, kind: str, pixels: NDArray[Any], form: str) -> None:
    """Raise ValueError where one channel does not show what the camera saw."""
    deep = source == 'mono16' or re.fullmatch(r'bayer_\w{4}16', source) is not None
    if kind == JPEG and deep and not re.search(r'compressed\s+(bgr|rgb|mono)8', how):
        raise ValueError(
            f'a JPEG of format {form!r} has lost its 16 bits: image_transport makes all above 255 '
            f"white; let it send '{source}; png compressed', or 8 bits"
        )
    if pixels.dtype == np.uint16 and not (deep or source.startswith('bayer_')):
        raise ValueError(
            f'16 bits in one channel of format {form!r} may be grey, a mosaic or depth: expected '
            "a format that says so, such as 'mono16; png compressed' or "
            "'bayer_rggb16; png compressed'"
        )


def _upper_eight(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    return pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)


def _converted(pixels: NDArray[np.uint8], conversion: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(pixels, conversion), np.uint8)


def decode_depth(message: Any) -> NDArray[np.float32]:
    """Depth in metres [H, W], 0 where unknown, of a PNG with 16 bits per pixel.

    It holds millimetres, or, where compressedDepth took 32FC1, the inverse of the depth in steps
    that its header gives.

    Raises:
        ValueError: the image is damaged, empty, too large, or of another format.
    """
    source, how = _parts(message)
    if source not in (*_DEPTHS, 'mono16') or 'rvl' in how:
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
    _, stored = _decode(data, message.format, cv2.IMREAD_UNCHANGED)
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


def _decode(buffer: Any, name: str, flags: int) -> tuple[str, NDArray[Any]]:
    """Whether it is a jpeg or a png, and its pixels as OpenCV has them."""
    data = bytes(buffer)
    kind, height, width, length = find_picture(data, name)
    if not 0 < height * width <= MOST_PIXELS:
        raise ValueError(
            f'compressed image of {width}x{height} (WxH): expected 1 to {MOST_PIXELS} pixels'
        )
    file, failed = np.frombuffer(data, np.uint8, length), f'{length} bytes of format {name!r}'
    try:
        # the calibration is for the pixels as they are stored, however the camera was held
        pixels = cv2.imdecode(file, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ValueError(f'{failed} do not decode: {error.err}') from error
    if pixels is None:
        raise ValueError(f'{failed} do not decode')
    if pixels.shape[:2] != (height, width):
        raise ValueError(
            f'compressed image of {width}x{height} (WxH) decodes to '
            f'{pixels.shape[1]}x{pixels.shape[0]}'
        )
    return kind, pixels
