"""Reads the files of sensors, as they are: what a bag gets is what nuScenes has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gausstr_core.bags.messages import TYPES
from gausstr_training.bags.messages import header

POINTS = 'sensor_msgs/msg/PointCloud2'
FIELDS = ('x', 'y', 'z', 'intensity', 'ring')  # float32, in the frame of the lidar
_POINT = 4 * len(FIELDS)  # bytes
_FLOAT32 = 7  # sensor_msgs/msg/PointField.FLOAT32
_JPEG_START, _JPEG_END = b'\xff\xd8\xff', b'\xff\xd9'
_AFTER_JPEG = 64  # bytes that some writers append


def read_jpeg(path: Path) -> np.ndarray:
    """The bytes [n] uint8 of a JPEG file.

    Raises:
        ValueError: it is missing, is no JPEG, or is cut short; the message names it.
    """
    data = _read(path)
    if not data.startswith(_JPEG_START):
        raise ValueError(f'{path}: expected a JPEG image, got {data[:8]!r}...')
    if _JPEG_END not in data[-_AFTER_JPEG:]:
        raise ValueError(f'{path}: the JPEG image is cut short after {len(data)} bytes')
    return np.frombuffer(data, np.uint8)


def read_sweep(path: Path, stamp: int, frame: str) -> Any:
    """A file .pcd.bin as PointCloud2, float32 x y z (m) intensity ring; stamp in ns.

    Raises:
        ValueError: it is missing, empty, or not of whole points; the message names it.
    """
    data = _read(path)
    count, rest = divmod(len(data), _POINT)
    if rest or not count:
        raise ValueError(
            f'{path}: expected points of {_POINT} bytes ({" ".join(FIELDS)}), '
            f'got {len(data)} bytes'
        )
    field = TYPES['sensor_msgs/msg/PointField']
    fields = [field(name, 4 * index, _FLOAT32, 1) for index, name in enumerate(FIELDS)]
    finite = bool(np.isfinite(np.frombuffer(data, '<f4')).all())
    return TYPES[POINTS](
        header(stamp, frame), 1, count, fields, False, _POINT, len(data),
        np.frombuffer(data, np.uint8), finite,
    )  # fmt: skip


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f'{path} is missing; sample_data.json names it') from None
