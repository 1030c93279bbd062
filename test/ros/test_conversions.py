"""Messages <-> arrays, tested like maths."""

from __future__ import annotations

import array

import numpy as np
import pytest

pytest.importorskip('rclpy')

import cv2
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from sensor_msgs_py.point_cloud2 import read_points
from std_msgs.msg import Header

from gausstr_core.contracts import Occupancy, VoxelGrid
from gausstr_core.vocabulary import Category
from gausstr_ros import conversions
from gausstr_ros.calibration import intrinsics

WORDS = (
    Category('road', role='ground', color=(10, 20, 30)),
    Category('car', color=(200, 100, 50)),
)
GRID = VoxelGrid((-2.0, -1.0, 0.0), (2.0, 1.0, 2.0), 0.5)  # 8 x 4 x 4


def raw(pixels, encoding, pad=0, bigendian=False):
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


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_plain_colour_images_are_read_with_padded_rows(height, width, pad, seed):
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    for encoding, expected in (('rgb8', pixels), ('bgr8', pixels[..., ::-1])):
        assert np.array_equal(conversions.rgb_image(raw(pixels, encoding, pad)), expected)
    grey = conversions.rgb_image(raw(pixels[..., 0], 'mono8', pad))
    assert np.array_equal(grey, np.repeat(pixels[..., :1], 3, -1))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 3), st.booleans())
def test_depth_comes_in_metres(height, width, pad, bigendian):
    millimetres = np.arange(height * width, dtype=np.uint16).reshape(height, width) * 37
    depth = conversions.depth_image(raw(millimetres, '16UC1', 2 * pad, bigendian))
    assert np.allclose(depth, millimetres / 1000) and depth.dtype == np.float32
    metres = millimetres.astype(np.float32) / 7
    read = conversions.depth_image(raw(metres, '32FC1', 4 * pad, bigendian))
    assert np.array_equal(read, metres)


def test_other_encodings_go_through_cv_bridge():
    pixels = np.random.default_rng(0).integers(0, 255, (4, 6, 4), np.uint8)
    assert np.array_equal(conversions.rgb_image(raw(pixels, 'rgba8')), pixels[..., :3])
    with pytest.raises(ValueError, match='nonsense'):
        conversions.rgb_image(raw(pixels, 'nonsense'))


def test_a_jpeg_is_read_and_a_truncated_one_is_an_error():
    pixels = np.full((40, 60, 3), (200, 30, 90), np.uint8)
    data = cv2.imencode('.jpg', pixels[..., ::-1])[1].tobytes()

    def message(content):
        return CompressedImage(format='jpeg', data=array.array('B', content))

    assert np.abs(conversions.rgb_image(message(data)).astype(int) - pixels).max() < 6
    assert conversions.rgb_image(message(data + b'\0' * 16)).shape == (40, 60, 3)
    for cut in range(1, len(data) - 1, 7):
        with pytest.raises(ValueError, match=r'truncated|do not decode'):
            conversions.rgb_image(message(data[:cut]))


@pytest.mark.parametrize(
    ('change', 'expected'),
    [
        ({'step': 5}, 'rows of 18 bytes, got step 5'),
        ({'height': 9}, '9'),
        ({'width': 0}, 'empty image'),
        ({'encoding': '32FC1'}, 'rows of 24 bytes|colour'),
    ],
)
def test_images_that_promise_more_than_they_hold_are_errors(change, expected):
    message = raw(np.zeros((4, 6, 3), np.uint8), 'rgb8')
    for field, value in change.items():
        setattr(message, field, value)
    with pytest.raises(ValueError, match=expected):
        conversions.rgb_image(message)


def test_depth_of_another_encoding_is_an_error():
    with pytest.raises(ValueError, match=r"32FC1.*16UC1.*'mono8'"):
        conversions.depth_image(raw(np.zeros((2, 2), np.uint8), 'mono8'))


