"""Subset of sensor_msgs_py.point_cloud2: whole clouds between messages and structured arrays."""

from __future__ import annotations

import array
import sys
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.lib.recfunctions import structured_to_unstructured, unstructured_to_structured
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

__all__ = ['create_cloud', 'dtype_from_fields', 'read_points', 'read_points_numpy']

_DATATYPES = {
    PointField.INT8: np.dtype(np.int8), PointField.UINT8: np.dtype(np.uint8),
    PointField.INT16: np.dtype(np.int16), PointField.UINT16: np.dtype(np.uint16),
    PointField.INT32: np.dtype(np.int32), PointField.UINT32: np.dtype(np.uint32),
    PointField.FLOAT32: np.dtype(np.float32), PointField.FLOAT64: np.dtype(np.float64),
}  # fmt: skip


def dtype_from_fields(fields: Iterable[PointField], point_step: int | None = None) -> np.dtype:
    """Structured dtype of one point; `point_step` (bytes) adds the padding behind it."""
    names, formats, offsets = [], [], []
    for field in fields:
        scalar = _DATATYPES[field.datatype]
        names.append(field.name)
        formats.append(scalar if field.count == 1 else np.dtype((scalar, (field.count,))))
        offsets.append(field.offset)
    layout = {'names': names, 'formats': formats, 'offsets': offsets}
    if point_step is not None:
        layout['itemsize'] = point_step
    return np.dtype(layout)


def create_cloud(
    header: Header, fields: Sequence[PointField], points: NDArray, step: int | None = None
) -> PointCloud2:
    """Message of points, a structured array or plain numbers [..., len(fields)].

    One axis gives an unorganised cloud (height 1), two give [height, width].
    """
    if points.dtype.names is None:
        points = unstructured_to_structured(points, dtype=dtype_from_fields(fields, step))
    else:
        assert points.dtype == dtype_from_fields(fields, points.dtype.itemsize), (
            'PointFields and structured NumPy array dtype do not match for all fields!'
        )
    assert points.ndim <= 2, f'expected one or two axes of points, got {points.ndim}'
    height, width = points.shape if points.ndim == 2 else (1, points.size)
    cloud = PointCloud2(
        header=header, height=height, width=width, is_dense=False,
        is_bigendian=sys.byteorder != 'little', fields=list(fields),
        point_step=points.dtype.itemsize, row_step=points.dtype.itemsize * width,
    )  # fmt: skip
    # An array.array is taken as it is; any other sequence is checked byte by byte.
    cloud.data = array.array('B', np.ascontiguousarray(points).tobytes())
    return cloud


def read_points(
    cloud: PointCloud2, field_names: Sequence[str] | None = None, skip_nans: bool = False
) -> NDArray:
    """Points [height * width] as a structured array over the message's own bytes."""
    dtype = dtype_from_fields(cloud.fields, cloud.point_step)
    points = np.ndarray((cloud.width * cloud.height,), dtype, buffer=cloud.data)
    if field_names is not None:
        missing = set(field_names) - set(dtype.names or ())
        assert not missing, f'the cloud has no field {sorted(missing)}'
        points = points[list(field_names)]
    if bool(sys.byteorder != 'little') != bool(cloud.is_bigendian):
        points = points.byteswap(inplace=False)
    if skip_nans and not cloud.is_dense:
        finite = np.ones(len(points), dtype=bool)
        for name in points.dtype.names:
            values = points[name].reshape(len(points), -1)
            finite &= ~np.isnan(values).any(axis=1)
        points = points[finite]
    return points


def read_points_numpy(
    cloud: PointCloud2, field_names: Sequence[str] | None = None, skip_nans: bool = False
) -> NDArray:
    """Points [N, fields] as plain numbers; all fields must have one and the same type."""
    points = read_points(cloud, field_names, skip_nans)
    return structured_to_unstructured(points)
