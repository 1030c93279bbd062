"""What `make setup` links into the environment is found by `ros2 launch`."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ('config', 'launch', 'rviz')


def linked(prefix):
    """The environment after bootstrap's first step."""
    names = runpy.run_path(str(ROOT / 'underlay' / 'bootstrap.py'))
    names['_link_share'].__globals__['PREFIX'] = prefix
    names['_link_share']()
    return prefix / 'share' / 'gausstr_ros'


def found(share, name):
    """As ros2launch finds a file of a package: os.walk, which enters no link."""
    return [Path(place) / name for place, _, files in os.walk(share) if name in files]


@pytest.mark.parametrize('before', ['nothing', 'folders linked', 'links of files that are gone'])
def test_every_file_is_found_by_its_name(tmp_path, before):
    """field_reports R23: linked as folders, into which `ros2 launch` does not walk."""
    share = tmp_path / 'share' / 'gausstr_ros'
    if before != 'nothing':
        share.mkdir(parents=True)
    for folder in FOLDERS if before == 'folders linked' else ():
        (share / folder).symlink_to(ROOT / folder)
    if before == 'links of files that are gone':
        (share / 'launch').mkdir()
        (share / 'launch' / 'old.launch.py').symlink_to(ROOT / 'launch' / 'old.launch.py')
    kept = sorted(path for folder in FOLDERS for path in (ROOT / folder).iterdir())
    for _ in range(2):  # a setup again
        assert linked(tmp_path) == share
        for path in (*kept, ROOT / 'package.xml'):
            if path.is_file():
                (place,) = found(share, path.name)
                assert place.resolve() == path and place.read_bytes() == path.read_bytes()
        assert not [place for place in share.rglob('*') if not place.exists()]
    assert kept == sorted(path for folder in FOLDERS for path in (ROOT / folder).iterdir())
    assert (tmp_path / 'share/ament_index/resource_index/packages/gausstr_ros').is_file()
