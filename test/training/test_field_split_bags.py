"""Training frames from a drive whose files overlap in time."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from bag_files import Recorded, messages_of, write_bag, write_bag_of_drive
from text_bags import joined

from gausstr_training.bags.dataset import BagDataset


@pytest.mark.parametrize('seed', [0, 1])
def test_frames_of_a_split_drive_are_those_of_the_whole(tmp_path: Path, seed: int) -> None:
    """Field_reports X2: a recorder that splits by size while a cache drains."""
    write_bag_of_drive(tmp_path / 'whole' / 'bag', 3)
    rng = random.Random(seed)
    parts: list[list[Recorded]] = [[], [], []]
    for item in messages_of(tmp_path / 'whole' / 'bag'):
        rng.choice(parts).append(item)
    folders = [write_bag(tmp_path / f'part{n}', part) for n, part in enumerate(parts)]
    (tmp_path / 'split').mkdir()
    joined(tmp_path / 'split' / 'bag', folders)
    whole, split = (
        BagDataset([tmp_path / name], cache=tmp_path / 'cache') for name in ('whole', 'split')
    )
    assert len(split) == len(whole) == 3
    for one, other in zip(whole, split, strict=True):
        assert one.stamp == other.stamp
        np.testing.assert_array_equal(one.odom_from_ego, other.odom_from_ego)
        for image, twin in zip(one.images, other.images, strict=True):
            np.testing.assert_array_equal(image, twin)
