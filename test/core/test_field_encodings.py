"""Encodings of the field: mosaics and greys of 16 bits, and names that are no colour."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from gausstr_core.camera.images import DEEP, depth_image, rgb_image

COLOR = np.array((200, 30, 90), np.uint8)
# where red, green, green and blue lie in the first two rows and columns
BAYER = {
    'rggb': ((0, 0), (0, 1), (1, 0), (1, 1)),
    'bggr': ((1, 1), (0, 1), (1, 0), (0, 0)),
    'gbrg': ((1, 0), (0, 0), (1, 1), (0, 1)),
    'grbg': ((0, 1), (0, 0), (1, 1), (1, 0)),
}


def mosaic(pattern: str, bits: int) -> np.ndarray:
    pixels = np.zeros((16, 24), np.uint16)
    for (row, column), value in zip(BAYER[pattern], COLOR[[0, 1, 1, 2]], strict=True):
        pixels[row::2, column::2] = value
    return pixels.astype(np.uint8) if bits == 8 else pixels << 8 | 0x5A


def compressed(pixels: np.ndarray, form: str, kind: str = 'png') -> SimpleNamespace:
    data = cv2.imencode(f'.{kind}', pixels, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].ravel()
    return SimpleNamespace(format=form, data=data)


def raw(pixels: np.ndarray, encoding: str, *, bigendian: bool = False) -> SimpleNamespace:
    stored = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder('>' if bigendian else '<'))
    data = stored.view(np.uint8).ravel()
    return SimpleNamespace(
        encoding=encoding, height=pixels.shape[0], width=pixels.shape[1],
        step=data.size // pixels.shape[0], is_bigendian=int(bigendian), data=data,
    )  # fmt: skip


@pytest.mark.parametrize('pattern', BAYER)
@pytest.mark.parametrize('bits', [8, 16])
def test_a_compressed_mosaic_is_debayered(pattern: str, bits: int) -> None:
    """field_reports R8: image_common 77, image_transport_plugins 68; 16 bits passed as grey."""
    form = f'bayer_{pattern}{bits}; png compressed '
    assert (rgb_image(compressed(mosaic(pattern, bits), form)) == COLOR).all()
    other = f'bayer_{pattern}{24 - bits}; png compressed'  # what was converted on the way
    assert (rgb_image(compressed(mosaic(pattern, bits), other)) == COLOR).all()


@pytest.mark.parametrize('pattern', BAYER)
def test_a_mosaic_as_jpeg_is_debayered_or_refused_by_name(pattern: str) -> None:
    found = rgb_image(compressed(mosaic(pattern, 8), f'bayer_{pattern}8; jpeg compressed ', 'jpg'))
    inside = found[3:-3, 3:-3].reshape(-1, 3).astype(int)
    assert np.abs(inside.mean(0) - COLOR).max() < 8
    # debayered by the sender, as its format says, or as the three channels show
    colour = np.full((16, 24, 3), COLOR[::-1], np.uint8)
    for form in ('8; jpeg compressed bgr8', '16; jpeg compressed bgr8', '8; jpeg compressed'):
        pixels = rgb_image(compressed(colour, f'bayer_{pattern}{form}', 'jpg'))
        assert np.abs(pixels.astype(int) - COLOR).max() < 8
    deep = compressed(mosaic(pattern, 16), f'bayer_{pattern}16; jpeg compressed ', 'jpg')
    with pytest.raises(ValueError, match=rf'bayer_{pattern}16; jpeg.*lost its 16 bits.*png'):
        rgb_image(deep)


@pytest.mark.parametrize('source', ['bayer_rggb12', 'bayer_xtrans8', 'bayer_'])
def test_a_mosaic_of_no_known_pattern_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match=f"of format '{source};.*no pattern that is known"):
        rgb_image(compressed(mosaic('rggb', 8), f'{source}; png compressed '))


@pytest.mark.parametrize('form', ['png', 'PNG', '', '8UC1; png compressed', 'mono8; png'])
def test_one_channel_of_16_bits_must_say_what_it_is(form: str) -> None:
    """field_reports R8: grey, a mosaic or depth look alike."""
    with pytest.raises(ValueError, match=rf"16 bits in one channel of format '{form}'.*mono16"):
        rgb_image(compressed(mosaic('rggb', 16), form))


def test_grey_and_colours_of_16_bits_give_their_upper_eight() -> None:
    grey = np.random.default_rng(0).integers(0, 2**16, (16, 24)).astype(np.uint16)
    expected = np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, -1)
    assert np.array_equal(rgb_image(compressed(grey, 'mono16; png compressed ')), expected)
    colour = np.random.default_rng(0).integers(0, 2**16, (16, 24, 3)).astype(np.uint16)
    for form in ('png', 'rgb16; png compressed bgr16', 'bgra16; png compressed bgr16'):
        found = rgb_image(compressed(colour, form))
        assert np.array_equal(found, (colour >> 8).astype(np.uint8)[..., ::-1]), form
    alpha = np.dstack([(colour >> 8).astype(np.uint8), np.full((16, 24), 9, np.uint8)])
    found = rgb_image(compressed(alpha, 'bgra8; png compressed '))
    assert np.array_equal(found, alpha[..., 2::-1])
    with pytest.raises(ValueError, match=r'mono16; jpeg.*lost its 16 bits'):
        rgb_image(compressed(grey, 'mono16; jpeg compressed ', 'jpg'))


def test_jpegs_of_16_bits_are_clipped_by_their_encoder() -> None:
    """What the refusal above says of image_transport, which hands 16 bits to this encoder."""
    data = cv2.imencode('.jpg', np.full((16, 16), 256, np.uint16))[1]
    assert cv2.imdecode(data, cv2.IMREAD_UNCHANGED).min() > 250


@pytest.mark.parametrize('encoding', DEEP)
@pytest.mark.parametrize('bigendian', [False, True])
def test_raw_images_of_16_bits_are_what_eight_would_be(encoding: str, bigendian: bool) -> None:
    """docs/ros.md has mono16, which the node refused; nothing of it needs cv_bridge."""
    channels = {'rgb': 3, 'bgr': 3, 'rgba': 4, 'bgra': 4}.get(encoding.removesuffix('16'), 1)
    shape = (16, 24, channels) if channels > 1 else (16, 24)
    pixels = np.random.default_rng(0).integers(0, 2**16, shape).astype(np.uint16)
    found = rgb_image(raw(pixels, encoding, bigendian=bigendian))
    eight = rgb_image(raw((pixels >> 8).astype(np.uint8), DEEP[encoding]))
    assert np.array_equal(found, eight) and found.dtype == np.uint8


def test_mono16_is_depth_where_depth_is_asked_for() -> None:
    millimetres = np.full((4, 6), 1500, np.uint16)
    assert depth_image(raw(millimetres, 'mono16')) == pytest.approx(1.5)
    assert depth_image(compressed(millimetres, 'mono16; png compressed')) == pytest.approx(1.5)


@pytest.mark.parametrize('encoding', ['8UC1', '8UC3', '8SC3', '8UC4', '16UC3', '32FC3', '64FC1'])
def test_encodings_that_are_no_colour_are_refused(encoding: str) -> None:
    """field_reports R9: image_pipeline 821, 377. OpenCV has BGR in 8UC3, others have not."""
    with pytest.raises(ValueError, match=rf'{encoding!r} says how numbers are stored.*bgr8'):
        rgb_image(raw(np.zeros((4, 6, 4), np.uint64), encoding))
