"""Lenses of the field: thin prisms, tilted sensors, crops off the axis; against OpenCV's own."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from gausstr_core.camera.camera_info import Calibration
from gausstr_core.camera.lens import EQUIDISTANT, PLUMB_BOB, RATIONAL, Lens
from gausstr_core.camera.undistortion import WIDEST, Undistortion

SIZE = (90, 160)
SENSOR = (360, 640)
EIGHT = (0.3, 0.02, 1e-3, -5e-4, 0.001, 0.5, 0.1, 0.005)
FOURTEEN = (*EIGHT, 2e-3, -1e-3, 1.5e-3, 5e-4, 0.02, -0.03)
FIVE = (-0.2, 0.03, 1e-3, -5e-4, 0.0)


def near(value: float, spread: float) -> st.SearchStrategy[float]:
    return st.floats(value - spread, value + spread, allow_subnormal=False)


@st.composite
def coefficients(draw: st.DrawFn) -> tuple[str, tuple[float, ...]]:
    """Model and coefficients, as many as OpenCV knows, under either name."""
    count = draw(st.sampled_from([4, 5, 8, 12, 14]))
    model = draw(st.sampled_from([PLUMB_BOB, RATIONAL]))
    if count <= 5:
        radial = [near(-0.1, 0.15), near(0.02, 0.03)]
        values = [*radial, near(0, 0.003), near(0, 0.003), near(0, 0.01)]
    else:
        values = [near(0.3, 0.2), near(0, 0.05), near(0, 0.003), near(0, 0.003), near(0, 0.01)]
        values += [near(0.5, 0.2), near(0.1, 0.05), near(0, 0.01)]
        values += [near(0, 0.01)] * 4 + [near(0, 0.1)] * 2
    return model, tuple(draw(value) for value in values[:count])


def matrix_of(lens: Lens) -> np.ndarray:
    """As OpenCV counts pixels."""
    (fx, fy), (cx, cy) = lens.focal, lens.center
    return np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]])


def by_opencv(lens: Lens, rays: np.ndarray, sent: tuple[float, ...] | None = None) -> np.ndarray:
    """Where OpenCV projects rays [P, 2] to; pixel centres at +0.5."""
    points = np.concatenate([rays, np.ones((len(rays), 1))], 1)[:, None]
    values = np.array(lens.coefficients if sent is None else sent)
    if lens.model == EQUIDISTANT:
        found = cv2.fisheye.projectPoints(
            points, np.zeros(3), np.zeros(3), matrix_of(lens), values
        )[0]
    else:
        found = cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix_of(lens), values)[0]
    return found.reshape(-1, 2) + 0.5


def pixel_centres(size: tuple[int, int]) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.stack([columns, rows], -1).reshape(-1, 2) + 0.5


def assert_shows_its_rays(lens: Lens) -> Undistortion:
    """Each pixel of the pinhole shows what the lens saw along its ray, by OpenCV's projection."""
    undistortion = Undistortion(lens)
    rows, columns = np.mgrid[: lens.size[0], : lens.size[1]]
    matrix = undistortion.intrinsics
    rays = (pixel_centres(lens.size) - matrix[:2, 2]) / np.diag(matrix)[:2]
    expected = by_opencv(lens, rays)
    assert (expected >= 0.49).all()
    assert (expected <= np.array(lens.size[::-1]) - 0.49).all()
    for image, place in ((columns, expected[:, 0]), (rows, expected[:, 1])):
        shown = undistortion.depth(image.astype(np.float32)).ravel()
        assert np.abs(shown - (place - 0.5)).max() <= 0.51
    assert np.degrees(np.arctan(np.hypot(*rays.T))).max() <= WIDEST + 0.01
    return undistortion


