"""What gausstr_ros relies on in cv_bridge, whoever provides it."""

from __future__ import annotations

import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip('rclpy')

import cv2
from cv_bridge import CvBridge, CvBridgeError
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

pytestmark = pytest.mark.ros


def image(encoding: str, pixels: np.ndarray, padding: int = 0) -> Image:
    rows = pixels.reshape(len(pixels), -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)))
    message = Image(
        height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=rows.shape[1]
    )
    message.data = array.array('B', rows.tobytes())
    return message


@pytest.mark.parametrize(
    ('encoding', 'dtype', 'channels'),
    [
        ('bgr8', np.uint8, 3),
        ('rgba8', np.uint8, 4),
        ('mono8', np.uint8, 1),
        ('16UC1', np.uint16, 1),
        ('32FC1', np.float32, 1),
    ],
)
@pytest.mark.parametrize('padding', [0, 4])
def test_passes_pixels_through(encoding, dtype, channels, padding):
    shape = (3, 5) if channels == 1 else (3, 5, channels)
    pixels = np.random.default_rng(1).integers(0, 255, shape).astype(dtype)
    found = CvBridge().imgmsg_to_cv2(image(encoding, pixels, padding))
    np.testing.assert_array_equal(found.reshape(shape), pixels)
    assert found.dtype == dtype


def test_big_endian_depth_is_turned_round():
    pixels = np.array([[1, 256]], dtype='>u2')
    message = image('16UC1', pixels)
    message.is_bigendian = 1
    assert CvBridge().imgmsg_to_cv2(message).tolist() == [[1, 256]]


@pytest.mark.parametrize(
    ('encoding', 'pixel'),
    [('rgb8', [10, 20, 30]), ('rgba8', [10, 20, 30, 255]), ('bgra8', [30, 20, 10, 255])],
)
def test_converts_to_bgr(encoding, pixel):
    pixels = np.full((2, 2, len(pixel)), pixel, dtype=np.uint8)
    found = CvBridge().imgmsg_to_cv2(image(encoding, pixels), 'bgr8')
    np.testing.assert_array_equal(found, np.full((2, 2, 3), [30, 20, 10]))


@pytest.mark.parametrize(
    ('encoding', 'red_at'),
    [
        ('bayer_rggb8', (0, 0)),
        ('bayer_bggr8', (1, 1)),
        ('bayer_grbg8', (0, 1)),
        ('bayer_gbrg8', (1, 0)),
    ],
)
def test_bayer_patterns_put_red_where_their_name_says(encoding, red_at):
    pixels = np.zeros((8, 8), dtype=np.uint8)
    pixels[red_at[0] :: 2, red_at[1] :: 2] = 200
    blue, _, red = CvBridge().imgmsg_to_cv2(image(encoding, pixels), 'bgr8')[4, 4]
    assert red > 150
    assert blue == 0


def test_yuv422_grey_becomes_grey():
    pixels = np.full((2, 4, 2), 128, dtype=np.uint8)
    found = CvBridge().imgmsg_to_cv2(image('yuv422', pixels), 'bgr8')
    assert found.shape == (2, 4, 3)
    assert np.ptp(found) <= 2


@pytest.mark.parametrize('bad', ['nonsense', '8UC'])
def test_unknown_encoding_raises(bad):
    with pytest.raises(CvBridgeError):
        CvBridge().imgmsg_to_cv2(image(bad, np.zeros((2, 2), np.uint8)), 'bgr8')


def test_writes_an_image_message():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    header = Header(frame_id='CAM_FRONT')
    message = CvBridge().cv2_to_imgmsg(pixels, 'bgr8', header)
    assert (message.height, message.width, message.step) == (2, 4, 12)
    assert (message.encoding, message.header.frame_id) == ('bgr8', 'CAM_FRONT')
    assert bytes(message.data) == pixels.tobytes()
    assert CvBridge().cv2_to_imgmsg(pixels).encoding == '8UC3'


def test_refuses_an_encoding_that_does_not_fit():
    with pytest.raises(CvBridgeError):
        CvBridge().cv2_to_imgmsg(np.zeros((2, 2), np.float32), 'bgr8')


@given(st.sampled_from(['bgr8', 'rgb8', 'mono8', '16UC1', '32FC1']), st.integers(1, 7))
def test_image_round_trip(encoding, size):
    dtype = {'16UC1': np.uint16, '32FC1': np.float32}.get(encoding, np.uint8)
    shape = (size, 3, 3) if encoding.endswith('b8') or encoding == 'bgr8' else (size, 3)
    pixels = np.random.default_rng(size).integers(0, 255, shape).astype(dtype)
    bridge = CvBridge()
    found = bridge.imgmsg_to_cv2(bridge.cv2_to_imgmsg(pixels, encoding))
    np.testing.assert_array_equal(found, pixels)


def test_decodes_a_jpeg():
    pixels = np.full((16, 16, 3), (10, 100, 200), dtype=np.uint8)
    message = CompressedImage(format='jpeg')
    message.data = array.array('B', cv2.imencode('.jpg', pixels)[1].tobytes())
    found = CvBridge().compressed_imgmsg_to_cv2(message)
    assert np.abs(found.astype(int) - pixels).max() < 6
