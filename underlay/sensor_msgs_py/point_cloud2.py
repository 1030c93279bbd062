"""Subset of sensor_msgs_py.point_cloud2: a structured array has one field per PointField."""

from __future__ import annotations

import array
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

__all__ = ['create_cloud', 'dtype_from_fields', 'read_points']

_NUMBERS = {
    PointField.INT8: np.int8, PointField.UINT8: np.uint8,
    PointField.INT16: np.int16, PointField.UINT16: np.uint16,
    PointField.INT32: np.int32, PointField.UINT32: np.uint32,
    PointField.FLOAT32: np.float32, PointField.FLOAT64: np.float64,
}  # fmt: skip


def dtype_from_fields(
    fields: Iterable[PointField], point_step: int | None = None
) -> np.dtype[Any]:
    """How one point lies in memory, in the byte order of this machine.

    Args:
        fields: of `count` n > 1 makes the fields name_0 to name_(n-1); without a name it is
            unnamed_field_(its index).
        point_step: bytes from one point to the next; up to the end of the last field without.

    Raises:
        KeyError: a datatype that PointField does not know.
        ValueError: two fields of one name, or one that ends beyond `point_step`.
    """
    layout: dict[str, Any] = {'names': [], 'formats': [], 'offsets': []}
    for index, field in enumerate(fields):
        number = np.dtype(_NUMBERS[field.datatype])
        name = field.name or f'unnamed_field_{index}'
        for part in range(field.count):
            layout['names'].append(f'{name}_{part}' if field.count > 1 else name)
            layout['formats'].append(number)
            layout['offsets'].append(field.offset + part * number.itemsize)
    if point_step is not None:
        layout['itemsize'] = point_step
    return np.dtype(layout)


def read_points(
    cloud: PointCloud2, field_names: Sequence[str] | None = None, skip_nans: bool = False
) -> NDArray[Any]:
    """The points [height * width] of a cloud, row after row.

    Args:
        cloud: of any fields and byte order.
        field_names: the fields to read; all of them without.
        skip_nans: leave out points with a NaN in one of these, unless the cloud is `is_dense`.

    Raises:
        KeyError: a field that the cloud does not have.
        TypeError: fewer bytes than width, height and point_step promise.
        ValueError: rows are padded; the real package reads the padding as points.
    """
    row = cloud.width * cloud.point_step
    if cloud.height > 1 and cloud.row_step != row:
        raise ValueError(
            f'{cloud.width} points of {cloud.point_step} bytes: expected row_step {row}, got '
            f'{cloud.row_step}; read_points knows no padding of rows, cut it off before'
        )
    point = dtype_from_fields(cloud.fields, cloud.point_step)
    sent = point.newbyteorder('>' if cloud.is_bigendian else '<')
    points: NDArray[Any] = np.ndarray(cloud.width * cloud.height, sent, cloud.data)
    if sent != point:
        points = points.astype(point)
    if field_names is not None:
        points = points[list(field_names)]
    if skip_nans and not cloud.is_dense:
        empty = [np.isnan(points[name]) for name in points.dtype.names or ()]
        points = points[~np.any(empty, axis=0)]
    return points


def create_cloud(
    header: Header, fields: Sequence[PointField], points: NDArray[Any]
) -> PointCloud2:
    """An unorganised cloud of a structured array [P], its bytes copied; `is_dense` is False."""
    assert points.ndim == 1 and points.dtype == dtype_from_fields(fields)
    cloud = PointCloud2(header=header, height=1, width=len(points), fields=fields)
    cloud.is_bigendian = sys.byteorder == 'big'
    cloud.point_step = points.dtype.itemsize
    cloud.row_step = points.nbytes
    # An array.array is taken as it is; any other sequence is checked byte by byte.
    data = array.array('B')
    data.frombytes(points.data.cast('B'))
    cloud.data = data
    return cloud
