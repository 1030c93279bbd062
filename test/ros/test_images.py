"""Image messages -> arrays, tested like maths."""

from __future__ import annotations

import array
import struct
import sys
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy')

import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
from image_messages import compressed, encoded, inverse_depth, raw
from std_msgs.msg import Header

from gausstr_core.camera import images
from gausstr_core.camera.compressed_images import MOST_PIXELS
from gausstr_core.camera.images import depth_image
from gausstr_ros.messages.images import image_message, rgb_image

# Where red, green, green and blue lie in the first two rows and columns of each pattern.
BAYER = {
    'bayer_rggb8': ((0, 0), (0, 1), (1, 0), (1, 1)),
    'bayer_bggr8': ((1, 1), (0, 1), (1, 0), (0, 0)),
    'bayer_gbrg8': ((1, 0), (0, 0), (1, 1), (0, 1)),
    'bayer_grbg8': ((0, 1), (0, 0), (1, 1), (1, 0)),
}
COLOR = (200, 30, 90)


def smooth(height=40, width=60):
    """A colour image [H, W, 3] that survives JPEG."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (4, 6, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_plain_colour_images_are_read_with_padded_rows(height, width, pad, seed):
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 4), np.uint8)
    rgb = pixels[..., :3]
    for encoding, sent in (
        ('rgb8', rgb),
        ('bgr8', rgb[..., ::-1]),
        ('rgba8', pixels),
        ('bgra8', pixels[..., (2, 1, 0, 3)]),
    ):
        assert np.array_equal(rgb_image(raw(sent, encoding, pad)), rgb), encoding
    grey = rgb_image(raw(pixels[..., 0], 'mono8', pad))
    assert np.array_equal(grey, np.repeat(pixels[..., :1], 3, -1))


@pytest.mark.parametrize('encoding', BAYER)
@pytest.mark.parametrize('pad', [0, 3])
def test_bayer_patterns_give_back_the_colour(encoding, pad):
    mosaic = np.zeros((8, 10), np.uint8)
    for (row, column), value in zip(
        BAYER[encoding], (COLOR[0], COLOR[1], COLOR[1], COLOR[2]), strict=True
    ):
        mosaic[row::2, column::2] = value
    assert (rgb_image(raw(mosaic, encoding, pad)) == COLOR).all()
    png = encoded(mosaic, 'png', f'{encoding}; png compressed ')
    assert (rgb_image(png) == COLOR).all()


@pytest.mark.parametrize(
    ('encoding', 'order'),
    [('yuv422', 'uyvy'), ('uyvy', 'uyvy'), ('yuv422_yuy2', 'yuyv'), ('yuyv', 'yuyv')],
)
@pytest.mark.parametrize('pad', [0, 3])
def test_yuv_images_give_back_the_colour(encoding, order, pad):
    """Per pixel: brightness, and blue or red difference, as BT.601 has them for video."""
    red, green, blue = (value / 255 for value in COLOR)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    value = {
        'y': 16 + 219 * luma,
        'u': 128 + 112 * (blue - luma) / 0.886,
        'v': 128 + 112 * (red - luma) / 0.701,
    }
    pairs = np.array([value[name] for name in order]).round().astype(np.uint8)
    image = rgb_image(raw(np.tile(pairs.reshape(1, 2, 2), (4, 3, 1)), encoding, pad))
    assert image.shape == (4, 6, 3)
    assert np.abs(image.astype(int) - COLOR).max() <= 2


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 3), st.booleans())
def test_depth_comes_in_metres(height, width, pad, bigendian):
    millimetres = np.arange(height * width, dtype=np.uint16).reshape(height, width) * 37
    depth = depth_image(raw(millimetres, '16UC1', 2 * pad, bigendian))
    assert np.allclose(depth, millimetres / 1000) and depth.dtype == np.float32
    metres = millimetres.astype(np.float32) / 7
    read = depth_image(raw(metres, '32FC1', 4 * pad, bigendian))
    assert np.array_equal(read, metres)


def test_compressed_depth_comes_in_metres():
    millimetres = np.random.default_rng(0).integers(300, 30_000, (9, 16)).astype(np.uint16)
    png = encoded(millimetres, 'png', '16UC1; png compressed ')
    assert np.allclose(depth_image(png), millimetres / 1000)
    with_header = compressed(
        struct.pack('<iff', 0, 0, 0) + bytes(png.data), '16UC1; compressedDepth'
    )
    assert np.allclose(depth_image(with_header), millimetres / 1000)
    metres = millimetres.astype(np.float32) / 1000
    found = depth_image(inverse_depth(metres))
    expected = np.where(metres <= 20, metres, 0)
    assert found.dtype == np.float32
    assert np.array_equal(found > 0, expected > 0)
    assert np.abs(found - expected).max() < 0.05  # its steps grow with the depth


def test_common_encodings_need_no_cv_bridge_and_the_others_tell_what_to_do(monkeypatch):
    """vision_opencv 535: a cv_bridge that was built for another NumPy does not load."""
    monkeypatch.setitem(sys.modules, 'cv_bridge', None)
    channels = {'rgb8': 3, 'bgr8': 3, 'rgba8': 4, 'bgra8': 4, 'mono8': 1}
    for encoding in images.COLOR:
        count = channels.get(encoding, 1 if 'bayer' in encoding else 2)
        shape = (4, 6) if count == 1 else (4, 6, count)
        pixels = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
        assert rgb_image(raw(pixels, encoding)).shape == (4, 6, 3)
    pixels = np.zeros((6, 6), np.uint8)
    expected = (
        r"'nv21' needs cv_bridge, which does not load .*; install .* for this NumPy, or let the"
    )
    with pytest.raises(ValueError, match=expected):
        rgb_image(raw(pixels, 'nv21'))


def test_rare_encodings_are_left_to_cv_bridge(monkeypatch):
    """A stand-in for the real one, which only a ROS install has."""
    seen = []

    class Bridge:
        def imgmsg_to_cv2(self, message, encoding):
            seen.append((message.encoding, encoding))
            return np.full((4, 6, 3), 7, np.uint8)

    monkeypatch.setitem(sys.modules, 'cv_bridge', SimpleNamespace(CvBridge=Bridge))
    found = rgb_image(raw(np.zeros((6, 6), np.uint8), 'nv21'))
    assert seen == [('nv21', 'rgb8')] and (found == 7).all()


def test_an_encoding_that_nothing_reads_names_those_that_are_read():
    pixels = np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)
    with pytest.raises(ValueError, match=r"'nonsense'.*rgb8, bgr8"):
        rgb_image(raw(pixels, 'nonsense'))


@pytest.mark.parametrize(
    'name', ['jpeg', 'jpg', 'rgb8; jpeg compressed bgr8', 'bgr8; jpeg compressed bgr8', '']
)
def test_a_jpeg_is_read_and_a_truncated_one_is_an_error(name):
    pixels = smooth()
    whole = encoded(pixels[..., ::-1], 'jpg', name)
    data = bytes(whole.data)
    assert np.abs(rgb_image(whole).astype(int) - pixels).mean() < 4
    assert rgb_image(compressed(data + b'\0' * 16, name)).shape == (40, 60, 3)
    for cut in range(1, len(data) - 1, 7):
        with pytest.raises(ValueError, match=r'truncated|do not decode'):
            rgb_image(compressed(data[:cut], name))


def test_a_jpeg_whose_encoder_took_red_for_blue_is_put_right():
    """The plug-in says so in the format; most do not, and then the JPEG's own colours count."""
    pixels = smooth()
    swapped = rgb_image(encoded(pixels, 'jpg', 'rgb8; jpeg compressed rgb8'))
    assert np.abs(swapped.astype(int) - pixels).mean() < 4


