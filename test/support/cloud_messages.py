"""PointCloud2 messages of any layout."""

from __future__ import annotations

import array

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField

from gausstr_ros.messages.stamps import header_message

KINDS = {
    'i1': PointField.INT8, 'u1': PointField.UINT8, 'i2': PointField.INT16, 'u2': PointField.UINT16,
    'i4': PointField.INT32, 'u4': PointField.UINT32, 'f4': PointField.FLOAT32,
    'f8': PointField.FLOAT64,
}  # fmt: skip


def cloud(
    points, *, stamp=0, frame='lidar', kind='f4', names='xyz', lead=0, tail=0, rows=1, pad=0,
    bigendian=False,
):  # fmt: skip
    """A cloud of points [P, 3].

    Args:
        points: in the frame.
        stamp: nanoseconds.
        frame: frame_id.
        kind: number type of the coordinates.
        names: order of the fields; other letters than x, y, z are filled with noise.
        lead, tail: bytes before and after the fields of each point.
        rows: of an organised cloud.
        pad: bytes after each row.
        bigendian: byte order.
    """
    points = np.asarray(points, float).reshape(-1, 3)
    size = np.dtype(kind).itemsize
    step = lead + size * len(names) + tail
    stored = np.random.default_rng(0).integers(0, 255, (len(points), step), np.uint8)
    fields = []
    for place, name in enumerate(names):
        offset = lead + size * place
        fields.append(PointField(name=name, offset=offset, datatype=KINDS[kind], count=1))
        if name in 'xyz':
            column = points[:, 'xyz'.index(name)].astype(f'{">" if bigendian else "<"}{kind}')
            stored[:, offset : offset + size] = column.view(np.uint8).reshape(-1, size)
    width = len(points) // rows
    lines = np.pad(stored.reshape(rows, width * step), ((0, 0), (0, pad)), constant_values=77)
    return PointCloud2(
        header=header_message(stamp, frame),
        height=rows,
        width=width,
        fields=fields,
        is_bigendian=bigendian,
        point_step=step,
        row_step=lines.shape[1],
        data=array.array('B', lines.tobytes()),
        is_dense=False,
    )


def ground(count=4000, reach=25.0, seed=0):
    """Points [count, 3] of flat ground around a robot, in its ego frame."""
    chance = np.random.default_rng(seed)
    distance, angle = 1 + reach * chance.random(count) ** 2, 2 * np.pi * chance.random(count)
    return np.stack([distance * np.cos(angle), distance * np.sin(angle), 0 * angle], axis=-1)
