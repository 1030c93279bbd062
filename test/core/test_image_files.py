"""Where a picture ends in its buffer: whole ones are read, cut ones refused, whatever follows.

field_reports R7: usb_cam PR 336, 389; ArduCAM 536; openmv PR 822; esp32-camera 162.
"""

from __future__ import annotations

import random
import struct
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from gausstr_core.camera.image_files import find_picture
from gausstr_core.camera.images import rgb_image
from gausstr_training.nuscenes.sensor_files import read_image

JPEGS = 2000
LONGEST = 1 << 20  # bytes of a tail
SHARE = 0.25  # of the time of decoding that the walk may take


def picture(seed: int, height: int, width: int, *, grey: bool = False) -> np.ndarray:
    """Neither smooth nor noise, so that all scans of a progressive JPEG have something in them."""
    rng = np.random.default_rng(seed)
    shape = (height, width) if grey else (height, width, 3)
    return cv2.GaussianBlur(rng.integers(0, 255, shape, np.uint8), (0, 0), rng.uniform(0.5, 3))


def exif(jpeg: bytes, thumbnail: bytes) -> bytes:
    """The JPEG with a thumbnail in its EXIF, which has markers and an end of its own."""
    first = struct.pack('<H', 0) + struct.pack('<I', 14)  # IFD0 is empty, IFD1 comes next
    where = 8 + len(first) + 2 + 2 * 12 + 4
    second = (
        struct.pack('<H', 2)
        + struct.pack('<HHII', 0x0201, 4, 1, where)
        + struct.pack('<HHII', 0x0202, 4, 1, len(thumbnail))
        + struct.pack('<I', 0)
    )
    body = b'Exif\0\0II*\0' + struct.pack('<I', 8) + first + second + thumbnail
    return jpeg[:2] + b'\xff\xe1' + struct.pack('>H', len(body) + 2) + body + jpeg[2:]


def jpeg_of(chance: random.Random) -> bytes:
    """As cameras have them: baseline or progressive, with restarts, with a thumbnail."""
    seed, grey = chance.randrange(2**32), chance.random() < 0.3
    pixels = picture(seed, chance.randrange(8, 90), chance.randrange(8, 120), grey=grey)
    options = [cv2.IMWRITE_JPEG_QUALITY, chance.randrange(30, 101)]
    options += [cv2.IMWRITE_JPEG_PROGRESSIVE, int(chance.random() < 0.4)]
    options += [cv2.IMWRITE_JPEG_RST_INTERVAL, chance.choice([0, 0, 1, 2, 7])]
    options += [cv2.IMWRITE_JPEG_OPTIMIZE, int(chance.random() < 0.3)]
    data = cv2.imencode('.jpg', pixels, options)[1].tobytes()
    if chance.random() < 0.5:
        small = cv2.imencode('.jpg', picture(seed + 1, 16, 24))[1].tobytes()
        data = exif(data, small)
    if chance.random() < 0.2:  # fill bytes before a marker
        data = data[:2] + b'\xff' * chance.randrange(1, 5) + data[2:]
    return data


def tail_of(chance: random.Random, other: bytes, longest: int) -> bytes:
    kind = chance.choice(['nothing', 'zeros', 'ones', 'leftovers', 'another'])
    if kind == 'nothing':
        return b''
    if kind in ('zeros', 'ones'):
        length = int(longest ** chance.random()) - 1
        return (b'\0' if kind == 'zeros' else b'\xff') * length
    return other[chance.randrange(len(other)) if kind == 'leftovers' else 0 :]


def read(data: bytes, form: str = 'jpeg') -> np.ndarray:
    return rgb_image(SimpleNamespace(format=form, data=np.frombuffer(data, np.uint8)))


def by_opencv(data: bytes) -> np.ndarray:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags)[..., ::-1]


