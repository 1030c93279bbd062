"""Image messages and calibrations for tests."""

from __future__ import annotations

import array
import struct

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image


def raw(pixels, encoding, pad=0, bigendian=False):
    """A raw image of pixels [H, W] or [H, W, C], with `pad` bytes after each row."""
    pixels = np.asarray(pixels)
    stored = pixels.astype(pixels.dtype.newbyteorder('>' if bigendian else '<'))
    rows = stored.reshape(len(pixels), -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, pad)), constant_values=77)
    return Image(
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        step=rows.shape[1],
        is_bigendian=int(bigendian),
        data=array.array('B', rows.tobytes()),
    )


def compressed(content, name):
    """A compressed image of some bytes."""
    return CompressedImage(format=name, data=array.array('B', bytes(content)))


def encoded(pixels, kind, name):
    """A compressed image of pixels as OpenCV has them (BGR), 'jpg' or 'png'."""
    return compressed(cv2.imencode(f'.{kind}', pixels)[1].tobytes(), name)


def inverse_depth(metres, deepest=20.0, steps=100.0):
    """32FC1 depth as compressed_depth_image_transport sends it."""
    scale = steps * (steps + 1)
    shift = 1 - scale / deepest
    known = (metres > 0) & (metres <= deepest)
    stored = np.where(known, scale / np.where(known, metres, 1) + shift, 0).astype(np.uint16)
    data = cv2.imencode('.png', stored)[1].tobytes()
    return compressed(struct.pack('<iff', 1, scale, shift) + data, '32FC1; compressedDepth png')


def camera_info(width=160, height=90, focal=100.0, **fields):
    """A calibration with the principal point in the middle; ROS' pixel centres."""
    matrix = np.array(
        [[focal, 0, width / 2 - 0.5], [0, focal, height / 2 - 0.5], [0, 0, 1]], np.float64
    )
    projection = np.concatenate([matrix, np.zeros((3, 1))], axis=1)
    info = CameraInfo(width=width, height=height, k=matrix.ravel(), p=projection.ravel())
    info.r = np.eye(3).ravel()
    for name, value in fields.items():
        setattr(info, name, value)
    return info
