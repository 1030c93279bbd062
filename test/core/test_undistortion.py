"""Lenses against OpenCV's own projection, and undistorted images against what the lens saw."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gausstr_core.camera.lens import EQUIDISTANT, PLUMB_BOB, RATIONAL, Lens
from gausstr_core.camera.undistortion import WIDEST, Undistorter, Undistortion

SIZE = (90, 160)


def near(value: float, spread: float) -> st.SearchStrategy[float]:
    return st.floats(value - spread, value + spread, allow_subnormal=False)


@st.composite
def lenses(draw: st.DrawFn) -> Lens:
    """Lenses such as cameras have them, from a telephoto to a fisheye."""
    model = draw(st.sampled_from([PLUMB_BOB, RATIONAL, EQUIDISTANT]))
    tangential = [draw(near(0, 0.003)), draw(near(0, 0.003))]
    if model == EQUIDISTANT:
        values = [draw(near(0, 0.05)), *(draw(near(0, 0.005)) for _ in range(3))]
        focal = draw(st.floats(40, 150))
    elif model == PLUMB_BOB:
        values = [
            draw(near(-0.15, 0.25)),
            draw(near(0.03, 0.05)),
            *tangential,
            draw(near(0, 0.02)),
        ]
        focal = draw(st.floats(80, 300))
    else:
        k1, k4 = draw(near(0.3, 0.3)), draw(near(0.5, 0.3))
        values = [k1, draw(near(0, 0.05)), *tangential, 0.0, k4, draw(near(0.1, 0.05)), 0.0]
        focal = draw(st.floats(80, 300))
    center = 80 + draw(near(0, 8)), 45 + draw(near(0, 5))
    return Lens(model, tuple(values), (focal, focal * draw(near(1, 0.03))), center, SIZE)


rays = st.lists(st.tuples(near(0, 0.5), near(0, 0.4)), min_size=1, max_size=20)


@settings(deadline=None, max_examples=200)
@given(lenses(), rays, st.floats(0.5, 50))
def test_points_land_where_opencv_projects_them(lens: Lens, directions: list, depth: float):
    points = np.array([(x * depth, y * depth, depth) for x, y in directions])
    matrix = np.array(
        [
            [lens.focal[0], 0, lens.center[0] - 0.5],
            [0, lens.focal[1], lens.center[1] - 0.5],
            [0, 0, 1],
        ]
    )
    coefficients = np.array(lens.coefficients)
    if lens.model == EQUIDISTANT:
        pixels, _ = cv2.fisheye.projectPoints(
            points[:, None], np.zeros(3), np.zeros(3), matrix, coefficients
        )
    else:
        pixels, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, coefficients)
    found = lens.project(np.array(directions, np.float64))
    assert found == pytest.approx(pixels.reshape(-1, 2) + 0.5, abs=1e-6)


def coordinates(size: tuple[int, int]) -> np.ndarray:
    """An image [H, W, 2] that shows at each pixel where it is: one grey level per pixel."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.stack([columns, rows], -1).astype(np.uint8)


def pixel_centres(size: tuple[int, int]) -> np.ndarray:
    return coordinates(size).reshape(-1, 2).astype(np.float64) + 0.5


@settings(deadline=None, max_examples=150)
@given(lenses())
def test_a_pinhole_pixel_shows_what_the_lens_saw_along_its_ray(lens: Lens):
    """The ray of the new intrinsics, projected by OpenCV, hits the pixel that is shown."""
    undistortion = Undistortion(lens)
    shown = undistortion.image(coordinates(SIZE)).reshape(-1, 2)
    pixels = pixel_centres(SIZE)
    matrix = undistortion.intrinsics
    directions = (pixels - matrix[:2, 2]) / np.diag(matrix)[:2]
    expected = lens.project(directions) - 0.5  # the grey level of a pixel is its index
    assert np.abs(shown - expected).max() <= 0.6  # half a grey level and the maps' 1/32 pixel


@settings(deadline=None, max_examples=150)
@given(lenses())
def test_every_pixel_of_the_pinhole_image_was_seen_and_only_once(lens: Lens):
    undistortion = Undistortion(lens)
    white = undistortion.image(np.full((*SIZE, 3), 255, np.uint8))
    assert (white == 255).all()
    matrix = undistortion.intrinsics
    corners = (np.array([(0.5, 0.5), (159.5, 89.5)]) - matrix[:2, 2]) / np.diag(matrix)[:2]
    assert np.degrees(np.arctan(np.hypot(*corners.T))).max() <= WIDEST + 0.01
    shown = undistortion.image(coordinates(SIZE)).astype(int)
    assert (np.diff(shown[..., 0], axis=1) >= 0).all()
    assert (np.diff(shown[..., 1], axis=0) >= 0).all()


