"""Messages of any library to RGB: right or refused, never half an image.

Encodings one by one, with messages of ROS itself, are tested in test/ros/test_images.py.
"""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gausstr_core.camera.images import rgb_image

PICTURE = cv2.GaussianBlur(
    np.random.default_rng(0).integers(0, 255, (24, 40, 3), dtype=np.uint8), (0, 0), 3
)


def encoded(extension: str, pixels: np.ndarray) -> np.ndarray:
    """A file of RGB, RGBA or grey pixels."""
    swap = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, swap[pixels.shape[2]])
    return cv2.imencode(extension, pixels)[1].ravel()


def raw(encoding: str, height: int, width: int, step: int, data: bytes) -> SimpleNamespace:
    return SimpleNamespace(
        encoding=encoding, height=height, width=width, step=step, is_bigendian=0,
        data=np.frombuffer(data, np.uint8),
    )  # fmt: skip


def decoded(data: np.ndarray, form: str) -> np.ndarray:
    return rgb_image(SimpleNamespace(format=form, data=data))


def test_png_is_exact_and_jpeg_near() -> None:
    assert (decoded(encoded('.png', PICTURE), 'png') == PICTURE).all()
    near = decoded(encoded('.jpg', PICTURE), 'rgb8; jpeg compressed bgr8')
    assert np.abs(near.astype(int) - PICTURE).mean() < 3
    grey, alpha = PICTURE[..., 0], np.dstack([PICTURE, PICTURE[..., :1]])
    assert (decoded(encoded('.png', grey), 'png') == grey[..., None]).all()
    assert (decoded(encoded('.png', alpha), 'png') == PICTURE).all()


def test_padding_after_the_end_is_no_truncation() -> None:
    data = encoded('.jpg', PICTURE)
    padded = np.concatenate([data, np.zeros(100, np.uint8)])
    assert (decoded(padded, 'jpeg') == decoded(data, 'jpeg')).all()


@pytest.mark.parametrize('extension', ['.jpg', '.png'])
@settings(max_examples=30, deadline=None)
@given(share=st.floats(0, 0.98))
def test_a_truncated_image_is_refused(extension: str, share: float) -> None:
    data = encoded(extension, PICTURE)
    with pytest.raises(ValueError, match=r'truncated|empty|no JPEG or PNG'):
        decoded(data[: int(share * len(data))], 'jpeg')


@given(st.binary(max_size=60))
def test_any_bytes_are_an_image_or_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r'empty|truncated|do not decode'):
        decoded(np.frombuffer(data, np.uint8), 'jpeg')


@pytest.mark.parametrize('extension', ['.jpg', '.png'])
@settings(max_examples=60, deadline=None)
@given(changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=6))
def test_a_mutated_file_is_an_image_or_refused(
    extension: str, changes: list[tuple[float, int]]
) -> None:
    data = encoded(extension, PICTURE).copy()
    for place, value in changes:
        data[int(place * len(data))] = value
    try:
        pixels = decoded(data, extension)
    except ValueError:
        return
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3


@pytest.mark.parametrize(('encoding', 'channels'), [('rgb8', 3), ('bgr8', 3), ('mono8', 1)])
@pytest.mark.parametrize('padding', [0, 7])
def test_raw_rows_may_be_padded(encoding: str, channels: int, padding: int) -> None:
    pixels = PICTURE if channels == 3 else PICTURE[..., :1]
    rows = pixels.reshape(24, -1) if encoding != 'bgr8' else pixels[..., ::-1].reshape(24, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    image = rgb_image(raw(encoding, 24, 40, rows.shape[1], rows.tobytes()))
    assert (image == pixels).all() and image.shape == (24, 40, 3)


@pytest.mark.parametrize(
    ('encoding', 'size', 'step', 'length', 'expected'),
    [
        ('rgb8', (24, 40), 119, 2880, 'needs rows of 120 bytes, got step 119'),
        ('rgb8', (24, 40), 120, 2879, 'needs 2880, got 2879 bytes in all'),
        ('mono8', (0, 40), 40, 0, '40x0'),
        ('mono8', (24, 0), 0, 0, '0x24'),
        ('nv21', (24, 40), 40, 1440, "rgb8, bgr8, .*, got 'nv21'"),
        ('16UC1', (24, 40), 80, 1920, "expected a colour image, got encoding '16UC1'"),
    ],
)
def test_raw_images_that_do_not_fit(
    encoding: str, size: tuple[int, int], step: int, length: int, expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        rgb_image(raw(encoding, *size, step, bytes(length)))
