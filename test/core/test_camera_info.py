"""CameraInfo -> lens, of the messages of both libraries: same verdict, same words.

Field_reports D11: node and training judged the same CameraInfo differently.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.typesys import Stores, get_typestore

from gausstr_core.camera.camera_info import Calibration
from gausstr_core.camera.lens import Lens

try:
    from sensor_msgs import msg as rclpy_messages
except ImportError:
    rclpy_messages = None

SIZE = (90, 160)
BENT = {'distortion_model': 'plumb_bob', 'd': [-0.25, 0.06, 0.001, -0.001, 0.0]}
ALL = (0, 0, 160, 90)
_TYPES = get_typestore(Stores.ROS2_JAZZY).types


def fields(focal: float = 100.0, roi: tuple = (0, 0, 0, 0), **others: Any) -> dict[str, Any]:
    """The fields of a CameraInfo; the principal point of 160x90 in the middle; ROS' centres."""
    k = [focal, 0.0, 79.5, 0.0, focal, 44.5, 0.0, 0.0, 1.0]
    p = [focal, 0.0, 79.5, 0.0, 0.0, focal, 44.5, 0.0, 0.0, 0.0, 1.0, 0.0]
    region = dict(zip(('x_offset', 'y_offset', 'width', 'height'), roi, strict=True))
    return {
        'height': 90, 'width': 160, 'distortion_model': '', 'd': [], 'k': k,
        'r': np.eye(3).ravel().tolist(), 'p': p, 'binning_x': 0, 'binning_y': 0,
        'roi': {**region, 'do_rectify': False}, **others,
    }  # fmt: skip


def plain(values: dict[str, Any]) -> Any:
    """Lists, and `array.array`s as rclpy's sequences without bound are."""
    roi = SimpleNamespace(**values['roi'])
    return SimpleNamespace(**{**values, 'roi': roi, 'd': array('d', values['d'])})


def of_rosbags(values: dict[str, Any]) -> Any:
    arrays = {name: np.array(values[name], np.float64) for name in 'dkrp'}
    header = _TYPES['std_msgs/msg/Header'](_TYPES['builtin_interfaces/msg/Time'](1, 2), 'A')
    roi = _TYPES['sensor_msgs/msg/RegionOfInterest'](**values['roi'])
    kind = _TYPES['sensor_msgs/msg/CameraInfo']
    return kind(**{**values, **arrays, 'roi': roi, 'header': header})


def of_rclpy(values: dict[str, Any]) -> Any:
    roi = rclpy_messages.RegionOfInterest(**values['roi'])
    return rclpy_messages.CameraInfo(**{**values, 'roi': roi})


KINDS = [plain, of_rosbags, *([of_rclpy] if rclpy_messages else [])]
every_kind = pytest.mark.parametrize('kind', KINDS)
Kind = Callable[[dict[str, Any]], Any]


def lens_of(values: dict[str, Any], size: tuple[int, int] = SIZE, **rectified: bool) -> Lens:
    """The lens that the messages of all kinds describe."""
    first, *others = (Calibration.of(kind(values), **rectified) for kind in KINDS)
    assert all(other == first and hash(other) == hash(first) for other in others)
    assert first.lens() == first.lens(size)
    return first.lens(size)


def test_intrinsics_move_by_half_a_pixel():
    lens = lens_of(fields())
    assert np.array_equal(lens.intrinsics, [[100, 0, 80], [0, 100, 45], [0, 0, 1]])
    assert lens.is_pinhole and lens.size == SIZE
    assert lens_of(fields(distortion_model='plumb_bob', d=[0.0] * 5)).is_pinhole


def test_binning_shows_the_same_rays_in_fewer_pixels():
    lens = lens_of(fields(binning_x=2, binning_y=2, **BENT), (45, 80))
    assert lens == lens_of(fields(**BENT)).resized(45, 80)
    wide = lens_of(fields(binning_x=2, binning_y=1), (90, 80))
    assert np.array_equal(wide.intrinsics, [[50, 0, 40], [0, 100, 45], [0, 0, 1]])


def test_a_sensor_that_does_not_divide_leaves_the_rest_out():
    lens = lens_of(fields(width=161, height=91, binning_x=2, binning_y=2), (45, 80))
    assert np.array_equal(lens.intrinsics, [[50, 0, 40], [0, 50, 22.5], [0, 0, 1]])


