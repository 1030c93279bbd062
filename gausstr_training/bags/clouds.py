"""sensor_msgs/PointCloud2 -> points."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_FLOAT32 = 7  # PointField's number for it


def cloud_points(message: Any) -> NDArray[np.float32]:
    """The finite points [P, 3] of a cloud in metres, in its own frame.

    Raises:
        ValueError: x, y or z is missing or no float32, or there are fewer bytes than promised.
    """
    fields = {field.name: field for field in message.fields}
    for axis in 'xyz':
        if axis not in fields or fields[axis].datatype != _FLOAT32:
            got = ', '.join(f'{name} ({field.datatype})' for name, field in fields.items())
            raise ValueError(f'expected x, y and z as float32 ({_FLOAT32}), got fields {got}')
    step, row = message.point_step, message.row_step
    last = max(fields[axis].offset for axis in 'xyz') + 4
    if step < last or row < message.width * step or len(message.data) < message.height * row:
        raise ValueError(
            f'cloud of {message.width}x{message.height} points with x, y, z up to byte {last} got '
            f'point_step {step}, row_step {row} and {len(message.data)} bytes'
        )
    kind = np.dtype('>f4' if message.is_bigendian else '<f4')
    axes = [
        np.ndarray(
            (message.height, message.width), kind, message.data, fields[axis].offset, (row, step)
        )
        for axis in 'xyz'
    ]
    points = np.stack(axes, axis=-1).reshape(-1, 3).astype(np.float32)
    return points[np.isfinite(points).all(axis=1)]
