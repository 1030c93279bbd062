"""Which CameraInfo an image goes with, and its view as a pinhole would give it."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('rclpy')

import cv2
from image_messages import camera_info, encoded, raw

from gausstr_core.camera.undistortion import Undistorter
from gausstr_ros.cycle.pinhole_views import pinhole_view
from gausstr_ros.listening.calibrations import LOST_INFOS, Calibrations
from gausstr_ros.listening.depth_pairing import DepthPairing, Shot
from gausstr_ros.messages.stamps import header_message

SIZE = (90, 160)
BENT = {'distortion_model': 'plumb_bob', 'd': [-0.25, 0.06, 0.001, -0.001, 0.0]}


def grid_image():
    """An RGB image that shows in red and green where each pixel is."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.uint8)
    return np.stack([columns, rows, np.zeros_like(rows)], -1)


@pytest.mark.parametrize(
    ('fields', 'rectified', 'expected'),
    [
        ({'width': 80}, False, r'the image has 160x90 pixels \(WxH\), .* is for 80x90'),
        ({'distortion_model': 'fisheye', 'd': [0.0] * 4}, False, "model must be .*got 'fisheye'"),
        ({'r': np.diag([1.0, -1.0, -1.0]).ravel()}, True, 'r must be the identity'),
    ],
)
def test_an_unusable_calibration_names_the_camera(fields, rectified, expected):
    shot = Shot(raw(grid_image(), 'rgb8'))
    with pytest.raises(ValueError, match=f'^camera A: CameraInfo: .*{expected}'):
        pinhole_view('A', shot, camera_info(**fields), Undistorter(), rectified=rectified)


@pytest.mark.parametrize(
    'bent',
    [
        BENT,
        {
            'distortion_model': 'rational_polynomial',
            'd': [0.3, 0.02, 1e-3, 0.0, 0.0, 0.6, 0.1, 0.0],
        },
        {'distortion_model': 'equidistant', 'd': [0.02, -0.003, 0.001, 0.0]},
    ],
)
def test_a_distorted_image_becomes_that_of_a_pinhole(bent):
    """Found here: CameraInfo.d was ignored. Points in space, projected by OpenCV into the image
    and by the view's intrinsics into the view, have the same colour in both."""
    info = camera_info(**bent)
    depth = grid_image()[..., 0].astype(np.float32) + 1
    shot = Shot(raw(grid_image(), 'rgb8'), raw(depth, '32FC1'))
    view = pinhole_view('A', shot, info, Undistorter())
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(-0.4, 0.4, (300, 2)), np.ones((300, 1))], 1)
    points *= rng.uniform(1, 30, (300, 1))
    zero, matrix, coefficients = np.zeros(3), np.reshape(info.k, (3, 3)), np.array(info.d)
    if info.distortion_model == 'equidistant':
        seen = cv2.fisheye.projectPoints(points[:, None], zero, zero, matrix, coefficients)[0]
    else:
        seen = cv2.projectPoints(points, zero, zero, matrix, coefficients)[0]
    seen = seen.reshape(-1, 2)
    at = points @ view.intrinsics.T
    at = np.floor(at[:, :2] / at[:, 2:]).astype(int)
    inside = ((at >= 0) & (at < SIZE[::-1])).all(1)
    assert inside.sum() > 100
    column, row = at[inside].T
    shown = view.image[row, column, :2].astype(float)
    assert np.abs(shown - seen[inside]).max() < 2  # a pixel of the view, a grey level
    assert np.abs(view.depth[row, column] - 1 - seen[inside][:, 0]).max() < 2
    straight = points @ matrix.T
    assert np.abs(straight[:, :2] / straight[:, 2:] - seen).max() > 2.5  # as it was taken before


def test_an_undistorted_image_is_not_touched():
    shot = Shot(raw(grid_image(), 'rgb8', pad=5))
    view = pinhole_view('A', shot, camera_info(), Undistorter())
    assert np.array_equal(view.image, grid_image()) and view.image.flags.c_contiguous
    assert view.depth is None
    rectified = pinhole_view('A', shot, camera_info(**BENT), Undistorter(), rectified=True)
    assert np.array_equal(rectified.image, grid_image())


