"""Ten thousand damaged messages through the conversions: an error that says what, or the truth."""

from __future__ import annotations

import copy
import math
import random
from collections import Counter

import numpy as np
import pytest

pytest.importorskip('rclpy')

import cv2
import tf2_ros
from geometry_msgs.msg import TransformStamped
from image_messages import camera_info, encoded, inverse_depth, raw
from sensor_msgs.msg import CompressedImage, Image

from gausstr_core.camera.camera_info import Calibration
from gausstr_core.camera.compressed_images import MOST_PIXELS
from gausstr_core.camera.images import depth_image
from gausstr_core.camera.undistortion import Undistorter
from gausstr_ros.cycle.pinhole_views import pinhole_view
from gausstr_ros.listening.depth_pairing import Shot
from gausstr_ros.listening.transforms import ego_from_camera
from gausstr_ros.messages.images import rgb_image
from gausstr_ros.sets.waiting import NotReady

IMAGES, CALIBRATIONS, TRANSFORMS = 8_000, 2_500, 5_000
SIZE = (12, 16)
ENCODINGS = (
    'rgb8', 'bgr8', 'rgba8', 'bgra8', 'mono8', 'yuv422', 'yuv422_yuy2', 'uyvy', 'yuyv',
    'bayer_rggb8', 'bayer_bggr8', 'bayer_gbrg8', 'bayer_grbg8', '16UC1', 'mono16', '32FC1',
    '8UC3', 'nonsense', '', 'rgb8\0', 'jpeg',
)  # fmt: skip
FORMATS = (
    'jpeg', 'png', 'rgb8; jpeg compressed bgr8', 'bgr8; png compressed bgr8', 'mono8; jpeg',
    'bayer_rggb8; png compressed ', '16UC1; png compressed ', '16UC1; compressedDepth png',
    '32FC1; compressedDepth png', '32FC1; compressedDepth rvl', ';', ';;', 'tiff', '',
)  # fmt: skip
SIZES = (0, 1, 2, 3, 11, 12, 13, 15, 16, 17, 255, 4096, 2**31, 2**32 - 1)
NUMBERS = (
    0.0, -0.0, 1.0, -1.0, 1e-300, 1e300, -1e300, 1e9, 0.3, -0.3, math.nan, math.inf, -math.inf,
)  # fmt: skip


def raw_message(chance):
    encoding = chance.choice(ENCODINGS[:16])
    rng = np.random.default_rng(chance.randrange(2**32))
    channels = {'rgb8': 3, 'bgr8': 3, 'rgba8': 4, 'bgra8': 4}.get(encoding, 1)
    channels = 2 if encoding in ENCODINGS[5:9] else channels
    dtype = {'16UC1': np.uint16, 'mono16': np.uint16, '32FC1': np.float32}.get(encoding, np.uint8)
    pixels = (rng.random((*SIZE, channels)) * 250).astype(dtype)
    pad = chance.choice([0, 0, 5, 8])
    return raw(pixels[..., 0] if channels == 1 else pixels, encoding, pad, chance.random() < 0.2)


def compressed_message(chance):
    rng = np.random.default_rng(chance.randrange(2**32))
    kind = chance.choice(['jpg', 'png', 'mosaic', 'depth', 'inverse'])
    if kind == 'inverse':
        return inverse_depth(rng.uniform(0.3, 19, SIZE).astype(np.float32))
    if kind == 'depth':
        pixels = rng.integers(0, 9999, SIZE).astype(np.uint16)
        return encoded(pixels, 'png', '16UC1; png compressed ')
    if kind == 'mosaic':
        pixels = rng.integers(0, 255, SIZE, np.uint8)
        return encoded(pixels, 'png', 'bayer_grbg8; png compressed ')
    pixels = rng.integers(0, 255, (*SIZE, 3), np.uint8)
    return encoded(pixels, kind, chance.choice(FORMATS[:4]))


def damage_bytes(message, chance):
    """Truncate, lengthen, empty, flip or repeat."""
    data = message.data
    way = chance.randrange(6)
    if way == 0:
        del data[chance.randrange(len(data) + 1) :]
    elif way == 1:
        data.extend(chance.randbytes(chance.randrange(1, 64)))
    elif way == 2:
        del data[:]
    elif way == 3:
        del data[: chance.randrange(len(data) + 1)]
    elif way == 4 and data:
        for _ in range(chance.randrange(1, 9)):
            data[chance.randrange(len(data))] = chance.randrange(256)
    elif data:
        for place in range(min(len(data), 40)):  # the headers
            if chance.random() < 0.1:
                data[place] = chance.randrange(256)


