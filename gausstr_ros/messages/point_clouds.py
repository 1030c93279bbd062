"""PointCloud2 -> points, of whatever layout."""

from __future__ import annotations

import array

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2
from sensor_msgs_py.point_cloud2 import read_points

AXES = ('x', 'y', 'z')
MOST_POINTS = 2_000_000  # of one cloud: six times the largest lidar's, and a depth camera's


def check_cloud(message: PointCloud2) -> None:
    """Look at what a cloud says of itself, not at its points.

    Raises:
        ValueError: it lacks a field of x, y, z, has too many points, or no frame.
    """
    names = [field.name for field in message.fields if field.count == 1]
    if not set(AXES) <= set(names):
        raise ValueError(
            f'expected a cloud with the fields x, y and z, got {", ".join(names) or "none"}'
        )
    count = message.width * message.height
    if count > MOST_POINTS:
        raise ValueError(
            f'a cloud of {count} points, at most {MOST_POINTS} are read: thin it out before, as '
            'with a VoxelGrid filter'
        )
    if not message.header.frame_id:
        raise ValueError('a cloud with an empty frame_id')


def cloud_points(message: PointCloud2) -> NDArray[np.floating]:
    """The finite points [P, 3] of a cloud, in its frame, as it sends them (float32 or float64).

    Rows may be padded, points may have any fields in any order and of any number type, and lie in
    either byte order; an organised cloud is read row after row.

    Raises:
        ValueError: as `check_cloud`, or its bytes are not what it says of itself.
    """
    check_cloud(message)
    try:
        table = read_points(_unpadded(message), field_names=AXES)
        kind = np.result_type(np.float32, *(table.dtype[axis] for axis in AXES))
        points = np.stack([table[axis].astype(kind, copy=False) for axis in AXES], axis=-1)
    except (AssertionError, KeyError, TypeError, ValueError) as error:  # each reader has its own
        raise ValueError(
            f'a damaged cloud: {message.width} x {message.height} points of {message.point_step} '
            f'bytes in {len(message.data)} bytes: {error}'
        ) from error
    points = points.reshape(-1, 3)
    return points[np.isfinite(points).all(axis=1)]


def _unpadded(message: PointCloud2) -> PointCloud2:
    """The cloud as one row without gaps: `read_points` takes padding for points.

    Without row_step, as some drivers send it, rows lie side by side.
    """
    row, count = message.width * message.point_step, message.height
    if count <= 1 or message.row_step == row:
        return message
    data = np.frombuffer(message.data, np.uint8)
    if message.row_step > row:
        # the last row need not be padded
        if len(data) < (count - 1) * message.row_step + row:
            raise ValueError(f'rows of {message.row_step} bytes')
        data = np.lib.stride_tricks.as_strided(data, (count, row), (message.row_step, 1))
    packed = array.array('B')
    packed.frombytes(np.ascontiguousarray(data).data.cast('B'))
    return PointCloud2(
        header=message.header,
        height=1,
        width=count * message.width,
        fields=message.fields,
        is_bigendian=message.is_bigendian,
        point_step=message.point_step,
        row_step=count * row,
        data=packed,
    )