def test_depth_is_native_and_contiguous():
    depth = raw(np.ones((9, 16), np.float32), '32FC1', pad=4, bigendian=True)
    view = pinhole_view('A', Shot(raw(grid_image(), 'rgb8'), depth), camera_info(), Undistorter())
    assert view.depth.dtype.isnative and view.depth.flags.c_contiguous
    assert (view.depth == 1).all()


def test_a_changed_calibration_counts_from_its_image_on():
    undistorter = Undistorter()
    shot = Shot(raw(grid_image(), 'rgb8'))
    first = pinhole_view('A', shot, camera_info(**BENT), undistorter)
    again = pinhole_view('A', shot, camera_info(focal=120.0, **BENT), undistorter)
    back = pinhole_view('A', shot, camera_info(**BENT), undistorter)
    assert again.intrinsics[0, 0] > first.intrinsics[0, 0]
    assert np.array_equal(back.image, first.image)
    small = Shot(encoded(np.zeros((45, 80, 3), np.uint8), 'jpg', 'jpeg'))
    with pytest.raises(ValueError, match=r'camera A: .*80x45.*160x90'):
        pinhole_view('A', small, camera_info(**BENT), undistorter)
    view = pinhole_view('A', small, camera_info(80, 45, **BENT), undistorter)
    assert view.image.shape == (45, 80, 3)


def at(stamp, **fields):
    return camera_info(header=header_message(stamp, 'A'), **fields)


def test_the_calibration_of_an_image_has_its_stamp_or_is_the_last_before_it():
    known = Calibrations()
    assert known.at(5) is None
    for stamp in (10, 20, 40):
        known.add(at(stamp, focal=float(stamp)))
    assert [known.at(stamp).k[0] for stamp in (50, 25, 5, 20, 10, 40)] == [40, 20, 10, 20, 10, 40]


def test_a_calibration_that_comes_with_each_image_is_waited_for():
    """Found here: the first image of another resolution came before its CameraInfo."""
    known = Calibrations()
    known.heard(10)
    known.add(at(10))
    known.heard(20)
    assert known.at(20) is None
    known.add(at(20, focal=7.0))
    assert known.at(20).k[0] == 7


def test_a_camera_that_stops_to_send_calibrations_keeps_the_last_one():
    known = Calibrations()
    known.add(at(0, focal=7.0))
    answers = []
    for stamp in range(0, 200, 10):
        known.heard(stamp)
        answers.append(known.at(stamp))
    assert answers.count(None) == LOST_INFOS
    assert all(answer.k[0] == 7 for answer in answers[LOST_INFOS + 1 :])


def test_a_lost_calibration_is_not_waited_for_once_the_next_one_is_there():
    known = Calibrations()
    known.add(at(10, focal=7.0))
    for stamp in (10, 20, 30):
        known.heard(stamp)
    assert known.at(10) is not None and known.at(20) is None
    known.add(at(30))
    assert known.at(20).k[0] == 7


def test_a_calibration_that_was_sent_once_holds_for_every_image():
    known = Calibrations()
    known.add(at(3, focal=7.0))
    for stamp in range(10, 400, 10):
        known.heard(stamp)
        assert known.at(stamp).k[0] == 7


def test_the_calibration_of_an_image_does_not_depend_on_who_asked_before():
    """Images are asked for as they come or with their set; some of them never."""
    known = Calibrations()
    for stamp in (10, 20):
        known.heard(stamp)
        known.add(at(stamp))
    known.heard(30)
    assert known.at(30) is None
    known.add(at(30, focal=7.0))
    assert known.at(30).k[0] == 7


def stamped(stamp):
    message = raw(np.zeros((1, 1), np.uint8), 'mono8')
    message.header = header_message(stamp, 'A')
    return message


def test_depth_pairs_after_the_clock_has_gone_back():
    """Found here: what was left of later stamps pushed every earlier image out."""
    pairing = DepthPairing(limit=4)
    for stamp in range(100, 110):
        assert pairing.add_image(stamped(stamp)) is None
    for stamp in range(10):
        assert pairing.add_image(stamped(stamp)) is None
        shot = pairing.add_depth(stamped(stamp))
        assert shot is not None
    for stamp in range(200, 210):
        assert pairing.add_depth(stamped(stamp)) is None
    for stamp in range(10):
        assert pairing.add_depth(stamped(stamp)) is None
        assert pairing.add_image(stamped(stamp)) is not None
