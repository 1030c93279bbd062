"""Teachers and their cache: the same maps whoever made them and when, and never damaged ones."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from bag_files import picture
from foundation_files import write_dinov2, write_metric3d

from gausstr_core.camera.rig import CameraRig
from gausstr_core.transformer.build import build
from gausstr_core.weights import save_weights
from gausstr_training.targets.cache import TargetCache, sweep
from gausstr_training.targets.codec import CodecSettings, encode
from gausstr_training.targets.container import DamagedFile
from gausstr_training.targets.inputs import Inputs
from gausstr_training.targets.masks import StoredMasks
from gausstr_training.targets.networks import TeacherSpec, identity
from gausstr_training.targets.online import TargetMaps, Teacher

KEY = 'drive/1700000000042000000'
TINY = TeacherSpec('tiny', weights='untrained')


class Counted(torch.nn.Module):
    """The tiny network, counting how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = TINY.load()
        self.input_size, self.feature_dim = self.inner.input_size, self.inner.feature_dim
        self.calls = 0

    def encode(self, images, rig, device='cpu'):
        self.calls += 1
        return self.inner.encode(images, rig, device)


def frame(seed: int = 0) -> tuple[list[torch.Tensor], CameraRig]:
    images = [torch.from_numpy(picture(seed, camera, 96, 60)) for camera in range(2)]
    intrinsics = torch.tensor([[60.0, 0, 48], [0, 60, 30], [0, 0, 1]]).repeat(2, 1, 1)
    forward = torch.tensor([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
    return images, CameraRig(('a', 'b'), intrinsics, forward.repeat(2, 1, 1), ((60, 96),) * 2)


def keyframe(shared: Path) -> tuple[list[torch.Tensor], CameraRig]:
    """The real keyframe beside the repository."""
    folder = shared / 'data' / 'nuscenes_frame'
    calibration = json.loads((folder / 'calib.json').read_text())
    cameras = calibration['cams']
    images = [torch.from_numpy(cv2.imread(str(folder / f'{n}.jpg'))[..., ::-1].copy())
              for n in cameras]  # fmt: skip
    ego_from_world = np.linalg.inv(calibration['ego2global'])
    poses = [ego_from_world @ c['ego2global_cam'] @ c['cam2ego'] for c in cameras.values()]
    intrinsics = np.stack([camera['K'] for camera in cameras.values()])
    rig = CameraRig(
        tuple(cameras),
        torch.from_numpy(intrinsics).float(),
        torch.from_numpy(np.stack(poses)).float(),
        ((900, 1600),) * 6,
    )
    return images, rig


def same(one: TargetMaps, other: TargetMaps) -> bool:
    equal = torch.equal(one.maps.features, other.maps.features)
    return equal and torch.equal(one.maps.depth, other.maps.depth)


@pytest.fixture
def network() -> Counted:
    return Counted()


@pytest.fixture
def cache(tmp_path: Path) -> TargetCache:
    card = {'input_size': [48, 80], 'feature_dim': 384}
    return TargetCache.of(tmp_path, 'tiny-0', card)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob('*') if path.is_file())


def test_what_is_made_is_kept_and_the_same(network: Counted, cache: TargetCache):
    teacher = Teacher(network, cache)
    made = teacher.maps_for(KEY, *frame())
    kept = teacher.maps_for(KEY, *frame())
    assert network.calls == 1 and dict(teacher.counts) == {'made': 1, 'kept': 1}
    assert same(made, kept) and made.masks is kept.masks is None
    assert same(made, Teacher(network).maps_for(KEY, *frame()))  # without a cache too
    raw, small = network.encode(*frame())
    assert made.rig.image_sizes == small.image_sizes == ((48, 80),) * 2
    assert torch.equal(made.rig.intrinsics, small.intrinsics)
    assert torch.cosine_similarity(made.maps.features, raw.features, 1).min() > 0.999
    assert torch.allclose(made.maps.depth, raw.depth, rtol=1e-3)


def test_a_full_cache_needs_no_network(network: Counted, cache: TargetCache, tmp_path: Path):
    made = Teacher(network, cache).maps_for(KEY, *frame())
    moved = shutil.copytree(cache.folder, tmp_path / 'elsewhere')
    teacher = Teacher(None, TargetCache.open(moved))
    assert (teacher.input_size, teacher.feature_dim) == ((48, 80), 384)
    assert same(teacher.maps_for(KEY, *frame()), made)
    with pytest.raises(ValueError, match=r'drive/8\.targets.* gausstr-make-targets'):
        teacher.maps_for('drive/8', *frame())
    with pytest.raises(ValueError, match='needs a network'):
        Teacher(None)
    with pytest.raises(ValueError, match=r'is not a folder of one teacher'):
        TargetCache.open(tmp_path)


def test_a_damaged_file_is_reported_and_made_again(
    network: Counted, cache: TargetCache, caplog: pytest.LogCaptureFixture
):
    teacher = Teacher(network, cache)
    made = teacher.maps_for(KEY, *frame())
    path = cache.path(KEY)
    good = path.read_bytes()
    other_key = encode('drive/8', cache.teacher, made.maps, Inputs.of(*frame()))[1]
    other_teacher = encode(KEY, 'tiny-1', made.maps, Inputs.of(*frame()))[1]
    for bad in (b'', good[:-1], good[:300] + b'x' + good[301:], other_key, other_teacher):
        path.write_bytes(bad)
        with pytest.raises(DamagedFile, match=re.escape(str(path))):
            cache.check(KEY)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert same(teacher.maps_for(KEY, *frame()), made)
        assert str(path) in caplog.text and 'made again' in caplog.text
        assert path.read_bytes() == good
    assert teacher.counts['made again'] == 5


def test_a_frame_that_has_changed_is_made_again(network: Counted, cache: TargetCache):
    teacher = Teacher(network, cache)
    images, rig = frame()
    teacher.maps_for(KEY, images, rig)
    rig.intrinsics[0, 0, 0] += 3
    assert teacher.packed_for(KEY, images, rig)[1].endswith('has other intrinsics')
    assert teacher.packed_for(KEY, frame(7)[0], rig)[1].endswith('has other images')
    assert teacher.packed_for(KEY, frame(7)[0], rig)[1] == 'kept'


def test_masks_are_kept_beside_the_maps(network: Counted, cache: TargetCache, tmp_path: Path):
    (tmp_path / 'labels').mkdir()
    labels = np.arange(60 * 96).reshape(60, 96) % 18
    np.save(tmp_path / 'labels' / 'n015__a__1532402927612460.npy', labels.astype(np.float32))
    np.save(tmp_path / 'labels' / 'b__1532402927612461.npy', labels[::-1].astype(np.uint8))
    stored = StoredMasks(tmp_path / 'labels')
    stamps = (1532402927612460123, 1532402927612461000)
    teacher = Teacher(network, cache)
    teacher.maps_for(KEY, *frame())
    wanted = teacher.maps_for(KEY, *frame(), lambda size: stored.of('ab', stamps, size))
    assert teacher.counts['made again'] == 1 and wanted.masks.dtype == torch.uint8
    rows, columns = (np.arange(48) * 60) // 48, (np.arange(80) * 96) // 80
    assert np.array_equal(wanted.masks[0], labels[rows][:, columns])
    assert np.array_equal(wanted.masks[1], labels[::-1][rows][:, columns])
    assert torch.equal(Teacher(None, cache).maps_for(KEY, *frame()).masks, wanted.masks)
    with pytest.raises(ValueError, match='no label map b__1532402927612462'):
        stored.of('ab', (stamps[0], stamps[1] + 1000), (4, 4))


@pytest.mark.parametrize('array', [np.full((4, 4), 0.5), np.full((4, 4), 256), np.full((4, 4), -1),
                                   np.zeros((3, 4, 4))])  # fmt: skip
def test_maps_that_are_no_labels_are_named(tmp_path: Path, array: np.ndarray):
    np.save(tmp_path / 'a__5.npy', array)
    with pytest.raises(ValueError, match=r'a__5\.npy: expected labels'):
        StoredMasks(tmp_path).of(('a',), (5000,), (4, 4))


def test_label_maps_must_be_there_and_one_to_an_image(tmp_path: Path):
    with pytest.raises(ValueError, match='holds no label map'):
        StoredMasks(tmp_path)
    for name in ('x__a__5.npy', 'y__a__5.npy'):
        np.save(tmp_path / name, np.zeros((4, 4)))
    with pytest.raises(ValueError, match='of the same image'):
        StoredMasks(tmp_path)


@pytest.mark.parametrize('key', ['', '/etc/passwd', '../7', 'a/../../7', 'a//7', 'a/.', 'a\0b'])
def test_a_key_stays_in_the_folder(cache: TargetCache, key: str):
    with pytest.raises(ValueError, match='a frame must be called like'):
        cache.write(key, b'')


def test_a_failed_write_leaves_nothing(cache: TargetCache, monkeypatch: pytest.MonkeyPatch):
    cache.write(KEY, b'first')

    def full(*paths: object) -> None:
        raise OSError('no space left')

    monkeypatch.setattr(os, 'replace', full)
    with pytest.raises(OSError, match='no space'):
        cache.write(KEY, b'second')
    assert cache.path(KEY).read_bytes() == b'first'
    assert files(cache.folder) == sorted([cache.path(KEY), cache.folder / 'teacher.json'])


def test_what_killed_processes_leave_is_swept(cache: TargetCache):
    cache.write(KEY, b'whole')
    old, new = (cache.path(KEY).with_name(f'.{n}.targets.host.1.part') for n in ('old', 'new'))
    for path in (old, new):
        path.write_bytes(b'half')
    os.utime(old, (0, 0))
    assert sweep(cache.folder.parent) == [old]
    assert files(cache.folder / 'drive') == sorted([new, cache.path(KEY)])


def test_readers_among_many_writers_see_whole_files(network: Counted, cache: TargetCache):
    data = encode(KEY, cache.teacher, network.encode(*frame())[0], Inputs.of(*frame()))[1]
    cache.write(KEY, data)
    over, faults = threading.Event(), []

    def write() -> None:
        while not over.is_set():
            cache.write(KEY, data)

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for _ in range(100):
        try:
            faults += [] if cache.check(KEY) else ['gone']
        except DamagedFile as error:
            faults.append(str(error))
    over.set()
    for writer in writers:
        writer.join()
    assert not faults and files(cache.folder / 'drive') == [cache.path(KEY)]


def test_another_teacher_has_another_folder(tmp_path: Path):
    settings, network = CodecSettings(), TINY.load()
    named = identity('tiny', network, settings)
    assert re.fullmatch(r'tiny-[0-9a-f]{12}', named)
    assert identity('tiny', TINY.load(), settings) == named
    others = {named, identity('tiny', network, CodecSettings(camera_bytes=100_000))}
    next(network.parameters()).data[0] += 1e-3
    others.add(identity('tiny', network, settings))
    assert len(others) == 3
    first = Teacher.load(TINY, tmp_path).cache
    assert first is not None and first.folder == tmp_path / named
    assert json.loads((first.folder / 'teacher.json').read_text())['input_size'] == [48, 80]


def test_weights_of_a_run_teach(tmp_path: Path):
    model = build('tiny')
    torch.nn.init.constant_(model.foundation.depth_head.bias, 0.5)
    save_weights(model, tmp_path / 'tiny.safetensors', 'tiny')
    trained = Teacher.load(TeacherSpec('tiny', weights=tmp_path / 'tiny.safetensors'), tmp_path)
    plain = Teacher.load(TINY, tmp_path)
    assert not same(trained.maps_for(KEY, *frame()), plain.maps_for(KEY, *frame()))
    assert trained.cache.folder != plain.cache.folder


def test_published_networks_teach_from_a_folder(tmp_path: Path):
    """All of it, down to the file of the depth network, makes the identity."""
    weights, root = tmp_path / 'weights', tmp_path / 'cache'
    write_dinov2(weights)
    write_metric3d(weights, (56, 112), offset=100.0)
    spec = TeacherSpec('talk2dino', weights)
    teacher = Teacher.load(spec, root)
    made = teacher.maps_for(KEY, *frame())
    assert made.maps.features.shape == (2, 24, 36, 64)
    assert made.maps.depth.shape == (2, 504, 896)
    assert teacher.cache.check(KEY).size <= 2 * 500_000
    card = json.loads((teacher.cache.folder / 'teacher.json').read_text())
    assert card['networks'] == ['DINOv2 ViT-B/14 with registers', 'Metric3D v2 ViT-L']
    names = {teacher.cache.teacher, Teacher.load(spec, root).cache.teacher}
    assert len(names) == 1
    (weights / 'metric3d' / 'metric3d_vit_large.onnx.lock').touch()  # as fetching leaves it
    names.add(Teacher.load(spec, root).cache.teacher)
    assert len(names) == 1
    write_metric3d(weights, (56, 112), offset=101.0)
    names.add(Teacher.load(spec, root).cache.teacher)
    assert len(names) == 2


def test_teachers_that_make_no_sense():
    for wrong, message in (
        ({'name': 'dino'}, 'teacher must be one of talk2dino, featup, maskclip, compact, tiny'),
        ({'name': 'featup', 'weights': 'x'}, 'reads its weights from a folder'),
        ({'name': 'compact', 'folder': Path('x')}, 'needs no published files'),
    ):
        with pytest.raises(ValueError, match=message):
            TeacherSpec(**wrong)
    with pytest.raises(ValueError, match='ships without weights'):
        TeacherSpec('tiny').load()


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a CUDA device')
def test_a_device_that_is_absent_is_not_replaced():
    with pytest.raises(ValueError, match="device 'cuda' was asked for"):
        TINY.load('cuda')


def test_the_shipped_network_on_a_real_keyframe_loses_little(shared: Path, tmp_path: Path):
    """What packing costs on real images: docs/targets.md has the figures."""
    images, rig = keyframe(shared)
    spec = TeacherSpec('compact')
    teacher = Teacher.load(spec, tmp_path)
    got = teacher.maps_for('scene-0061/1532402927647951000', images, rig).maps
    raw, _ = spec.load().encode(images, rig)
    loss = 1 - torch.cosine_similarity(raw.features, got.features, 1)
    # of a better network more is lost: 6e-4 before, its features vary more from pixel to pixel
    assert loss.mean() < 1.2e-3 and loss.max() < 8e-3
    assert ((got.depth - raw.depth) / raw.depth).abs().max() < 5.2e-4
    assert teacher.cache.check('scene-0061/1532402927647951000').size < 800_000
