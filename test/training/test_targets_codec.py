"""Targets as files: within their budget, as exact as they say, and never silently damaged."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import FoundationMaps
from gausstr_training.targets.codec import CodecSettings, decode, encode, summary
from gausstr_training.targets.container import DamagedFile, Section, assemble, disassemble
from gausstr_training.targets.depth_codec import error_at, level_for, pack_depth, unpack_depth
from gausstr_training.targets.feature_codec import pack_features, unpack_features
from gausstr_training.targets.inputs import Inputs
from gausstr_training.targets.symbols import pack_rows, unpack_rows

PLENTY = 10**9


def rig_of(views: int, size: tuple[int, int] = (36, 64)) -> CameraRig:
    intrinsics = torch.tensor([[40.0, 0, 32], [0, 40, 18], [0, 0, 1]]).repeat(views, 1, 1)
    names = tuple(f'camera{index}' for index in range(views))
    return CameraRig(names, intrinsics, torch.eye(4).repeat(views, 1, 1), (size,) * views)


def inputs_of(views: int) -> Inputs:
    generator = torch.Generator().manual_seed(5)
    images = [
        torch.randint(0, 256, (36, 64, 3), generator=generator, dtype=torch.uint8)
        for _ in range(views)
    ]
    return Inputs.of(images, rig_of(views))


def smooth_maps(views: int = 2, channels: int = 24, seed: int = 0) -> FoundationMaps:
    """Maps as networks give them: neighbours alike, some directions strong and most weak."""
    generator = torch.Generator().manual_seed(seed)
    shape = (views, channels, 3, 4)
    coarse = torch.randn(shape, generator=generator) * 0.8 ** torch.arange(channels)[:, None, None]
    features = torch.nn.functional.interpolate(coarse, (18, 32), mode='bicubic')
    turn = torch.linalg.qr(torch.randn(channels, channels, generator=generator))[0]
    features = torch.einsum('nchw,cd->ndhw', features, turn) + 0.3
    depth = torch.exp(torch.randn((views, 1, 4, 6), generator=generator) + 2)
    depth = torch.nn.functional.interpolate(depth, (48, 64), mode='bilinear')[:, 0]
    return FoundationMaps(features, depth)


def noise(views: int, channels: int, grid: tuple[int, int], size: tuple[int, int]) -> tuple:
    """The worst maps for any codec, and worst labels of 17 classes."""
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(views, channels, *grid, generator=generator)
    spread = math.log(300 / 0.1) * torch.rand(views, *size, generator=generator)
    masks = torch.randint(0, 17, (views, *size), generator=generator, dtype=torch.uint8)
    return FoundationMaps(features, 0.1 * torch.exp(spread)), masks


@given(st.integers(0, 2**32 - 1), st.integers(0, 8), st.tuples(*[st.integers(1, 9)] * 3))
@settings(max_examples=60, deadline=None)
def test_depth_is_as_exact_as_stated(seed: int, level: int, shape: tuple[int, int, int]):
    octaves = np.random.default_rng(seed).uniform(-10, 14, shape)
    depth = torch.from_numpy(2.0**octaves)
    packed, section = pack_depth(depth, level, PLENTY)
    again = unpack_depth(section, packed.level)
    assert packed.level == level and torch.equal(again.codes, packed.codes)
    assert ((again.metres() - depth) / depth).abs().max() <= again.error == error_at(level)


def test_depth_errors_by_hand():
    # half of 24 octaves over 65535 steps: 2^(0.000183) - 1
    assert error_at(0) == pytest.approx(1.27e-4, rel=0.03)
    assert error_at(3) / error_at(2) == pytest.approx(2, rel=0.01)
    assert level_for(error_at(3)) == 3 and level_for(error_at(3) * 0.999) == 2
    with pytest.raises(ValueError, match='at least'):
        level_for(1e-5)


def test_depth_beyond_the_scale_is_its_end():
    packed, _ = pack_depth(torch.tensor([[[1e-6, 1e-3, 1.0, 1e4, 1e9]]]), 0, PLENTY)
    expected = torch.tensor([2**-10, 1e-3, 1.0, 1e4, 2**14])
    assert torch.allclose(packed.metres()[0, 0], expected, rtol=2e-4)


@pytest.mark.parametrize('wrong', [0.0, -1.0, math.nan, math.inf])
def test_depth_that_is_none_is_refused(wrong: float):
    maps = smooth_maps()
    maps.depth[1, 3, 4] = wrong
    with pytest.raises(ValueError, match='bag/7: depth must be finite and > 0'):
        encode('bag/7', 'teacher', maps, inputs_of(2))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_rows_of_numbers_come_back(data: st.DataObject):
    count, length = data.draw(st.integers(0, 8)), data.draw(st.integers(1, 20))
    tops = data.draw(st.lists(st.integers(0, 127), min_size=count, max_size=count))
    generator = np.random.default_rng(data.draw(st.integers(0, 999)))
    rows = np.array([generator.integers(-top, top + 1, length) for top in tops], np.int8)
    rows = rows.reshape(count, length)
    limits, packed = pack_rows(rows)
    assert np.array_equal(unpack_rows(limits, packed, length), rows)
    with pytest.raises(DamagedFile):
        unpack_rows(limits, np.append(packed, np.uint8(0)), length)


@pytest.mark.parametrize(('views', 'channels', 'grid'), [(1, 1, (1, 1)), (2, 40, (2, 3)),
                                                         (3, 8, (9, 16))])  # fmt: skip
def test_features_of_any_size_lose_little(views: int, channels: int, grid: tuple[int, int]):
    features = torch.randn(views, channels, *grid, generator=torch.Generator().manual_seed(3))
    packed, sections = pack_features(features, PLENTY)
    again = unpack_features(sections, packed.step, packed.grid).unpacked()
    assert torch.equal(again, packed.unpacked()) and again.shape == features.shape
    assert (1 - torch.cosine_similarity(features, again, 1)).max() < 2e-3
    assert (packed.coordinates > -128).all()


def test_equal_features_need_no_direction():
    packed, _ = pack_features(torch.full((2, 5, 3, 4), 0.25), PLENTY)
    assert len(packed.scales) == 0 and torch.equal(
        packed.unpacked(), torch.full((2, 5, 3, 4), 0.25)
    )


def test_less_room_loses_more():
    features = smooth_maps().features
    most = [6000, 3000, 1500, 800]
    losses = []
    for room in most:
        packed, sections = pack_features(features, room)
        assert sum(len(section.data) for section in sections.values()) <= room
        losses.append(float((1 - torch.cosine_similarity(features, packed.unpacked(), 1)).mean()))
    assert losses == sorted(losses) and losses[0] < 0.01 < losses[-1]


def test_a_file_holds_what_it_says_it_holds():
    maps = smooth_maps()
    masks = torch.arange(2 * 48 * 64).reshape(2, 48, 64).remainder(251).to(torch.uint8)
    packed, data = encode('bag/7', 'tiny-0', maps, inputs_of(2), masks)
    again = decode(data)
    assert (again.key, again.teacher, again.cosine) == ('bag/7', 'tiny-0', packed.cosine)
    assert torch.equal(again.masks, masks)
    assert again.inputs.difference(inputs_of(2)) == ''
    for one, other in ((packed.maps(), again.maps()), (again.maps(), again.to('cpu').maps())):
        assert torch.equal(one.features, other.features) and torch.equal(one.depth, other.depth)
    told, got = summary(data), again.maps()
    assert (told.key, told.teacher, told.size, told.masks) == ('bag/7', 'tiny-0', len(data), True)
    loss = 1 - torch.cosine_similarity(maps.features, got.features, 1)
    assert told.cosine == pytest.approx((float(loss.mean()), float(loss.max())), abs=1e-6)
    assert told.cosine[1] < 2e-3
    worst = ((got.depth - maps.depth) / maps.depth).abs().max()
    assert 0 < worst <= told.depth_error <= CodecSettings().depth_error
    assert not summary(encode('bag/7', 'tiny-0', maps, inputs_of(2))[1]).masks


def test_the_same_maps_give_the_same_bytes():
    files = {encode('bag/7', 'tiny-0', smooth_maps(), inputs_of(2))[1] for _ in range(3)}
    assert len(files) == 1


def test_noise_at_talk2dino_size_stays_within_3_mb():
    maps, masks = noise(6, 768, (36, 64), (504, 896))
    data = encode('bag/7', 'talk2dino-0', maps, inputs_of(6), masks)[1]
    assert 1_500_000 < len(data) <= 3_000_000
    assert decode(data).maps().features.shape == maps.features.shape


@given(st.integers(0, 99), st.sampled_from([3_000, 4_000, 6_000, 20_000, 100_000]))
@settings(max_examples=25, deadline=None)
def test_any_budget_is_kept_or_refused(seed: int, camera_bytes: int):
    maps = smooth_maps(seed=seed)
    rough, masks = noise(2, 24, (18, 32), (48, 64))
    wild = FoundationMaps(maps.features + 0.1 * rough.features, maps.depth * rough.depth)
    for labels in (None, masks):
        try:
            data = encode('k', 't', wild, inputs_of(2), labels, CodecSettings(camera_bytes))[1]
        except ValueError as error:
            assert camera_bytes < 6_000 and 'the file may have' in str(error)
        else:
            assert len(data) <= 2 * camera_bytes


def test_settings_out_of_range():
    with pytest.raises(ValueError, match='camera_bytes'):
        CodecSettings(camera_bytes=0)
    with pytest.raises(ValueError, match='at least'):
        CodecSettings(depth_error=1e-6)


def test_masks_of_another_shape_are_refused():
    for masks in (torch.zeros(1, 4, 4, dtype=torch.uint8), torch.zeros(2, 4, 4)):
        with pytest.raises(ValueError, match='masks must be uint8'):
            encode('k', 't', smooth_maps(), inputs_of(2), masks)


@pytest.fixture(scope='module')
def file() -> bytes:
    return encode('bag/7', 'tiny-0', smooth_maps(), inputs_of(2))[1]


@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_no_changed_byte_goes_unnoticed(data: st.DataObject, file: bytes):
    place = data.draw(st.integers(0, len(file) - 1))
    changed = bytearray(file)
    changed[place] ^= data.draw(st.integers(1, 255))
    cut = file[:place]
    for damaged in (bytes(changed), cut, file + b'x'):
        for reader in (decode, summary):
            with pytest.raises(DamagedFile):
                reader(damaged)


@pytest.mark.parametrize('change', [
    {'grid': [2, 18, 31]}, {'grid': [2, 18]}, {'grid': None}, {'level': 40}, {'level': 'x'},
    {'cosine': 3}, {'step': None},
])  # fmt: skip
def test_contents_that_do_not_agree(file: bytes, change: dict):
    about, sections = disassemble(file)
    with pytest.raises(DamagedFile):
        decode(assemble(about | change, sections))


@pytest.mark.parametrize('name', ['mean', 'scales', 'directions', 'limits', 'coordinates', 'depth',
                                  'colours', 'poses'])  # fmt: skip
def test_sections_that_do_not_agree(file: bytes, name: str):
    about, sections = disassemble(file)
    array = sections[name].array()
    for wrong in (array[:-1], array[..., None]):
        with pytest.raises(DamagedFile):
            decode(assemble(about, sections | {name: Section.of(wrong)}))
    lying = Section('|u1', (3,), Section.of(np.zeros(10**6, np.uint8)).data)
    with pytest.raises(DamagedFile):  # unpacks to a million times what the header promises
        decode(assemble(about, sections | {name: lying}))
    sections.pop(name)
    with pytest.raises(DamagedFile):
        decode(assemble(about, sections))


def test_parts_of_other_views_do_not_agree(file: bytes):
    about, sections = disassemble(file)
    other = disassemble(encode('bag/7', 'tiny-0', smooth_maps(3), inputs_of(3))[1])[1]
    for names in (('depth',), ('colours', 'intrinsics', 'poses')):
        with pytest.raises(DamagedFile, match='do not agree'):
            decode(assemble(about, sections | {name: other[name] for name in names}))


@pytest.mark.gpu
def test_a_gpu_packs_and_unpacks_alike():
    maps = smooth_maps()
    packed, data = encode('k', 't', maps.to('cuda'), inputs_of(2))
    assert len(data) == pytest.approx(len(encode('k', 't', maps, inputs_of(2))[1]), rel=0.02)
    got = packed.to('cuda').maps()
    assert got.features.is_cuda and got.depth.is_cuda
    assert torch.allclose(got.features.cpu(), decode(data).maps().features, atol=1e-5)
    assert torch.allclose(got.depth.cpu(), decode(data).maps().depth, rtol=1e-5)
    assert packed.cosine[1] < 2e-3


def test_changes_of_a_frame_are_told_apart():
    base = inputs_of(2)
    images = [torch.full((36, 64, 3), value, dtype=torch.uint8) for value in (90, 91)]
    near = [image + 1 for image in images]
    one, rig = Inputs.of(images, rig_of(2)), rig_of(2)
    assert one.difference(Inputs.of(near, rig)) == ''  # another decoder of JPEG
    assert one.difference(base) == 'other images'
    assert one.difference(inputs_of(3)) == '2 cameras, then 3'
    rig.intrinsics[1, 0, 0] *= 1.01
    assert one.difference(Inputs.of(images, rig)) == 'other intrinsics'
    moved = rig_of(2)
    moved.ego_from_camera[0, 2, 3] += 0.01
    assert one.difference(Inputs.of(images, moved)) == 'other camera poses'