@settings(deadline=None, max_examples=150)
@given(coefficients(), st.lists(st.tuples(near(0, 0.5), near(0, 0.4)), min_size=1, max_size=20))
@example((PLUMB_BOB, EIGHT), [(0.6, 0.45)])
@example((RATIONAL, FOURTEEN[:12]), [(0.6, 0.45)])
@example((RATIONAL, FOURTEEN), [(0.6, 0.45)])
@example((PLUMB_BOB, FOURTEEN), [(0.6, 0.45)])
def test_points_land_where_opencv_projects_them(sent: tuple, directions: list) -> None:
    """field_reports R19: rtabmap PR 1560, Orbbec 216, t4-devkit PR 207."""
    lens = Lens(*sent, (100.0, 103.0), (78.0, 46.0), SIZE)
    rays = np.array(directions, np.float64)
    assert lens.project(rays) == pytest.approx(by_opencv(lens, rays, sent[1]), abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(coefficients(), st.floats(80, 300))
@example((RATIONAL, FOURTEEN), 100.0)
def test_images_of_all_of_them_are_undone(sent: tuple, focal: float) -> None:
    assert_shows_its_rays(Lens(*sent, (focal, focal), (80.0, 45.0), SIZE))


@pytest.mark.parametrize('model', [PLUMB_BOB, RATIONAL])
@pytest.mark.parametrize('count', [8, 12, 14])
def test_zeros_at_the_end_say_nothing(model: str, count: int) -> None:
    short = Lens(model, FIVE, (100.0, 100.0), (80.0, 45.0), SIZE)
    padded = Lens(model, (*FIVE, *[0.0] * (count - 5)), (100.0, 100.0), (80.0, 45.0), SIZE)
    assert short == padded and hash(short) == hash(padded)


def test_a_thin_prism_that_folds_and_a_sensor_on_edge_show_nothing_twice() -> None:
    """x = r - 0.4 r^2 turns back at r = 1.25."""
    prism = Lens(RATIONAL, (*[0.0] * 8, -0.4, 0.0, 0.0, 0.0), (50.0, 50.0), (80.0, 45.0), SIZE)
    assert prism.reach(3.0) == pytest.approx(1.25, rel=0.01)
    assert_shows_its_rays(prism)
    tilted = Lens(RATIONAL, (*[0.0] * 12, 0.0, 1.0), (50.0, 50.0), (80.0, 45.0), SIZE)
    assert tilted.reach(3.0) == pytest.approx(1 / np.tan(1.0), rel=0.01)


@pytest.mark.parametrize(
    ('model', 'sent', 'expected'),
    [
        (PLUMB_BOB, (0.1,) * 6, r"'plumb_bob' has 5 or 8 or 12 or 14 coefficients, got \[0.1"),
        (PLUMB_BOB, (0.1,) * 13, '5 or 8 or 12 or 14'),
        (RATIONAL, (0.1,) * 9, r"'rational_polynomial' has 8 or 12 or 14 coefficients, got"),
        (RATIONAL, (0.1,) * 15, '8 or 12 or 14'),
        (EQUIDISTANT, (0.1,) * 5, "'equidistant' has 4 coefficients, got"),
        (EQUIDISTANT, (0.1,) * 8, "'equidistant' has 4 coefficients, got"),
        (EQUIDISTANT, (), "'equidistant' has 4 coefficients, got"),
        ('fisheye', (0.1,) * 4, "one of plumb_bob.*got 'fisheye'"),
        ('thin_prism', FOURTEEN, "one of plumb_bob.*got 'thin_prism'"),
    ],
)
def test_what_stays_refused_says_so(model: str, sent: tuple, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        Lens(model, sent, (100.0, 100.0), (80.0, 45.0), SIZE)


def info(model: str, d: tuple, region: tuple[int, int, int, int], **others) -> SimpleNamespace:
    """A CameraInfo of the whole sensor, principal point in its middle; region x, y, w, h."""
    height, width = SENSOR
    k = [400.0, 0, width / 2 - 0.5, 0, 400.0, height / 2 - 0.5, 0, 0, 1]
    roi = SimpleNamespace(
        x_offset=region[0], y_offset=region[1], width=region[2], height=region[3]
    )
    fields = {
        'height': height, 'width': width, 'distortion_model': model, 'd': list(d), 'k': k,
        'r': [1.0, 0, 0, 0, 1, 0, 0, 0, 1], 'binning_x': 1, 'binning_y': 1, 'roi': roi,
        'p': [400.0, 0, 319.5, 0, 0, 400.0, 179.5, 0, 0, 0, 1, 0],
    }  # fmt: skip
    return SimpleNamespace(**{**fields, **others})


LENSES = [
    (PLUMB_BOB, FIVE), (RATIONAL, EIGHT), (RATIONAL, FOURTEEN), (EQUIDISTANT, (0.02, 0, 0, 0)),
]  # fmt: skip


@settings(deadline=None, max_examples=80)
@given(st.sampled_from(LENSES), st.integers(0, 540), st.integers(0, 290), st.sampled_from([1, 2]))
@example(LENSES[0], 500, 10, 1)
@example(LENSES[3], 0, 290, 2)
def test_a_crop_without_the_principal_point_is_undone(
    sent: tuple, left: int, top: int, binning: int
) -> None:
    """field_reports R13: it was refused as 'no pinhole sees ...: is it calibrated?'."""
    region = (left, top, 100, 70)
    message = info(*sent, region, binning_x=binning, binning_y=binning)
    lens = Calibration.of(message).lens((70 // binning, 100 // binning))
    inside = (np.array(lens.center) >= 0.5).all()
    inside &= (np.array(lens.center) <= np.array(lens.size[::-1]) - 0.5).all()
    assume(not inside)
    undistortion = assert_shows_its_rays(lens)
    assert np.isfinite(undistortion.intrinsics).all()
    # the middle stays about where it was, and most of the crop is kept
    middle = np.array(lens.size[::-1]) / 2
    matrix = undistortion.intrinsics
    ray = (middle - matrix[:2, 2]) / np.diag(matrix)[:2]
    assert by_opencv(lens, ray[None])[0] == pytest.approx(middle, abs=0.1)
    shown = by_opencv(lens, (_corners(lens.size) - matrix[:2, 2]) / np.diag(matrix)[:2])
    assert np.ptp(shown, axis=0).min() > 0.6 * min(lens.size)


def _corners(size: tuple[int, int]) -> np.ndarray:
    return np.array([(x, y) for x in (0.5, size[1] - 0.5) for y in (0.5, size[0] - 0.5)])


@pytest.mark.parametrize('sent', [*LENSES, (PLUMB_BOB, (0.2, 0.05, 2e-3, -2e-3, 0.0))])
@pytest.mark.parametrize(
    'center', [(0.5, 0.5), (0.6, 69.4), (99.0, 1.0), (1.0, 35.0), (50.0, 69.2), (101.0, 35.0)]
)
def test_a_principal_point_at_the_rim_costs_no_zoom(sent: tuple, center: tuple) -> None:
    """The sibling: a zoom about it was 15-fold, or none was found."""
    lens = Lens(*sent, (80.0, 80.0), center, (70, 100))
    assert assert_shows_its_rays(lens).intrinsics[0, 0] < 80 * 1.8


def test_a_crop_with_the_principal_point_is_zoomed_about_it_as_before() -> None:
    lens = Calibration.of(info(PLUMB_BOB, FIVE, (300, 170, 100, 70))).lens((70, 100))
    assert Undistortion(lens).pinhole.center == lens.center == (20.0, 10.0)


def test_a_crop_of_what_no_ray_reaches_is_refused() -> None:
    """A lens of -0.6 turns back at 0.5 focal lengths; the crop begins at 0.6."""
    lens = Calibration.of(info(PLUMB_BOB, (-0.6,), (560, 150, 80, 60))).lens((60, 80))
    with pytest.raises(ValueError, match=r'no pinhole sees .*is it calibrated'):
        Undistortion(lens)


@pytest.mark.parametrize(
    ('p', 'expected'),
    [
        ([0.0] * 12, 'p describes the images that are rectified: .*fx=0 fy=0.*rectified: false'),
        ([0.0, 0, 9, 0, 0, 50, 9, 0, 0, 0, 1, 0], 'p describes .*of the form|p describes .*fx=0'),
        ([float('nan'), 0, 9, 0, 0, 50, 9, 0, 0, 0, 1, 0], 'p describes .*finite'),
        ([50.0, 0, 9, 0, 0, 50, 9, 0, 0, 0, 0, 0], 'p describes .*of the form'),
    ],
)
def test_a_p_that_is_none_is_blamed_and_not_k(p: list, expected: str) -> None:
    """field_reports R22: spinnaker PR 17."""
    message = info(PLUMB_BOB, FIVE, (0, 0, 0, 0), p=p)
    with pytest.raises(ValueError, match=expected) as caught:
        Calibration.of(message, rectified=True)
    assert 'is the camera calibrated' not in str(caught.value)
    assert not Calibration.of(message).lens(SENSOR).is_pinhole
