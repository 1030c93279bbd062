"""Clouds of any layout are the same points, and damaged ones say what is wrong."""

from __future__ import annotations

import array
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.ros
pytest.importorskip('rclpy')

from cloud_messages import cloud
from sensor_msgs.msg import PointField

from gausstr_ros.messages.point_clouds import MOST_POINTS, check_cloud, cloud_points

LETTERS = {'i1': 'b', 'u1': 'B', 'i2': 'h', 'u2': 'H', 'i4': 'i', 'u4': 'I', 'f4': 'f', 'f8': 'd'}


def one_by_one(message, kind):
    """The plain twin: each number by struct."""
    order = '>' if message.is_bigendian else '<'
    offsets = {field.name: field.offset for field in message.fields}
    found = []
    for row in range(message.height):
        for column in range(message.width):
            start = row * message.row_step + column * message.point_step
            found.append([
                struct.unpack_from(order + LETTERS[kind], message.data, start + offsets[axis])[0]
                for axis in 'xyz'
            ])  # fmt: skip
    points = np.array(found, float).reshape(-1, 3)
    return points[np.isfinite(points).all(axis=1)]


@given(
    kind=st.sampled_from(sorted(LETTERS)),
    names=st.permutations('xyzir'),
    lead=st.integers(0, 9),
    tail=st.integers(0, 9),
    rows=st.integers(1, 4),
    pad=st.integers(0, 7),
    bigendian=st.booleans(),
    holes=st.lists(st.integers(0, 11), max_size=4),
    seed=st.integers(0, 2**31 - 1),
)
@settings(max_examples=80, deadline=None)
def test_any_layout_is_read(kind, names, lead, tail, rows, pad, bigendian, holes, seed):
    points = np.random.default_rng(seed).uniform(0, 100, (12, 3))
    if kind.startswith('f'):
        points[holes, 1] = np.nan
        points[holes[:1], 2] = np.inf
    message = cloud(
        points, kind=kind, names=names, lead=lead, tail=tail, rows=rows, pad=pad,
        bigendian=bigendian,
    )  # fmt: skip
    expected = one_by_one(message, kind)
    read = cloud_points(message)
    assert read.dtype == (np.float64 if kind in ('f8', 'i4', 'u4') else np.float32)
    assert np.array_equal(read, expected.astype(read.dtype))


def test_the_last_row_need_not_be_padded_nor_row_step_be_given():
    points = np.arange(36.0).reshape(12, 3)
    message = cloud(points, rows=3, pad=5)
    message.data = message.data[:-5]
    assert np.array_equal(cloud_points(message), points)
    bare = cloud(points, rows=3)
    bare.row_step = 0
    assert np.array_equal(cloud_points(bare), points)


def test_what_is_wrong_is_said():
    points = np.ones((6, 3))
    lacking = cloud(points, names='xyi')
    with pytest.raises(ValueError, match='fields x, y and z, got x, y, i'):
        check_cloud(lacking)
    with pytest.raises(ValueError, match='empty frame_id'):
        check_cloud(cloud(points, frame=''))
    vectors = cloud(points)
    vectors.fields = [PointField(name=n, datatype=PointField.FLOAT32, count=3) for n in 'xyz']
    with pytest.raises(ValueError, match='fields x, y and z, got none'):
        check_cloud(vectors)
    cut = cloud(points)
    cut.data = array.array('B', cut.data[:-1])
    with pytest.raises(ValueError, match='damaged cloud: 6 x 1 points of 12 bytes in 71 bytes'):
        cloud_points(cut)
    rows = cloud(points, rows=3, pad=4)
    rows.data = array.array('B', rows.data[:-40])
    with pytest.raises(ValueError, match='damaged cloud'):
        cloud_points(rows)
    unknown = cloud(points)
    unknown.fields[0].datatype = 99
    with pytest.raises(ValueError, match='damaged cloud'):
        cloud_points(unknown)
    beyond = cloud(points)
    beyond.fields[2].offset = 10
    with pytest.raises(ValueError, match='damaged cloud'):
        cloud_points(beyond)


def test_ten_million_points_are_refused_before_they_are_read():
    """The limit is stated; nothing but the header is looked at."""
    many = cloud(np.ones((1, 3)))
    many.width = 10_000_000
    with pytest.raises(ValueError, match=f'10000000 points, at most {MOST_POINTS} are read'):
        check_cloud(many)


def test_none_of_the_points_may_be_finite():
    assert cloud_points(cloud(np.full((5, 3), np.nan))).shape == (0, 3)
    assert cloud_points(cloud(np.empty((0, 3)))).shape == (0, 3)
