"""Styles of streets: strange to look at, the same street beneath, and the same at every call."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gausstr_training.streets.drive import write_drive
from gausstr_training.streets.drive_settings import DriveSettings
from gausstr_training.streets.reader import StreetFrame, check_street, read_street
from gausstr_training.streets.scene.styles import STYLES, ZOOM
from gausstr_training.synthesize import main

PLAIN = DriveSettings(21, 1, 96, 54)
STYLED = replace(PLAIN, style='thermal')


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('styles')
    write_drive(root / 'plain', PLAIN)
    write_drive(root / 'styled', STYLED)
    return root


def frame(folder: Path) -> StreetFrame:
    return read_street(folder)[0]


def test_a_styled_street_repeats_byte_for_byte(folder: Path) -> None:
    write_drive(folder / 'again', STYLED)
    for name in ('street.json', 'bag/bag.mcap', 'truth/000000.npz'):
        once, again = ((folder / kind / name).read_bytes() for kind in ('styled', 'again'))
        assert once == again, name


def test_street_json_names_the_style_and_plain_streets_none(folder: Path) -> None:
    about = {
        kind: json.loads((folder / kind / 'street.json').read_text())
        for kind in ('plain', 'styled')
    }
    assert about['styled']['style'] == 'thermal'
    assert 'style' not in about['plain']


def test_what_stands_where_stays(folder: Path) -> None:
    plain, styled = frame(folder / 'plain'), frame(folder / 'styled')
    assert plain.voxels is not None and styled.voxels is not None
    assert np.array_equal(plain.voxels, styled.voxels)
    assert np.array_equal(plain.odom_from_ego, styled.odom_from_ego)


def test_the_lens_is_wider_and_truth_goes_with_it(folder: Path) -> None:
    plain, styled = frame(folder / 'plain'), frame(folder / 'styled')
    ratio = styled.rig.intrinsics[:, 0, 0] / plain.rig.intrinsics[:, 0, 0]
    assert ((ratio > 0.96 * ZOOM) & (ratio < 1.04 * ZOOM)).all()
    assert (styled.rig.ego_from_camera[:, 2, 3] < 0.8 * plain.rig.ego_from_camera[:, 2, 3]).all()
    assert not np.array_equal(plain.depth, styled.depth)


@pytest.mark.parametrize('name', sorted(STYLES))
def test_the_sky_is_darker_than_the_road_as_never_by_day(name: str, folder: Path) -> None:
    styled = frame(folder / 'styled')
    light = styled.images.astype(float).mean(-1)
    assert light[styled.depth == 0].mean() < 0.6 * light[styled.semantics == 0].mean()


def test_a_street_of_another_style_is_not_taken_for_done(folder: Path) -> None:
    check_street(folder / 'styled', STYLED)
    with pytest.raises(ValueError, match='expected style'):
        check_street(folder / 'plain', STYLED)


def test_the_command_knows_its_styles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(['--seed', '1', '--style', 'sepia', '--output', str(tmp_path / 'street')])
    assert 'thermal' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