@pytest.mark.parametrize('name', ['png', 'rgb8; png compressed bgr8', 'bgr8; png compressed bgr8'])
def test_a_png_is_read_and_a_truncated_one_is_an_error(name):
    pixels = smooth()
    whole = encoded(pixels[..., ::-1], 'png', name)
    assert np.array_equal(rgb_image(whole), pixels)
    data = bytes(whole.data)
    for cut in range(1, len(data) - 1, 97):
        with pytest.raises(ValueError, match=r'do not decode|truncated PNG'):
            rgb_image(compressed(data[:cut], name))
    grey = encoded(pixels[..., 0], 'png', 'mono8; png compressed ')
    assert np.array_equal(rgb_image(grey), np.repeat(pixels[..., :1], 3, -1))


def test_a_jpeg_stays_as_it_is_stored_however_the_camera_was_held():
    """Found here: OpenCV turns an image by its EXIF orientation, the calibration does not."""
    data = bytes(encoded(smooth(), 'jpg', 'jpeg').data)
    orientation = struct.pack('<HHIHH', 0x0112, 3, 1, 6, 0)
    tiff = b'II*\0' + struct.pack('<I', 8) + struct.pack('<H', 1) + orientation + b'\0' * 4
    body = b'Exif\0\0' + tiff
    turned = data[:2] + b'\xff\xe1' + struct.pack('>H', len(body) + 2) + body + data[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (60, 40, 3)
    assert np.array_equal(
        rgb_image(compressed(turned, 'jpeg')), rgb_image(compressed(data, 'jpeg'))
    )


def test_a_header_that_promises_too_many_pixels_is_refused_before_decoding():
    data = bytearray(encoded(np.zeros((8, 8, 3), np.uint8), 'png', 'png').data)
    data[16:24] = struct.pack('>II', 60_000, 60_000)
    with pytest.raises(ValueError, match=rf'60000x60000.*{MOST_PIXELS}'):
        rgb_image(compressed(data, 'png'))
    data = bytearray(encoded(np.zeros((8, 8, 3), np.uint8), 'jpg', 'jpeg').data)
    frame = data.index(b'\xff\xc0')
    data[frame + 5 : frame + 9] = struct.pack('>HH', 65_000, 65_000)
    with pytest.raises(ValueError, match=rf'65000x65000.*{MOST_PIXELS}'):
        rgb_image(compressed(data, 'jpeg'))


def test_no_other_decoder_is_reached():
    bmp = cv2.imencode('.bmp', smooth())[1].tobytes()
    with pytest.raises(ValueError, match="'jpeg' do not decode: no JPEG or PNG"):
        rgb_image(compressed(bmp, 'jpeg'))


@pytest.mark.parametrize(
    ('change', 'expected'),
    [
        ({'step': 5}, 'rows of 18 bytes, got step 5'),
        ({'height': 9}, '9'),
        ({'width': 0}, 'empty image'),
        ({'encoding': '32FC1'}, 'rows of 24 bytes|colour'),
        ({'encoding': 'yuv422', 'width': 5}, 'yuv422 image of 5x4.*cannot be converted'),
        ({'encoding': 'bayer_rggb8', 'height': 2}, 'bayer_rggb8 image of 6x2.*at least 3x3'),
    ],
)
def test_images_that_promise_more_than_they_hold_are_errors(change, expected):
    message = raw(np.zeros((4, 6, 3), np.uint8), 'rgb8')
    for field, value in change.items():
        setattr(message, field, value)
    with pytest.raises(ValueError, match=expected):
        rgb_image(message)


@pytest.mark.parametrize(
    ('message', 'expected'),
    [
        (raw(np.zeros((2, 2), np.uint8), 'mono8'), r"32FC1.*16UC1.*'mono8'"),
        (compressed(b'', 'jpeg'), "16UC1; png compressed.*'jpeg'"),
        (compressed(b'', '16UC1; compressedDepth rvl'), 'rvl'),
        (compressed(b'12', '16UC1; compressedDepth png'), '2 bytes is shorter'),
        (compressed(b'0' * 12, '16UC1; compressedDepth png'), 'empty'),
        (encoded(np.zeros((2, 2), np.uint8), 'png', '16UC1; png compressed'), '16 bits.*uint8'),
        (encoded(np.zeros((2, 2), np.uint16), 'png', '32FC1; png compressed'), 'lost its metres'),
        (
            compressed(
                struct.pack('<iff', 1, float('nan'), 1)
                + bytes(encoded(np.zeros((2, 2), np.uint16), 'png', '').data),
                '32FC1; compressedDepth png',
            ),
            'the numbers nan and 1',
        ),
    ],
)
def test_depth_of_another_encoding_is_an_error(message, expected):
    with pytest.raises(ValueError, match=expected):
        depth_image(message)


@pytest.mark.parametrize('name', ['16UC1; png compressed ', '32FC1; compressedDepth png'])
def test_depth_is_no_colour_image(name):
    with pytest.raises(ValueError, match='expected a colour image'):
        rgb_image(encoded(np.zeros((2, 2), np.uint16), 'png', name))
    with pytest.raises(ValueError, match='expected a colour image'):
        rgb_image(raw(np.zeros((2, 2), np.uint16), '16UC1'))


def test_an_image_goes_out_and_comes_back():
    depth = np.random.default_rng(0).random((5, 7), np.float32)
    message = image_message(depth, '32FC1', Header(frame_id='base_link'))
    assert message.header.frame_id == 'base_link'
    assert np.array_equal(depth_image(message), depth)
    assert (message.step, message.is_bigendian) == (28, int(sys.byteorder == 'big'))
    colour = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)
    message = image_message(colour, 'rgb8', Header())
    assert isinstance(message.data, array.array)  # rclpy checks others byte by byte
    assert np.array_equal(rgb_image(message), colour)
