"""Data that several files of tests score; not to be changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two streets of one frame with truth, street_000500 and street_000501."""
    from evaluations import write_streets

    return write_streets(tmp_path_factory.mktemp('streets'))


@pytest.fixture(scope='session')
def three_keyframes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One scene of three keyframes, with the labels of Occ3D."""
    from nuscenes_drives import street_drive
    from nuscenes_tree import write_tree

    root = tmp_path_factory.mktemp('nuscenes') / 'tree'
    return write_tree(root, 'v1.0-mini', [street_drive(1, 'scene-0001', 3, labels=True)])


@pytest.fixture
def tree(three_keyframes: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(three_keyframes, tmp_path / 'tree'))