def test_a_region_that_is_all_of_the_sensor_cuts_nothing():
    assert lens_of(fields(roi=ALL, **BENT)) == lens_of(fields(**BENT))


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 40), st.integers(0, 20), st.integers(1, 3), st.integers(1, 3),
    st.floats(-0.3, 0.3), st.floats(-0.2, 0.2), st.sampled_from(KINDS),
)  # fmt: skip
def test_a_region_of_interest_cuts_and_binning_shrinks(left, top, across, down, x, y, kind):
    """A ray lands where it lands on the sensor, less the offset, over the binning."""
    whole = Calibration.of(kind(fields(**BENT))).lens(SIZE)
    roi = (left, top, 120, 66)
    info = kind(fields(roi=roi, binning_x=across, binning_y=down, **BENT))
    lens = Calibration.of(info).lens((66 // down, 120 // across))
    ray = np.array([[x, y]])
    expected = (whole.project(ray) - [left, top]) / [across, down]
    assert lens.project(ray) == pytest.approx(expected, abs=1e-9)


def test_rectified_images_are_described_by_p():
    """image_rect comes with the CameraInfo of image_raw: d is not of these pixels."""
    p = [80.0, 0.0, 70.5, 0.0, 0.0, 82.0, 40.5, 0.0, 0.0, 0.0, 1.0, 0.0]
    for r in (np.eye(3).ravel().tolist(), [0.0] * 9):
        lens = lens_of(fields(p=p, r=r, **BENT), rectified=True)
        assert lens.is_pinhole
        assert np.array_equal(lens.intrinsics, [[80, 0, 71], [0, 82, 41], [0, 0, 1]])


def test_equal_calibrations_are_one():
    """What training keys its maps by."""
    first, again = (Calibration.of(of_rosbags(fields(**BENT))) for _ in range(2))
    assert first == again and len({first, again}) == 1
    assert first != Calibration.of(of_rosbags(fields(focal=120.0, **BENT)))


@every_kind
@pytest.mark.parametrize(
    ('r', 'shift', 'expected'),
    [
        (
            [0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0],
            0.0,
            '^r must be the identity.*image_raw',
        ),
        (np.eye(3).ravel().tolist(), -40.0, '^p must have .*last column.*stereo.*image_raw'),
    ],
)
def test_rectified_images_of_a_stereo_pair_are_refused(kind: Kind, r, shift, expected):
    values = fields(r=r)
    values['p'][3] = shift
    with pytest.raises(ValueError, match=expected):
        Calibration.of(kind(values), rectified=True)
    assert Calibration.of(kind(values)).lens(SIZE).is_pinhole  # image_raw of the same camera


OF_160x90 = r'^the image has 160x90 pixels \(WxH\), but the calibration is for '


@every_kind
@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        ({'focal': 0.0}, '^expected focal lengths > 0 pixels, got fx=0 fy=0$'),
        ({'k': [0.0] * 9}, '^expected focal lengths > 0 .*fx=0.*is the camera calibrated'),
        ({'focal': float('nan')}, '^intrinsics must be finite'),
        ({'width': 80}, OF_160x90 + '80x90$'),
        ({'width': 0, 'height': 0}, OF_160x90 + '0x0$'),
        ({'binning_x': 2}, OF_160x90 + '160x90, binned by 2x1$'),
        ({'binning_x': 2**32 - 1}, OF_160x90 + '160x90, binned by 4294967295x1$'),
        ({'roi': (0, 0, 80, 90)}, OF_160x90 + '160x90, region 80x90$'),
        ({'roi': (120, 0, 80, 90)}, '^the region of interest 80x90 at 120, 0 reaches beyond'),
        ({'roi': (1, 0, 0, 0)}, '^the region of interest 160x90 at 1, 0 reaches beyond'),
        ({'distortion_model': 'fisheye', 'd': [0.1] * 4}, "must be one of .*got 'fisheye'"),
        ({'distortion_model': 'fisheye', 'd': [0.0] * 4}, "must be one of .*got 'fisheye'"),
        ({'distortion_model': 'none'}, "must be one of plumb_bob.*or empty, got 'none'"),
        ({'distortion_model': 'equidistant'}, '4 coefficients'),
        ({'distortion_model': 'plumb_bob', 'd': [float('inf')]}, 'coefficients must be finite'),
        ({'d': [0.1]}, "'' has 0 coefficients"),
    ],
)
def test_unusable_calibrations_are_refused(kind: Kind, values: dict[str, Any], expected: str):
    calibration = Calibration.of(kind(fields(**values)))
    with pytest.raises(ValueError, match=expected):
        calibration.lens(SIZE)


def test_a_calibration_without_a_size_is_refused_without_an_image_too():
    calibration = Calibration.of(of_rosbags(fields(width=0, height=0)))
    with pytest.raises(ValueError, match=r'image size must be > 0, got 0x0 \(HxW\)'):
        calibration.lens()
