"""Bytes of a camera's messages -> RGB pixels, whole arrays at a time."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# sensor_msgs/Image encodings that are colour images; channels and how they become RGB.
_COLOUR: dict[str, tuple[int, int | None]] = {
    'rgb8': (3, None),
    'bgr8': (3, cv2.COLOR_BGR2RGB),
    'mono8': (1, cv2.COLOR_GRAY2RGB),
}
# What OpenCV decodes to, by channels. It is told to leave the pixels where they are: a calibration
# is for the image as recorded, whatever orientation its file suggests.
_DECODED = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
_JPEG, _JPEG_END = b'\xff\xd8', b'\xff\xd9'
_PNG, _PNG_END = b'\x89PNG', b'IEND'


def decode_compressed(data: NDArray[np.uint8], form: str) -> NDArray[np.uint8]:
    """RGB [H, W, 3] of a JPEG or PNG, as in a CompressedImage.

    Args:
        data: [n] the file's bytes.
        form: what the message says it is, for the error.

    Raises:
        ValueError: it is empty, truncated, neither JPEG nor PNG, or damaged.
    """
    raw = data.tobytes()
    # A decoder fills the rest of a truncated image with grey and says nothing. Some cameras pad
    # after the end marker, so it is looked for from behind.
    if raw.startswith(_JPEG):
        whole = raw.rfind(_JPEG_END) >= len(raw) // 2
    elif raw.startswith(_PNG):
        whole = raw.rfind(_PNG_END) >= 0
    else:
        raise ValueError(f'{len(raw)} bytes of format {form!r} are neither JPEG nor PNG')
    if not whole:
        raise ValueError(f'truncated image: {len(raw)} bytes of format {form!r} without an end')
    try:
        pixels = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:  # such as a size beyond all bounds
        raise ValueError(f'{len(raw)} bytes of format {form!r} do not decode: {error}') from error
    if pixels is None or pixels.dtype != np.uint8:
        got = 'nothing' if pixels is None else f'{pixels.dtype} {pixels.shape}'
        raise ValueError(
            f'{len(raw)} bytes of format {form!r}: expected 8 bit grey or colour, decoded {got}'
        )
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    return np.asarray(cv2.cvtColor(pixels, _DECODED[channels]))


def decode_raw(message: Any) -> NDArray[np.uint8]:
    """RGB [H, W, 3] of a sensor_msgs/Image, from whichever library; rows may be padded.

    Raises:
        ValueError: the encoding is none of rgb8, bgr8 and mono8, the image is empty, or there are
            fewer bytes than height and step promise.
    """
    height, width, step = message.height, message.width, message.step
    if message.encoding not in _COLOUR:
        raise ValueError(
            f'expected encoding {", ".join(_COLOUR)}, got {message.encoding!r}: no colour image, '
            'or one to be converted first'
        )
    channels, conversion = _COLOUR[message.encoding]
    row = width * channels
    if not row or not height or step < row or len(message.data) < height * step:
        raise ValueError(
            f'{message.encoding} image of {width}x{height} (WxH) needs rows of {row} bytes, got '
            f'step {step} and {len(message.data)} bytes in all'
        )
    rows = np.frombuffer(message.data, np.uint8)[: height * step].reshape(height, step)
    pixels = rows[:, :row].copy().reshape(height, width, channels)
    return pixels if conversion is None else np.asarray(cv2.cvtColor(pixels, conversion))