def test_a_polynomial_that_turns_back_is_cut_off_before():
    """Fitted to the middle: 1 - 0.6 r^2 turns back at r = 0.745, the image reaches to 0.92."""
    lens = Lens(PLUMB_BOB, (-0.6,), (100.0, 100.0), (80.0, 45.0), SIZE)
    matrix = Undistortion(lens).intrinsics
    assert np.hypot(79.5, 44.5) / matrix[0, 0] == pytest.approx(1 / np.sqrt(1.8), rel=0.01)


@pytest.mark.parametrize('model', [PLUMB_BOB, RATIONAL, ''])
def test_without_distortion_nothing_is_touched(model: str):
    lens = Lens(model, (0.0, 0.0), (100.0, 90.0), (80.0, 45.0), SIZE)
    undistortion = Undistortion(lens)
    image, depth = coordinates(SIZE), np.ones((9, 16), np.float32)
    assert undistortion.image(image) is image and undistortion.depth(depth) is depth
    assert np.array_equal(undistortion.intrinsics, [[100, 0, 80], [0, 90, 45], [0, 0, 1]])


@settings(deadline=None, max_examples=60)
@given(lenses(), st.sampled_from([SIZE, (45, 80), (60, 100)]), st.sampled_from(['<f4', '>f4']))
def test_depth_of_any_size_is_moved_and_never_mixed(lens: Lens, size: tuple, dtype: str):
    number = np.arange(1, size[0] * size[1] + 1, dtype=np.float32).reshape(size)
    undistortion = Undistortion(lens)
    found = undistortion.depth(number.astype(dtype))
    assert np.isin(found, number).all() and found.dtype == np.float32
    matrix = undistortion.intrinsics
    centres = pixel_centres(size) * np.array(SIZE[::-1]) / np.array(size[::-1])
    expected = lens.project((centres - matrix[:2, 2]) / np.diag(matrix)[:2])
    expected *= np.array(size[::-1]) / np.array(SIZE[::-1])
    row, column = np.divmod(found.ravel() - 1, size[1])
    assert np.abs(np.stack([column, row], 1) + 0.5 - expected).max() <= 0.51


def test_maps_are_kept_until_the_calibration_changes():
    undistorter = Undistorter()
    lens = Lens(PLUMB_BOB, (-0.2,), (100.0, 100.0), (80.0, 45.0), SIZE)
    first = undistorter('front', lens)
    again = Lens(PLUMB_BOB, (-0.2, 0.0), (100.0, 100.0), (80.0, 45.0), SIZE)
    assert undistorter('front', again) is first
    assert undistorter('back', lens) is not first
    changed = undistorter('front', lens.resized(45, 80))
    assert changed is not first and changed.lens.size == (45, 80)
    assert undistorter('front', lens) is not changed


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (('fisheye', (0.1,) * 4), "one of plumb_bob.*got 'fisheye'"),
        ((PLUMB_BOB, (0.1,) * 6), r"'plumb_bob' has 5 or .* coefficients, got \[0.1"),
        ((EQUIDISTANT, ()), r"'equidistant' has 4 coefficients, got \[\]"),
        ((PLUMB_BOB, (float('nan'),)), 'finite'),
        (('', (0.1,)), "'' has 0 coefficients"),
    ],
)
def test_distortion_that_is_no_model_is_an_error(arguments: tuple, expected: str):
    with pytest.raises(ValueError, match=expected):
        Lens(*arguments, (100.0, 100.0), (80.0, 45.0), SIZE)


@pytest.mark.parametrize(
    ('matrix', 'expected'),
    [
        ([[0, 0, 80], [0, 1, 45], [0, 0, 1]], 'focal lengths > 0.*fx=0'),
        ([[1, 0, float('inf')], [0, 1, 45], [0, 0, 1]], 'finite'),
        ([[1, 2, 80], [0, 1, 45], [0, 0, 1]], 'of the form'),
    ],
)
def test_intrinsics_that_are_none_are_an_error(matrix: list, expected: str):
    with pytest.raises(ValueError, match=expected):
        Lens.build('', (), np.array(matrix), SIZE)


@pytest.mark.parametrize(
    'lens',
    [
        Lens(PLUMB_BOB, (-1e9,), (100.0, 100.0), (80.0, 45.0), SIZE),
        Lens(PLUMB_BOB, (-0.1,), (100.0, 100.0), (800.0, 45.0), SIZE),
        Lens(RATIONAL, (1e300, 1e300, 0, 0, 1e300), (100.0, 100.0), (80.0, 45.0), SIZE),
    ],
)
def test_a_lens_that_shows_nothing_is_an_error_that_names_the_camera(lens: Lens):
    with pytest.raises(ValueError, match=r'camera front: no pinhole.*is it calibrated'):
        Undistorter()('front', lens)


def test_an_image_of_another_size_is_an_error():
    lens = Lens(PLUMB_BOB, (-0.2,), (100.0, 100.0), (80.0, 45.0), SIZE)
    with pytest.raises(ValueError, match=r'90x160 images \(HxW\), got 45x80'):
        Undistortion(lens).image(np.zeros((45, 80, 3), np.uint8))