def damage_image(message, chance):
    for _ in range(chance.randrange(1, 4)):
        field = chance.choice(
            ['data', 'data', 'height', 'width', 'step', 'encoding', 'is_bigendian']
        )
        if field == 'data':
            damage_bytes(message, chance)
        elif isinstance(message, CompressedImage):
            message.format = chance.choice(FORMATS)
        elif field == 'encoding':
            message.encoding = chance.choice(ENCODINGS)
        elif field == 'is_bigendian':
            message.is_bigendian = chance.choice([0, 1, 7, 255])
        else:
            setattr(message, field, chance.choice(SIZES))


def rows_of(message, bytes_per_pixel):
    """The rows of a raw image, byte by byte as the definition of the message has it."""
    data, length = bytes(message.data), message.width * bytes_per_pixel
    rows = [data[r * message.step :][:length] for r in range(message.height)]
    return np.frombuffer(b''.join(rows), np.uint8).reshape(message.height, message.width, -1)


def assert_true_color(message, image):
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    if isinstance(message, CompressedImage):
        assert image.shape[0] * image.shape[1] <= MOST_PIXELS
        if 'bayer' not in message.format and 'compressed rgb' not in message.format:
            expected = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
            assert np.array_equal(image, expected[..., ::-1])
        return
    assert image.shape[:2] == (message.height, message.width)
    upper = 0 if message.is_bigendian else 1
    order = {
        'rgb8': (3, [0, 1, 2]), 'bgr8': (3, [2, 1, 0]), 'rgba8': (4, [0, 1, 2]),
        'bgra8': (4, [2, 1, 0]), 'mono8': (1, [0, 0, 0]), 'mono16': (2, [upper] * 3),
    }.get(message.encoding)  # fmt: skip
    if order is not None:
        assert np.array_equal(image, rows_of(message, order[0])[..., order[1]])
    else:
        assert message.encoding in ENCODINGS[5:13]


def assert_true_depth(message, depth):
    assert depth.dtype == np.float32 and depth.ndim == 2
    if isinstance(message, CompressedImage):
        assert message.format in FORMATS[6:9]
        assert np.isfinite(depth).all() and (depth >= 0).all()
        return
    metric = message.encoding == '32FC1'
    rows = rows_of(message, 4 if metric else 2)
    order = '>' if message.is_bigendian else '<'
    expected = rows.view(f'{order}f4' if metric else f'{order}u2')[..., 0]
    expected = expected if metric else expected.astype(np.float32) * np.float32(0.001)
    assert np.array_equal(depth, expected, equal_nan=True)


def converted(convert, check, message, outcomes):
    """Count what comes of a message; anything but ValueError or the truth fails the test."""
    before = copy.deepcopy(message)
    try:
        found = convert(message)
    except ValueError as error:
        assert len(str(error)) > 10
        outcomes['refused'] += 1
    else:
        check(message, found)
        outcomes['read'] += 1
    assert message == before, 'the message itself was changed'


def test_damaged_images():
    """Images that lie about their size, their encoding or their bytes."""
    outcomes = Counter()
    for seed in range(IMAGES):
        chance = random.Random(seed)
        message = chance.choice([raw_message, compressed_message])(chance)
        damage_image(message, chance)
        converted(rgb_image, assert_true_color, message, outcomes)
        converted(depth_image, assert_true_depth, message, outcomes)
    print(f'{IMAGES} damaged images, as colour and as depth: {dict(outcomes)}')
    assert min(outcomes['read'], outcomes['refused']) > 1000


def damaged_info(chance):
    info = camera_info(SIZE[1], SIZE[0], 15.0)
    info.distortion_model, length = chance.choice(
        [('plumb_bob', 5), ('rational_polynomial', 8), ('equidistant', 4), ('', 0)]
    )
    info.d = [chance.uniform(-0.3, 0.3) * 0.5**place for place in range(length)]
    if chance.random() < 0.1:
        info.distortion_model = chance.choice(['fisheye', 'x' * 300, '', 'plumb_bob'])
        info.d = [0.1] * chance.choice([0, 4, 5, 8, 12, 14, 200])
    for _ in range(chance.randrange(3)):
        field = chance.choice(['k', 'k', 'd', 'p', 'r', 'height', 'width', 'binning', 'roi'])
        if field in ('k', 'p', 'r'):
            values = getattr(info, field)
            values[chance.randrange(len(values))] = chance.choice(NUMBERS)
        elif field == 'd' and info.d:
            info.d[chance.randrange(len(info.d))] = chance.choice(NUMBERS)
        elif field == 'binning':
            info.binning_x = info.binning_y = chance.choice([1, 2, 3, 2**32 - 1])
        elif field == 'roi':
            name = chance.choice(['x_offset', 'y_offset', 'height', 'width'])
            setattr(info.roi, name, chance.choice(SIZES))
        elif field in ('height', 'width'):
            setattr(info, field, chance.choice(SIZES))
    return info