def test_an_image_goes_out_and_comes_back():
    depth = np.random.default_rng(0).random((5, 7), np.float32)
    message = conversions.image_message(depth, '32FC1', Header(frame_id='base_link'))
    assert message.header.frame_id == 'base_link'
    assert np.array_equal(conversions.depth_image(message), depth)
    colour = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)
    message = conversions.image_message(colour, 'rgb8', Header())
    assert np.array_equal(conversions.rgb_image(message), colour)


def occupancy(occupied=(), observed=()):
    """Voxels (x, y, z) -> label, and columns (x, y) that were observed."""
    labels = torch.full(GRID.shape, -1)
    seen = torch.zeros(GRID.shape, dtype=torch.bool)
    for x, y in observed:
        seen[x, y] = True
    for (x, y, z), label in dict(occupied).items():
        labels[x, y, z] = label
        seen[x, y, z] = True
    confidence = torch.where(labels >= 0, 0.75, 0.0)
    return Occupancy(GRID, (labels >= 0).float(), labels, confidence, seen)


def test_the_map_from_above_knows_occupied_free_and_unknown():
    world = occupancy(
        {(0, 0, 1): 1, (1, 0, 1): 0, (2, 0, 0): 1, (3, 3, 2): 1},
        observed=[(1, 0), (2, 0), (5, 2)],
    )
    message = conversions.occupancy_grid(world, WORDS, (0.5, 1.5), Header(frame_id='base_link'))
    assert (message.info.width, message.info.height, message.info.resolution) == (8, 4, 0.5)
    assert (message.info.origin.position.x, message.info.origin.position.y) == (-2.0, -1.0)
    cells = np.array(message.data, np.int8).reshape(4, 8)  # rows are y
    expected = np.full((4, 8), -1)
    expected[0, 0] = 100  # a car
    expected[0, 1] = 0  # road is no obstacle
    expected[0, 2] = 0  # a car below the band
    expected[3, 3] = 100
    expected[2, 5] = 0  # seen, and nothing there
    assert np.array_equal(cells, expected)


def test_a_band_without_voxels_is_an_error():
    with pytest.raises(ValueError, match=r'map\.min_height 8'):
        conversions.occupancy_grid(occupancy(), WORDS, (8.0, 9.0), Header())


def test_the_cloud_holds_the_occupied_voxels():
    world = occupancy({(0, 0, 1): 1, (7, 3, 3): 0})
    message = conversions.voxel_cloud(world, WORDS, Header(frame_id='base_link'))
    points = read_points(message)
    assert (message.width, message.height, message.point_step) == (2, 1, 24)
    assert [tuple(p) for p in points[['x', 'y', 'z', 'label', 'confidence']].tolist()] == [
        (-1.75, -0.75, 0.75, 1, 0.75),
        (1.75, 0.75, 1.75, 0, 0.75),
    ]
    packed = points['rgb'].copy().view(np.uint32)
    assert packed.tolist() == [200 << 16 | 100 << 8 | 50, 10 << 16 | 20 << 8 | 30]


def test_an_empty_map_is_a_message_too():
    assert conversions.voxel_cloud(occupancy(), WORDS, Header()).width == 0


def info(width=160, height=90, focal=100.0, **fields):
    matrix = np.array([[focal, 0, 79.5], [0, focal, 44.5], [0, 0, 1]])
    return CameraInfo(width=width, height=height, k=matrix.ravel(), **fields)


def test_intrinsics_move_by_half_a_pixel():
    assert np.array_equal(
        intrinsics('A', info(), (90, 160)), [[100, 0, 80], [0, 100, 45], [0, 0, 1]]
    )


@pytest.mark.parametrize(
    ('calibration', 'expected'),
    [
        (info(focal=0.0), 'camera A: .*focal lengths > 0.*fx=0'),
        (info(focal=float('nan')), 'camera A: .*finite'),
        (info(width=80), 'camera A: .*160x90.*80x90'),
        (info(binning_x=2), 'camera A: .*binning'),
    ],
)
def test_unusable_calibrations_name_the_camera(calibration, expected):
    with pytest.raises(ValueError, match=expected):
        intrinsics('A', calibration, (90, 160))
