"""The pictures of the demo: right way up, right colours."""

from __future__ import annotations

import numpy as np
import pytest

from gausstr_core.drawing.encoding import jpeg
from gausstr_core.drawing.maps import BACKGROUND, top_view
from gausstr_ros.demo.pictures import camera_card, color_depth, grid_view, paled
from gausstr_ros.demo.voxel_view import Viewpoint, draw_voxels

COLORS = np.array([(250, 40, 30), (30, 60, 240)], np.uint8)


def redness(picture):
    """How much redder than blue each pixel is."""
    return picture[..., 0].astype(int) - picture[..., 2]


def test_forward_is_up_and_left_is_left_in_the_map():
    labels = np.full((20, 20, 4), -1)
    labels[17, 15, 1] = 0  # far ahead, to the left
    rows, columns = np.nonzero(redness(top_view(labels, COLORS, 0.4)) > 60)
    assert rows.mean() < 20 and 10 < columns.mean() < 30  # of 80 pixels: up and left


def test_the_map_shows_the_highest_voxel():
    labels = np.full((20, 20, 4), -1)
    labels[2:5, 2:5, 0], labels[2:5, 2:5, 2] = 0, 1
    picture = top_view(labels, COLORS, 0.4)
    assert (redness(picture) < -60).sum() > 100
    assert not (redness(picture) > 60).any()


def test_the_grid_is_drawn_as_the_map_is():
    cells = np.full((20, 20), -1, np.int8)
    cells[15, 17] = 100  # rows of an OccupancyGrid run along y
    rows, columns = np.nonzero(redness(grid_view(cells, 0.4)) > 60)
    assert rows.mean() < 20 and 10 < columns.mean() < 30


def test_what_is_remembered_is_paler():
    labels = np.full((20, 20, 4), -1, np.int16)
    labels[2:9, 2:9, 0], labels[12:18, 2:9, 0] = 0, 0
    ages = np.zeros(labels.shape, np.float32)
    assert np.array_equal(paled(labels, None, COLORS)[0], labels)
    ages[12:18] = 2.0
    picture = top_view(*paled(labels, ages, COLORS), 0.4)
    ahead, behind = picture[:40], picture[40:]  # the far half is remembered
    assert 20 < redness(ahead).max() < redness(behind).max() - 60
    pale = paled(labels, ages, COLORS)[1][len(COLORS) :]
    assert (pale.sum(-1) > COLORS.sum(-1) + 100).all()


def test_near_is_red_far_is_blue_unknown_is_neither():
    colored = color_depth(np.array([[2.5, 50.0, 0.0]], np.float32))
    assert redness(colored)[0, 0] > 60 > -20 > redness(colored)[0, 1]
    assert tuple(colored[0, 2]) == BACKGROUND


def test_a_card_holds_image_depth_and_semantics():
    image = np.full((252, 448, 3), 200, np.uint8)
    semantics = np.full((180, 320, 3), 90, np.uint8)
    semantics[:, :10] = 0
    card = camera_card(image, np.full((180, 320), 5.0, np.float32), semantics)
    assert card.shape[1] == 448 and 252 + 120 < card.shape[0] < 252 + 140
    assert (card[:250] == 200).all()
    assert (card[-20, -20] == 90).all()
    assert jpeg(card).startswith(b'\xff\xd8')


def test_a_cube_lands_where_a_pinhole_camera_sees_it():
    labels = np.full((20, 20, 20), -1)
    labels[14, 10, 10] = 0
    view = Viewpoint(position=(0.5, 10.5, 10.5), target=(19.0, 10.5, 10.5), vertical_field=40)
    # the grid's edge is so far from the car that the car is not in the picture
    picture = draw_voxels(labels, COLORS, (0, 0, 0), 1.0, size=(90, 120), viewpoint=view)
    rows, columns = np.nonzero(redness(picture) > 60)
    assert abs(rows.mean() - 44.5) < 1 and abs(columns.mean() - 59.5) < 1
    # the face at x = 14 is one metre wide and 13.5 m away
    assert np.ptp(columns) + 1 == pytest.approx(90 / (2 * np.tan(np.radians(20))) / 13.5, abs=1.5)


def test_a_cell_shadows_the_one_below():
    labels = np.full((21, 21, 8), -1)
    labels[:, :, 0] = 1
    view = Viewpoint(position=(10, 10, 60), target=(10.01, 10, 0), vertical_field=20)
    clear = draw_voxels(labels, COLORS, (0, 0, 0), 1.0, size=(60, 60), viewpoint=view)
    labels[10, 10, 5] = 0
    shaded = draw_voxels(labels, COLORS, (0, 0, 0), 1.0, size=(60, 60), viewpoint=view)
    blue = redness(shaded) < -40
    assert (shaded[..., 2].astype(int) < clear[..., 2] - 60)[blue].sum() > 3


def test_a_label_without_a_colour_is_refused():
    with pytest.raises(ValueError, match='label 2 has no colour: 2 were given'):
        draw_voxels(np.full((2, 2, 2), 2), COLORS, (0, 0, 0), 1.0)