def judge(seed: int, count: int, longest: int) -> None:
    chance = random.Random(seed)
    other = jpeg_of(chance)
    for number in range(count):
        data = jpeg_of(chance)
        expected = by_opencv(data)
        assert find_picture(data).length == len(data)
        padded = data + tail_of(chance, other, longest)
        assert np.array_equal(read(padded), expected), f'JPEG {number} of seed {seed}'
        cut = data[: chance.randrange(len(data) - 1)]
        tails = [b'', b'\0' * len(data), b'\xff' * len(data)]
        if len(cut) > data.rindex(b'\xff\xda') + 20:  # in the last scan: another picture shows
            tails.append(other)
        for tail in tails:
            with pytest.raises(ValueError, match=r'truncated|empty|do not decode'):
                read(cut + tail if len(cut) > 1 else cut)
        other = data


def test_whole_jpegs_are_read_and_cut_ones_refused_whatever_follows() -> None:
    judge(0, 60, 1 << 14)


@pytest.mark.slow
def test_two_thousand_jpegs() -> None:
    judge(1, JPEGS, LONGEST)


@pytest.mark.parametrize('tail', [100, 10_000, 640 * 480 * 2])
@pytest.mark.parametrize('filling', [b'\0', b'\xff', b'\xff\xd9', b'\xff\xd8\xff\xd9'])
def test_node_and_converter_have_one_rule(tmp_path: Path, tail: int, filling: bytes) -> None:
    """The converter took 64 bytes behind the end, the node as many as the picture has."""
    whole = cv2.imencode('.jpg', picture(3, 60, 80))[1].tobytes()
    padding = (filling * tail)[:tail]
    path = tmp_path / 'image.jpg'
    path.write_bytes(whole + padding)
    kind, data = read_image(path)
    assert (kind, data.tobytes()) == ('jpeg', whole + padding)
    assert np.array_equal(read(whole + padding), by_opencv(whole))
    path.write_bytes(whole[:-200] + b'\0' * tail)
    with pytest.raises(ValueError, match=rf'{path}: .*cut short.*truncated JPEG'):
        read_image(path)
    with pytest.raises(ValueError, match=r"truncated JPEG: .* of format 'jpeg'"):
        read(whole[:-200] + b'\0' * tail)


def test_a_cut_one_is_not_saved_by_the_end_of_its_thumbnail_nor_by_another_picture() -> None:
    """OpenCV fills the rest with grey and says nothing."""
    whole = cv2.imencode('.jpg', picture(3, 60, 80))[1].tobytes()
    small = cv2.imencode('.jpg', picture(4, 16, 24))[1].tobytes()
    cut = exif(whole, small)[: -len(whole) // 3]
    assert by_opencv(cut + bytes(5000)).shape == (60, 80, 3)
    for tail in (b'', bytes(5000), whole):
        with pytest.raises(ValueError, match='truncated JPEG'):
            read(cut + tail)


@pytest.mark.parametrize('tail', [b'\0' * 5000, b'\xff' * 5000, b'IEND' * 9])
def test_a_png_ends_where_its_chunks_end(tail: bytes) -> None:
    """The sibling: any IEND in the buffer passed for an end."""
    pixels = picture(5, 60, 80)
    whole = cv2.imencode('.png', pixels)[1].tobytes()
    assert np.array_equal(read(whole + tail, 'png'), pixels[..., ::-1])
    for length in (9, 20, 40, len(whole) // 2, len(whole) - 5):
        with pytest.raises(ValueError, match=r'truncated PNG|PNG without a header'):
            read(whole[:length] + tail, 'png')


def test_the_walk_costs_a_fraction_of_decoding() -> None:
    """An image of nuScenes' size, and a tail of a megabyte."""
    pixels = picture(6, 900, 1600)
    data = cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    buffer = data + bytes(LONGEST)

    def least(work, repeats: int = 5) -> float:
        times = []
        for _ in range(repeats):
            begin = time.perf_counter()
            work()
            times.append(time.perf_counter() - begin)
        return min(times)

    walked = least(lambda: find_picture(buffer), 20)
    decoded = least(lambda: by_opencv(data))
    print(f'{len(data)} bytes: walked in {1e3 * walked:.2f} ms, decoded in {1e3 * decoded:.1f} ms')
    assert walked < SHARE * decoded
