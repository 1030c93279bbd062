"""Targets that no network made: the truth of streets, the depth of a lidar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from bag_files import START, Recorded, cloud, messages_of, write_bag, write_bag_of_drive

from gausstr_training import synthesize
from gausstr_training.bags.dataset import open_frames
from gausstr_training.bags.sets import BagSettings
from gausstr_training.make_targets import main
from gausstr_training.streets.reader import read_street
from gausstr_training.targets.cache import TargetCache, read_card
from gausstr_training.targets.networks import WORDS, words_of
from gausstr_training.targets.sights import BEYOND, RendererNetwork


@pytest.fixture(scope='module', autouse=True)
def _index(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('GAUSSTR_CACHE', str(tmp_path_factory.mktemp('index')))
        yield


@pytest.fixture(scope='module')
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('streets') / 'street_000007'
    size = ('--size', '320x180')
    synthesize.main(['--seed', '7', '--no-voxels', *size, '--output', str(folder)])
    return folder


def cache_of(root: Path) -> TargetCache:
    (folder,) = root.iterdir()
    return TargetCache.open(folder)


def test_the_renderer_gives_classes_as_words_and_exact_depth(street: Path, tmp_path: Path) -> None:
    main(['--teacher', 'renderer', '--data', str(street), '--cache', str(tmp_path)])
    cache, frame = cache_of(tmp_path), read_street(street)[0]
    (key,) = open_frames([street], BagSettings()).keys
    packed = cache.read(key)
    assert packed is not None
    depth, truth = packed.depth.metres(), torch.from_numpy(frame.depth)
    assert torch.equal(depth > BEYOND, truth == 0)
    seen = truth > 0
    assert ((depth - truth)[seen].abs() <= 1e-3 * truth[seen]).all()
    words = torch.nn.functional.normalize(RendererNetwork().words, dim=-1)
    found = (packed.features.unpacked().permute(0, 2, 3, 1) @ words.T).argmax(-1)
    classes = torch.from_numpy(frame.semantics[:, 1::2, 1::2].astype(np.int64))
    assert (found == classes).float().mean() > 0.999


def test_a_bag_that_is_no_street_has_no_truth(tmp_path: Path) -> None:
    write_bag_of_drive(tmp_path / 'bags' / 'drive', 1)
    command = ['--teacher', 'renderer', '--data', str(tmp_path / 'bags')]
    with pytest.raises(SystemExit, match=r'drive/\d+: its bag .* is not that of a street'):
        main([*command, '--cache', str(tmp_path / 'cache')])


def test_a_lidar_gives_the_depth_and_a_network_the_features(tmp_path: Path) -> None:
    bag = with_wall(tmp_path / 'bags' / 'drive')
    command = ['--teacher', 'tiny', '--weights', 'untrained', '--data', str(bag.parent)]
    main([*command, '--depth', 'lidar', '--cache', str(tmp_path / 'lidar')])
    main([*command, '--cache', str(tmp_path / 'seen')])
    lidar, seen = cache_of(tmp_path / 'lidar'), cache_of(tmp_path / 'seen')
    assert lidar.teacher.startswith('tiny-lidar-')
    (key,) = open_frames([bag], BagSettings(period=0.4)).keys
    measured, own = lidar.read(key), seen.read(key)
    assert measured is not None and own is not None
    assert torch.equal(measured.features.unpacked(), own.features.unpacked())
    front = measured.depth.metres()[0]
    hit = front < BEYOND
    assert 0.2 < hit.float().mean() < 1  # a wall, and nothing above it
    # the wall is 12 m ahead of the ego, the front camera some 1.7 m
    assert (front[hit] - 10.3).abs().median() < 0.3


def test_a_frame_without_a_cloud_is_named(tmp_path: Path) -> None:
    write_bag_of_drive(tmp_path / 'bags' / 'drive', 1)
    command = ['--teacher', 'tiny', '--weights', 'untrained', '--depth', 'lidar']
    with pytest.raises(SystemExit, match=r'no lidar cloud|lidar_top'):
        main([*command, '--data', str(tmp_path / 'bags'), '--cache', str(tmp_path / 'cache')])


@pytest.mark.parametrize(
    ('card', 'words'),
    [
        ({'teacher': 'featup-0123456789ab'}, 'clip'),  # filled before cards said so
        ({'teacher': 'talk2dino-lidar-0123456789ab', 'words': 'talk2dino'}, 'talk2dino'),
        ({'teacher': 'mine-0123456789ab', 'words': 'minilm'}, 'minilm'),
    ],
)
def test_a_card_says_whose_words_its_features_are(card: dict[str, str], words: str) -> None:
    assert words_of(card) == words


@pytest.mark.parametrize('card', [{'teacher': 'mine-01'}, {'teacher': 'x-01', 'words': 'siglip'}])
def test_features_of_unknown_words_are_named(card: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=f'{card["teacher"]}.*words are unknown.*minilm'):
        words_of(card)


def test_a_new_cache_says_whose_words_its_features_are(tmp_path: Path, street: Path) -> None:
    main(['--teacher', 'renderer', '--data', str(street), '--cache', str(tmp_path)])
    assert read_card(cache_of(tmp_path).folder)['words'] == WORDS['renderer']


def with_wall(path: Path) -> Path:
    """A bag of one frame with a cloud of a wall, 12 m ahead and up to 2 m high."""
    plain = path.with_name('.plain')
    write_bag_of_drive(plain, 1)
    y, z = np.meshgrid(np.linspace(-20, 20, 400), np.linspace(0, 2, 40))
    points = np.stack([np.full(y.size, 12.0), y.ravel(), z.ravel()], 1).astype(np.float32)
    message = cloud(START, 'base_link', points)
    recorded = Recorded(START, '/lidar_top/points', 'sensor_msgs/msg/PointCloud2', message)
    return write_bag(path, [*messages_of(plain), recorded])
