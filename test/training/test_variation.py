"""Domain randomisation: what it may change, what it must not, and that it repeats itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gausstr_core.contracts import VoxelGrid
from gausstr_training.streets.classes import CAR, ROAD
from gausstr_training.streets.drive import write_drive
from gausstr_training.streets.drive_settings import DriveSettings
from gausstr_training.streets.reader import StreetFrame, check_street, read_street
from gausstr_training.streets.rendering.render import Stage, render_view
from gausstr_training.streets.rig import StreetRig, sample_rig
from gausstr_training.streets.scene.layout import sample_world
from gausstr_training.streets.scene.variation import varied_rig, varied_world
from gausstr_training.streets.scene.weather import WEATHERS
from gausstr_training.streets.scene.world import World
from gausstr_training.streets.truth import label_voxels
from gausstr_training.synthesize import main

SMALL = DriveSettings(21, 1, 96, 54, voxels=False)
VARIED = replace(SMALL, randomise=True)


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('varied')
    write_drive(root / 'plain', SMALL)
    write_drive(root / 'varied', VARIED)
    return root


def _frame(folder: Path) -> StreetFrame:
    return read_street(folder)[0]


def _plain(seed: int, width: int = 96, height: int = 54) -> tuple[StreetRig, World]:
    random = np.random.default_rng(seed)
    rig = sample_rig(random, width, height)
    return rig, sample_world(random, 0.5)


def test_a_varied_street_repeats_byte_for_byte(folder: Path) -> None:
    write_drive(folder / 'again', VARIED)
    for name in ('street.json', 'bag/bag.mcap'):
        once, again = ((folder / kind / name).read_bytes() for kind in ('varied', 'again'))
        assert once == again, name
    plain = (folder / 'plain' / 'bag' / 'bag.mcap').read_bytes()
    assert plain != (folder / 'varied' / 'bag' / 'bag.mcap').read_bytes()


def test_plain_streets_know_nothing_of_variation(folder: Path) -> None:
    assert 'randomise' not in json.loads((folder / 'plain' / 'street.json').read_text())
    assert json.loads((folder / 'varied' / 'street.json').read_text())['randomise'] is True


def test_a_street_of_the_other_kind_is_not_taken_for_done(folder: Path) -> None:
    check_street(folder / 'varied', VARIED)
    check_street(folder / 'plain', SMALL)
    with pytest.raises(ValueError, match=r'street\.json: expected randomise False, got True'):
        check_street(folder / 'varied', SMALL)
    with pytest.raises(ValueError, match=r'street\.json: expected randomise True, got False'):
        check_street(folder / 'plain', VARIED)


def test_the_command_passes_it_on_and_resumes(tmp_path: Path) -> None:
    command = ['--seed', '21', '--size', '96x54', '--no-voxels', '--output', str(tmp_path / 's')]
    main([*command, '--randomise'])
    main([*command, '--randomise'])
    with pytest.raises(SystemExit, match='expected randomise False, got True'):
        main(command)


def test_what_stands_where_stays() -> None:
    _, plain = _plain(3)
    varied = varied_world(np.random.default_rng(0), plain)
    for before, after in zip(plain.bodies, varied.bodies, strict=True):
        assert (before.s, before.d, before.speed_s) == (after.s, after.d, after.speed_s)
        labels = {part.label for part in before.parts}
        assert {part.label for part in after.parts} == labels
    cars = [b for b in varied.bodies if b.parts[0].label == CAR]
    reach = [np.abs(p.body_from_unit[:3, 3]).max() for body in cars for p in body.parts]
    assert max(reach) < 4.0  # nothing that was put on a roof floats away


def test_rigs_vary_within_what_cars_have() -> None:
    nominal, _ = _plain(0, 448, 252)
    rigs = [varied_rig(np.random.default_rng(seed), nominal) for seed in range(60)]
    heights = np.stack([rig.base_from_camera[:, 2, 3] for rig in rigs])
    zooms = np.stack([rig.intrinsics[:, 0, 0] / nominal.intrinsics[:, 0, 0] for rig in rigs])
    tilts = np.stack([rig.base_from_camera[:, 2, 2] for rig in rigs])  # sine of the elevation
    assert 0.9 < heights.min() < 1.25 and 1.95 < heights.max() < 2.6
    assert 0.65 < zooms.min() < 0.8 and 1.25 < zooms.max() < 1.45
    assert 2.0 < np.rad2deg(np.abs(tilts)).max() < 12.0
    for rig in rigs:
        turn = rig.base_from_camera[:, :3, :3]
        assert np.allclose(turn @ turn.transpose(0, 2, 1), np.eye(3), atol=1e-9)
        assert np.allclose(np.linalg.det(turn), 1.0)
    assert np.array_equal(nominal.intrinsics, _plain(0, 448, 252)[0].intrinsics)


def test_varied_truth_agrees_with_varied_images(folder: Path) -> None:
    """Road pixels lie on the ground through the varied rig."""
    frame = _frame(folder / 'varied')
    _, height, width = frame.depth.shape
    column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    pixels = torch.from_numpy(np.stack([column.ravel(), row.ravel()], 1)).float()
    points = frame.rig.unproject(
        pixels.expand(6, -1, -1), torch.from_numpy(frame.depth).flatten(1)
    ).numpy()
    road = (frame.semantics.reshape(6, -1) == ROAD) & (frame.depth.reshape(6, -1) < 30)
    assert road.sum() > 500
    assert np.abs(points[road][:, 2]).max() < 0.1


def test_varied_bodies_fill_voxels() -> None:
    _, plain = _plain(5)
    stage = Stage(varied_world(np.random.default_rng(1), plain))
    voxels = label_voxels(stage.geometry, stage.poses(0.0), VoxelGrid())
    assert len(np.unique(voxels)) >= 12


@pytest.mark.parametrize('weather', WEATHERS, ids=lambda kind: kind.__name__)
def test_every_weather_shows_a_street(weather: object) -> None:
    """Images are neither black nor white, and differ from the plain ones."""
    rig, plain = _plain(8, 64, 36)
    assert callable(weather)
    random = np.random.default_rng(2)
    lit = replace(plain, light=weather(random, plain.light))
    before, after = (render_view(Stage(world), rig, 0, 0.0) for world in (plain, lit))
    assert np.array_equal(before.depth, after.depth)
    assert np.array_equal(before.semantics, after.semantics)
    assert 8 < after.image.mean() < 250 and after.image.std() > 4
    assert np.abs(after.image.astype(int) - before.image).mean() > 3


def test_fog_hides_what_is_far() -> None:
    rig, plain = _plain(8, 64, 36)
    fog = next(kind for kind in WEATHERS if kind.__name__ == 'fog')
    light = replace(fog(np.random.default_rng(0), plain.light), haze=0.05)
    view = render_view(Stage(replace(plain, light=light)), rig, 0, 0.0)
    far = (view.depth > 60) | (view.depth == 0)
    near = (view.depth > 0) & (view.depth < 10)
    assert far.any() and near.any()
    assert view.image[far & (view.depth > 0)].std() < 0.6 * view.image[near].std()


def test_cameras_see_the_same_light_differently() -> None:
    rig, plain = _plain(8, 64, 36)
    flat = replace(rig, base_from_camera=np.repeat(rig.base_from_camera[:1], 6, axis=0))
    flat = replace(flat, intrinsics=np.repeat(rig.intrinsics[:1], 6, axis=0))
    stage = Stage(varied_world(np.random.default_rng(4), plain))
    means = [render_view(stage, flat, camera, 0.0).image.mean() for camera in range(6)]
    assert max(means) - min(means) > 5
    assert len(set(means)) == 6
