"""Subset of cv_bridge over OpenCV: the 8-bit colour encodings, and single-channel images as is."""

from __future__ import annotations

import array
import sys

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

__all__ = ['CvBridge', 'CvBridgeError']

# encoding -> (dtype, channels)
_LAYOUTS: dict[str, tuple[str, int]] = {
    'mono8': ('uint8', 1), 'mono16': ('uint16', 1),
    'bgr8': ('uint8', 3), 'rgb8': ('uint8', 3), 'bgra8': ('uint8', 4), 'rgba8': ('uint8', 4),
    'bayer_rggb8': ('uint8', 1), 'bayer_bggr8': ('uint8', 1),
    'bayer_gbrg8': ('uint8', 1), 'bayer_grbg8': ('uint8', 1),
    'uyvy': ('uint8', 2), 'yuv422': ('uint8', 2),
    'yuyv': ('uint8', 2), 'yuv422_yuy2': ('uint8', 2),
}  # fmt: skip
_DEPTHS = {
    '8U': 'uint8', '8S': 'int8', '16U': 'uint16', '16S': 'int16',
    '32S': 'int32', '32F': 'float32', '64F': 'float64',
}  # fmt: skip
_LAYOUTS |= {f'{d}C{n}': (t, n) for d, t in _DEPTHS.items() for n in (1, 2, 3, 4)}

# OpenCV names a Bayer pattern by its second row, ROS by its first; YUV names agree.
_TO_BGR: dict[str, int] = {
    'mono8': cv2.COLOR_GRAY2BGR, 'rgb8': cv2.COLOR_RGB2BGR,
    'bgra8': cv2.COLOR_BGRA2BGR, 'rgba8': cv2.COLOR_RGBA2BGR,
    'bayer_rggb8': cv2.COLOR_BayerBG2BGR, 'bayer_bggr8': cv2.COLOR_BayerRG2BGR,
    'bayer_gbrg8': cv2.COLOR_BayerGR2BGR, 'bayer_grbg8': cv2.COLOR_BayerGB2BGR,
    'uyvy': cv2.COLOR_YUV2BGR_UYVY, 'yuv422': cv2.COLOR_YUV2BGR_UYVY,
    'yuyv': cv2.COLOR_YUV2BGR_YUY2, 'yuv422_yuy2': cv2.COLOR_YUV2BGR_YUY2,
}  # fmt: skip
_FROM_BGR: dict[str, int] = {
    'mono8': cv2.COLOR_BGR2GRAY, 'rgb8': cv2.COLOR_BGR2RGB,
    'bgra8': cv2.COLOR_BGR2BGRA, 'rgba8': cv2.COLOR_BGR2RGBA,
}  # fmt: skip


class CvBridgeError(TypeError):
    """An image whose encoding cannot be read, written or converted as asked."""


class CvBridge:
    """Converts between image messages and OpenCV arrays [H,W] or [H,W,C]."""

    def imgmsg_to_cv2(self, img_msg: Image, desired_encoding: str = 'passthrough') -> NDArray:
        """Pixels of a message, in `desired_encoding` ('passthrough': as they are, not copied).

        Raises:
            CvBridgeError: an unknown encoding, a conversion between these two that does not
                exist here, or fewer bytes than height and step promise.
        """
        pixels = _pixels(img_msg)
        return _convert(pixels, img_msg.encoding, desired_encoding)

    def compressed_imgmsg_to_cv2(
        self, cmprs_img_msg: CompressedImage, desired_encoding: str = 'passthrough'
    ) -> NDArray:
        """Decoded pixels, BGR unless `desired_encoding` says otherwise.

        Raises:
            CvBridgeError: OpenCV cannot decode the data.
        """
        data = np.frombuffer(cmprs_img_msg.data, dtype=np.uint8)
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
        if pixels is None:
            raise CvBridgeError(f'{data.size} bytes of "{cmprs_img_msg.format}" do not decode')
        found = {2: 'mono8', 3: 'bgr8'}.get(pixels.ndim, '') if pixels.dtype == np.uint8 else ''
        return _convert(pixels, found, desired_encoding)

    def cv2_to_imgmsg(
        self, cvim: NDArray, encoding: str = 'passthrough', header: Header | None = None
    ) -> Image:
        """Message with a copy of the pixels [H,W] or [H,W,C].

        'passthrough' names the layout only, such as 8UC3.

        Raises:
            CvBridgeError: `encoding` is unknown or belongs to another dtype or channel count.
        """
        channels = 1 if cvim.ndim == 2 else cvim.shape[2]
        if encoding == 'passthrough':
            depth = next((d for d, t in _DEPTHS.items() if t == cvim.dtype.name), None)
            if depth is None:
                raise CvBridgeError(f'no encoding for pixels of {cvim.dtype}')
            encoding = f'{depth}C{channels}'
        if _layout(encoding) != (cvim.dtype.name, channels):
            raise CvBridgeError(
                f'encoding {encoding} does not fit pixels of {cvim.dtype} in {channels} channels'
            )
        height, width = cvim.shape[:2]
        message = Image(
            height=height, width=width, encoding=encoding,
            is_bigendian=int(sys.byteorder == 'big'),
            step=width * channels * cvim.dtype.itemsize,
        )  # fmt: skip
        if header is not None:
            message.header = header
        # An array.array is taken as it is; any other sequence is checked byte by byte.
        message.data = array.array('B', np.ascontiguousarray(cvim).tobytes())
        return message


def _layout(encoding: str) -> tuple[str, int]:
    if encoding not in _LAYOUTS:
        raise CvBridgeError(f'unknown or unsupported encoding "{encoding}"')
    return _LAYOUTS[encoding]


def _pixels(message: Image) -> NDArray:
    """View of the message's buffer; rows may be padded to `step` bytes."""
    name, channels = _layout(message.encoding)
    dtype = np.dtype(name).newbyteorder('>' if message.is_bigendian else '<')
    if message.step < message.width * channels * dtype.itemsize:
        raise CvBridgeError(f'step {message.step} is too short for {message.width} pixels')
    if len(message.data) < message.height * message.step:
        raise CvBridgeError(
            f'expected {message.height * message.step} bytes of data, got {len(message.data)}'
        )
    shape = (message.height, message.width) + ((channels,) if channels > 1 else ())
    strides = (message.step, channels * dtype.itemsize) + ((dtype.itemsize,) * (channels > 1))
    pixels = np.ndarray(shape, dtype, buffer=message.data, strides=strides)
    return pixels if dtype.isnative else pixels.astype(dtype.newbyteorder('='))


def _convert(pixels: NDArray, source: str, target: str) -> NDArray:
    if target in ('passthrough', source):
        return pixels
    if source in _LAYOUTS and _layout(target) == _LAYOUTS[source] and 'C' in source + target:
        return pixels  # the same layout under a nameless encoding such as 8UC3
    if source != 'bgr8':
        if source not in _TO_BGR:
            raise CvBridgeError(f'cannot convert {source or pixels.dtype} to {target}')
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels), _TO_BGR[source])
    if target == 'bgr8':
        return pixels
    if target not in _FROM_BGR:
        raise CvBridgeError(f'cannot convert {source} to {target}')
    return cv2.cvtColor(np.ascontiguousarray(pixels), _FROM_BGR[target])
