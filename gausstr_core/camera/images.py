"""Image messages -> arrays, whole ones at a time: raw and compressed, colour and depth.

The messages have the fields of sensor_msgs/Image and sensor_msgs/CompressedImage, whichever
library made them: rclpy for the node, rosbags for training.
"""

from __future__ import annotations

import re
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gausstr_core.camera.compressed_images import decode_color, decode_depth

# encoding -> channels of 8 bits, and what makes RGB of them
COLOR: dict[str, tuple[int, int | None]] = {
    'rgb8': (3, None),
    'bgr8': (3, cv2.COLOR_BGR2RGB),
    'rgba8': (4, cv2.COLOR_RGBA2RGB),
    'bgra8': (4, cv2.COLOR_BGRA2RGB),
    'mono8': (1, cv2.COLOR_GRAY2RGB),
    'yuv422': (2, cv2.COLOR_YUV2RGB_UYVY),
    'uyvy': (2, cv2.COLOR_YUV2RGB_UYVY),
    'yuv422_yuy2': (2, cv2.COLOR_YUV2RGB_YUY2),
    'yuyv': (2, cv2.COLOR_YUV2RGB_YUY2),
    # OpenCV names a Bayer pattern by its second row, ROS by its first
    'bayer_rggb8': (1, cv2.COLOR_BayerBG2RGB),
    'bayer_bggr8': (1, cv2.COLOR_BayerRG2RGB),
    'bayer_gbrg8': (1, cv2.COLOR_BayerGR2RGB),
    'bayer_grbg8': (1, cv2.COLOR_BayerGB2RGB),
}
# encoding of 16 bits -> that of their upper eight
DEEP = {
    name[:-1] + '16': name for name in COLOR if name.startswith(('rgb', 'bgr', 'mono', 'bayer_'))
}
DEPTH: dict[str, Any] = {'32FC1': np.float32, '16UC1': np.uint16, 'mono16': np.uint16}
_ALL = ', '.join((*COLOR, *DEEP))
# as sensor_msgs/image_encodings.hpp has them
_NUMBERS = re.compile(r'(8U|8S|16U|16S|32S|32F|64F)C\d*')


def is_known(encoding: str) -> bool:
    """Whether `rgb_image` reads a raw encoding, or knows that nothing makes colours of it."""
    return encoding in (*COLOR, *DEEP, *DEPTH) or bool(_NUMBERS.fullmatch(encoding))


def rgb_image(message: Any) -> NDArray[np.uint8]:
    """RGB pixels [H, W, 3] of a raw or compressed image.

    Raises:
        ValueError: the image is damaged, empty or of an encoding that cannot be read.
    """
    if hasattr(message, 'format'):  # as CompressedImage has
        encoding, pixels = decode_color(message)
        return _converted(pixels, encoding)
    encoding = message.encoding
    if encoding in DEEP:
        own = DEEP[encoding]
        deep = _plane(message, np.dtype(np.uint16), COLOR[own][0])
        return _converted((deep >> 8).astype(np.uint8), own)
    if encoding in DEPTH:
        raise ValueError(f'expected a colour image, got encoding {encoding!r}')
    if _NUMBERS.fullmatch(encoding):
        raise ValueError(
            f'encoding {encoding!r} says how numbers are stored, not which colours they are, and '
            f'cv_bridge makes none of it either: let the camera send one of {_ALL}, such as bgr8 '
            'for the pictures of OpenCV'
        )
    if encoding not in COLOR:
        raise ValueError(f'expected encoding {_ALL}, got {encoding!r}')
    return _converted(_plane(message, np.dtype(np.uint8), COLOR[encoding][0]), encoding)


def depth_image(message: Any) -> NDArray[np.float32]:
    """Depth in metres [H, W] of 32FC1 (metres) or 16UC1 (millimetres); 0 is unknown.

    Raises:
        ValueError: the image is damaged, empty or of another encoding.
    """
    if hasattr(message, 'format'):  # as CompressedImage has
        return decode_depth(message)
    if message.encoding not in DEPTH:
        raise ValueError(
            f'expected depth as 32FC1 (m) or 16UC1 (mm), got encoding {message.encoding!r}'
        )
    plane = _plane(message, np.dtype(DEPTH[message.encoding]), 1)
    if message.encoding == '32FC1':
        return np.asarray(plane, np.float32)  # in the byte order of this machine
    return plane.astype(np.float32) * np.float32(0.001)


def _plane(message: Any, dtype: np.dtype[Any], channels: int) -> NDArray[Any]:
    """A view of the buffer, [H, W] or [H, W, C]; rows may be padded to `step` bytes."""
    check_size(message)
    pixel = dtype.itemsize * channels
    if message.step < message.width * pixel:
        raise ValueError(
            f'{message.encoding} image of {message.width}x{message.height} (WxH) needs rows of '
            f'{message.width * pixel} bytes, got step {message.step} and {len(message.data)} '
            'bytes in all'
        )
    dtype = dtype.newbyteorder('>' if message.is_bigendian else '<')
    shape: tuple[int, ...] = (message.height, message.width)
    strides: tuple[int, ...] = (message.step, pixel)
    if channels > 1:
        shape, strides = (*shape, channels), (*strides, dtype.itemsize)
    return np.ndarray(shape, dtype, buffer=memoryview(message.data), strides=strides)


def check_size(message: Any) -> None:
    """Raise ValueError unless a raw image holds what its height and step promise."""
    if not (message.height and message.width):
        raise ValueError(f'empty image of {message.width}x{message.height} (WxH)')
    if len(message.data) < message.height * message.step:
        raise ValueError(
            f'{message.encoding} image of {message.width}x{message.height} (WxH) with rows of '
            f'{message.step} bytes needs {message.height * message.step}, got '
            f'{len(message.data)} bytes in all'
        )


def _converted(plane: NDArray[np.uint8], encoding: str) -> NDArray[np.uint8]:
    conversion = COLOR[encoding][1]
    if conversion is None:
        return plane
    height, width = plane.shape[:2]
    if encoding.startswith('bayer_') and min(height, width) < 3:  # OpenCV would make it black
        raise ValueError(f'{encoding} image of {width}x{height} (WxH): expected at least 3x3')
    try:
        return np.asarray(cv2.cvtColor(plane, conversion), np.uint8)
    except cv2.error as error:  # such as an odd width of yuv422
        raise ValueError(
            f'{encoding} image of {width}x{height} (WxH) cannot be converted: {error.err}'
        ) from error
