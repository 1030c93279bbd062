"""Reads the files of sensors, as they are: what a bag gets is what nuScenes has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gausstr_core.bags.messages import TYPES
from gausstr_core.camera.image_files import STARTS, find_picture
from gausstr_training.bags.messages import header

POINTS = 'sensor_msgs/msg/PointCloud2'
FIELDS = ('x', 'y', 'z', 'intensity', 'ring')  # float32, in the frame of the lidar
_POINT = 4 * len(FIELDS)  # bytes
_FLOAT32 = 7  # sensor_msgs/msg/PointField.FLOAT32


def read_image(path: Path) -> tuple[str, np.ndarray]:
    """What an image file is, 'jpeg' or 'png', and its bytes [n] uint8.

    Raises:
        ValueError: it is missing, neither of them, or cut short; the message names it.
    """
    data = _read(path)
    if not data.startswith(STARTS):
        raise ValueError(f'{path}: expected a JPEG or PNG image, got {data[:8]!r}...')
    try:
        picture = find_picture(data)
    except ValueError as error:
        raise ValueError(f'{path}: the image is cut short or damaged: {error}') from None
    return picture.kind, np.frombuffer(data, np.uint8)


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