def test_damaged_calibrations():
    """CameraInfo of all kinds: an error that names the camera, or a view that was seen."""
    undistorter, outcomes = Undistorter(), Counter()
    shot = Shot(raw(np.full((*SIZE, 3), 255, np.uint8), 'rgb8'))
    for seed in range(CALIBRATIONS):
        chance = random.Random(seed)
        info, rectified = damaged_info(chance), chance.random() < 0.2
        try:
            view = pinhole_view('front', shot, info, undistorter, rectified=rectified)
        except ValueError as error:
            assert str(error).startswith('camera front: ')
            outcomes['refused'] += 1
            continue
        outcomes['used'] += 1
        assert view.image.shape == (*SIZE, 3)
        assert np.isfinite(view.intrinsics).all() and (np.diag(view.intrinsics) > 0).all()
        lens = Calibration.of(info, rectified=rectified).lens(SIZE)
        outcomes['undistorted'] += not lens.is_pinhole
        border = np.concatenate([view.image[[0, -1]].ravel(), view.image[:, [0, -1]].ravel()])
        assert (border == 255).all(), f'calibration {seed} shows what the lens did not see'
    print(f'{CALIBRATIONS} damaged calibrations: {dict(outcomes)}')
    assert min(outcomes['refused'], outcomes['undistorted']) > 500


def test_whole_messages_are_read():
    """The test above would pass if everything were refused."""
    for seed in range(300):
        chance = random.Random(seed)
        message = chance.choice([raw_message, compressed_message])(chance)
        name = message.encoding if isinstance(message, Image) else message.format
        if any(depth in name for depth in ('16UC1', '32FC1', 'mono16')):
            assert_true_depth(message, depth_image(message))
        else:
            assert_true_color(message, rgb_image(message))


def damaged_transform(chance):
    links = [('odom', 'base_link'), ('base_link', 'front'), ('front', 'odom'), ('map', 'odom')]
    parent, child = chance.choice(links[:2] * 8 + links)
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp.sec = chance.randrange(1000, 1003)
    message.transform.rotation.w = 1.0
    for _ in range(chance.choice([0, 0, 0, 1, 2])):
        field = chance.choice(['translation', 'rotation', 'sec', 'nanosec', 'parent', 'child'])
        if field in ('translation', 'rotation'):
            part = getattr(message.transform, field)
            setattr(part, chance.choice('xyz'), chance.choice(NUMBERS))
        elif field == 'sec':
            message.header.stamp.sec = chance.choice([-(2**31), -1, 0, 1, 2**31 - 1])
        elif field == 'nanosec':
            message.header.stamp.nanosec = chance.choice([1, 10**9, 2**32 - 1])
        elif field == 'parent':
            message.header.frame_id = chance.choice(['', '/', '/odom', child, 'x' * 999])
        else:
            message.child_frame_id = chance.choice(['', '/', '/front', parent, 'x' * 999])
    return message


def test_damaged_transforms():
    """None ends the listener, and a pose that comes of them is one."""
    outcomes = Counter()
    for seed in range(TRANSFORMS // 10):
        chance, buffer = random.Random(seed), tf2_ros.Buffer()
        for _ in range(10):
            message = damaged_transform(chance)
            put = chance.choice(
                [buffer.set_transform, buffer.set_transform, buffer.set_transform_static]
            )
            put(message, 'test')
        stamp = 1000 * 10**9 + chance.randrange(2 * 10**9)
        fixed = chance.choice(['', 'odom'])
        try:
            pose = ego_from_camera(buffer, 'base_link', fixed, stamp, 'front', ('front', stamp))
        except (NotReady, ValueError) as error:
            assert str(error).startswith('camera front: ')
            outcomes['refused'] += 1
            continue
        outcomes['used'] += 1
        assert np.isfinite(pose).all()
        assert np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-6)
    print(f'{TRANSFORMS} damaged transforms, ten in a buffer: {dict(outcomes)}')
    assert min(outcomes.values()) > 30
