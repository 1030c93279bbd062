"""What docs/ print for training runs as printed."""

from __future__ import annotations

import pytest
from bag_files import write_bag_of_drive
from docs_snippets import blocks, run

from gausstr_training.streets.drive import write_drive
from gausstr_training.streets.drive_settings import DriveSettings

PAGES = ('bags.md', 'targets.md')


def ran(script, folder):
    done = run(script, folder, GAUSSTR_CACHE=str(folder / 'cache'))
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize('page', PAGES)
def test_python_on_a_page_runs(page, tmp_path):
    """field_reports N7: the workers of docs/bags.md started the script again; names were missing.

    Two bags, so that workers scan them.
    """
    for seed in (1, 2):
        write_bag_of_drive(tmp_path / 'data' / 'bags' / f'drive_{seed}', seed=seed)
    (script,) = blocks(page, 'python')
    said = ran(script, tmp_path)
    assert page != 'bags.md' or said.count('torch.Size([6, 432, 768, 3])') == 6


def test_the_memory_of_a_drive_runs_as_printed(tmp_path):
    settings = DriveSettings(seed=40000, frames=2, width=160, height=90, voxels=False)
    write_drive(tmp_path / 'drives' / 'street_040000', settings)
    (script,) = blocks('memory.md', 'python')
    first, second = ran(script, tmp_path).splitlines()
    assert first == '0 voxels are remembered' != second


def test_no_page_prints_python_that_is_not_run():
    """field_reports N7: nuscenes.md is run by test_nuscenes_bags.py, robot.md by
    test/ros/test_robot_page.py.
    """
    from docs_snippets import ROOT

    printed = {page.name for page in (ROOT / 'docs').glob('*.md') if blocks(page.name, 'python')}
    assert printed == {*PAGES, 'memory.md', 'nuscenes.md', 'robot.md'}
