"""Image messages <-> arrays: raw and compressed, colour and depth. No node and no state."""

from __future__ import annotations

import array
import sys
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from gausstr_ros.compressed_images import decode_color, decode_depth

# encoding -> channels of 8 bits, and what makes RGB of them
_COLOR: dict[str, tuple[int, int | None]] = {
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
_DEPTH = {'32FC1': np.float32, '16UC1': np.uint16, 'mono16': np.uint16}
_OUTGOING = {'rgb8': (np.uint8, 3), 'mono8': (np.uint8, 1), '32FC1': (np.float32, 1)}


def rgb_image(message: Image | CompressedImage) -> NDArray[np.uint8]:
    """RGB pixels [H, W, 3] of a raw or compressed image.

    Raises:
        ValueError: the image is damaged, empty or of an encoding that cannot be read.
    """
    if isinstance(message, CompressedImage):
        source, pixels = decode_color(message)
        return pixels if pixels.ndim == 3 else _converted(pixels, source)
    if message.encoding in _DEPTH:
        raise ValueError(f'expected a colour image, got encoding {message.encoding!r}')
    if message.encoding not in _COLOR:
        return _by_cv_bridge(message)
    channels, _ = _COLOR[message.encoding]
    return _converted(_plane(message, np.dtype(np.uint8), channels), message.encoding)


def depth_image(message: Image | CompressedImage) -> NDArray[np.float32]:
    """Depth in metres [H, W] of 32FC1 (metres) or 16UC1 (millimetres); 0 is unknown.

    Raises:
        ValueError: the image is damaged, empty or of another encoding.
    """
    if isinstance(message, CompressedImage):
        return decode_depth(message)
    if message.encoding not in _DEPTH:
        raise ValueError(
            f'expected depth as 32FC1 (m) or 16UC1 (mm), got encoding {message.encoding!r}'
        )
    plane = _plane(message, np.dtype(_DEPTH[message.encoding]), 1)
    if message.encoding == '32FC1':
        return np.asarray(plane, np.float32)  # in the byte order of this machine
    return plane.astype(np.float32) * np.float32(0.001)


def image_message(pixels: NDArray[Any], encoding: str, header: Header) -> Image:
    """A raw image of rgb8 [H, W, 3], mono8 or 32FC1 [H, W] pixels."""
    dtype, channels = _OUTGOING[encoding]
    assert pixels.dtype == dtype and pixels.ndim == (3 if channels > 1 else 2)
    height, width = pixels.shape[:2]
    message = Image(header=header, height=height, width=width, encoding=encoding)
    message.step = width * channels * pixels.itemsize
    message.is_bigendian = int(sys.byteorder == 'big')
    message.data = array.array('B', np.ascontiguousarray(pixels).tobytes())
    return message


def _plane(message: Image, dtype: np.dtype[Any], channels: int) -> NDArray[Any]:
    """A view of the buffer, [H, W] or [H, W, C]; rows may be padded to `step` bytes."""
    _check_size(message)
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


def _check_size(message: Image) -> None:
    if not (message.height and message.width):
        raise ValueError(f'empty image of {message.width}x{message.height} (WxH)')
    if len(message.data) < message.height * message.step:
        raise ValueError(
            f'{message.encoding} image of {message.width}x{message.height} (WxH) with rows of '
            f'{message.step} bytes needs {message.height * message.step}, got '
            f'{len(message.data)} bytes in all'
        )


def _converted(plane: NDArray[np.uint8], encoding: str) -> NDArray[np.uint8]:
    conversion = _COLOR[encoding][1]
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


def _by_cv_bridge(message: Image) -> NDArray[np.uint8]:
    _check_size(message)
    known = ', '.join(_COLOR)
    try:
        from cv_bridge import CvBridge
    except Exception as error:  # built against another NumPy it raises what it likes
        raise ValueError(
            f'encoding {message.encoding!r} needs cv_bridge, which does not load ({error}); '
            f'install a cv_bridge built for this NumPy, or let the camera send one of {known}'
        ) from error
    try:
        return CvBridge().imgmsg_to_cv2(message, 'rgb8')
    except Exception as error:  # CvBridgeError, cv2.error, ...
        raise ValueError(
            f'encoding {message.encoding!r} cannot be read: {error}; let the camera send one of '
            f'{known}'
        ) from error
