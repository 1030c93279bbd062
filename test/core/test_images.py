"""Bytes to RGB: right or refused, never half an image."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gausstr_core.images import decode_compressed, decode_raw

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
        encoding=encoding, height=height, width=width, step=step,
        data=np.frombuffer(data, np.uint8),
    )  # fmt: skip


def test_png_is_exact_and_jpeg_near() -> None:
    assert (decode_compressed(encoded('.png', PICTURE), 'png') == PICTURE).all()
    near = decode_compressed(encoded('.jpg', PICTURE), 'rgb8; jpeg compressed bgr8')
    assert np.abs(near.astype(int) - PICTURE).mean() < 3
    grey, alpha = PICTURE[..., 0], np.dstack([PICTURE, PICTURE[..., :1]])
    assert (decode_compressed(encoded('.png', grey), 'png') == grey[..., None]).all()
    assert (decode_compressed(encoded('.png', alpha), 'png') == PICTURE).all()


def test_padding_after_the_end_is_no_truncation() -> None:
    data = encoded('.jpg', PICTURE)
    padded = np.concatenate([data, np.zeros(100, np.uint8)])
    assert (decode_compressed(padded, 'jpeg') == decode_compressed(data, 'jpeg')).all()


@pytest.mark.parametrize('extension', ['.jpg', '.png'])
@settings(max_examples=30, deadline=None)
@given(share=st.floats(0, 0.98))
def test_a_truncated_image_is_refused(extension: str, share: float) -> None:
    data = encoded(extension, PICTURE)
    with pytest.raises(ValueError, match=r'truncated|neither'):
        decode_compressed(data[: int(share * len(data))], 'jpeg')


def test_other_depths_are_refused() -> None:
    deep = encoded('.png', PICTURE[..., 0].astype(np.uint16) * 200)
    with pytest.raises(ValueError, match='expected 8 bit grey or colour, decoded uint16'):
        decode_compressed(deep, '16UC1; compressedDepth')


@given(st.binary(max_size=60))
def test_any_bytes_are_an_image_or_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=f'{len(data)} bytes'):
        decode_compressed(np.frombuffer(data, np.uint8), 'jpeg')


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
        pixels = decode_compressed(data, extension)
    except ValueError:
        return
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3


def test_a_size_beyond_all_bounds_is_refused() -> None:
    data = encoded('.png', PICTURE).copy()
    data[16:24] = [0, 1, 134, 160] * 2  # 100000 x 100000
    with pytest.raises(ValueError, match="bytes of format 'png'"):
        decode_compressed(data, 'png')


@pytest.mark.parametrize(('encoding', 'channels'), [('rgb8', 3), ('bgr8', 3), ('mono8', 1)])
@pytest.mark.parametrize('padding', [0, 7])
def test_raw_rows_may_be_padded(encoding: str, channels: int, padding: int) -> None:
    pixels = PICTURE if channels == 3 else PICTURE[..., :1]
    rows = pixels.reshape(24, -1) if encoding != 'bgr8' else pixels[..., ::-1].reshape(24, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    image = decode_raw(raw(encoding, 24, 40, rows.shape[1], rows.tobytes()))
    assert (image == pixels).all() and image.shape == (24, 40, 3)
    image[0] = 0  # the message's own bytes are read-only


@pytest.mark.parametrize(
    ('encoding', 'size', 'step', 'length', 'expected'),
    [
        ('rgb8', (24, 40), 119, 2880, 'needs rows of 120 bytes, got step 119'),
        ('rgb8', (24, 40), 120, 2879, '2879 bytes in all'),
        ('mono8', (0, 40), 40, 0, '40x0'),
        ('mono8', (24, 0), 0, 0, '0x24'),
        ('bayer_rggb8', (24, 40), 40, 960, "rgb8, bgr8, mono8, got 'bayer_rggb8'"),
        ('16UC1', (24, 40), 80, 1920, "got '16UC1'"),
    ],
)
def test_raw_images_that_do_not_fit(
    encoding: str, size: tuple[int, int], step: int, length: int, expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        decode_raw(raw(encoding, *size, step, bytes(length)))
