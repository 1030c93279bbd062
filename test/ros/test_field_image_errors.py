"""Whatever fails while one camera's image is read costs that camera; memory is nobody's fault."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip('rclpy')

from bag_files import write_bag_of_drive
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from image_messages import camera_info, encoded
from rclpy.serialization import deserialize_message
from rosbags.rosbag2 import Reader

from gausstr_core.camera import undistortion
from gausstr_ros.cycle import pinhole_views
from gausstr_ros.cycle.build import build_pipeline
from gausstr_ros.cycle.steps import encode_images
from gausstr_ros.listening.depth_pairing import Shot
from gausstr_ros.listening.rig_source import ImageInputs
from gausstr_ros.replay.command import main
from gausstr_ros.settings.settings import read_settings

pytestmark = pytest.mark.ros
GRID = '/gausstr/occupancy_grid'
BENT = [-0.25, 0.06, 0.001, -0.001, 0.0]
SMALL = {'preset': 'tiny', 'weights': 'untrained', 'threads': 1}


def opencv(code: int) -> cv2.error:
    error = cv2.error('OpenCV(4) remap.cpp:1:\nerror: it went wrong\n')
    error.code = code
    return error


FAULTS = [
    opencv(cv2.Error.StsAssert),
    cv2.error('no code at all'),
    RuntimeError('a decoder is upset'),
    OverflowError('too large'),
    KeyError('bgr9'),
    StopIteration(),
]
NO_MEMORY = [MemoryError(), torch.OutOfMemoryError('CUDA out of memory'), opencv(-4)]


@pytest.fixture
def fail(monkeypatch):
    """Let the work on images fail: of `where`, that of one camera only."""

    def fail(error: Exception, where: str) -> None:
        def work(*_, **__):
            raise error

        def read(message):
            if message.header.frame_id == 'CAM_B':
                raise error
            return whole(message)

        whole = pinhole_views.rgb_image
        if where == 'undistorted':  # the others have no distortion
            monkeypatch.setattr(undistortion.cv2, 'remap', work)
        else:
            monkeypatch.setattr(pinhole_views, 'rgb_image', read)

    return fail


def images():
    """Three cameras, of which CAM_B has a lens that bends."""
    pixels = np.random.default_rng(0).integers(0, 255, (90, 160, 3), np.uint8)
    found = {}
    for camera in ('CAM_A', 'CAM_B', 'CAM_C'):
        shot = Shot(encoded(pixels, 'jpg', 'jpeg'))
        shot.image.header.frame_id = camera
        lens = {'distortion_model': 'plumb_bob', 'd': BENT if camera == 'CAM_B' else [0.0] * 5}
        mount = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]], float)
        found[camera] = shot, ImageInputs(camera_info(**lens), mount)
    return found


@pytest.fixture(scope='module')
def pipeline():
    return build_pipeline(read_settings(SMALL))


@pytest.mark.parametrize('where', ['read', 'undistorted'])
@pytest.mark.parametrize('error', FAULTS, ids=lambda error: f'{type(error).__name__}')
def test_an_error_of_a_library_costs_its_camera(pipeline, fail, error, where):
    """field_reports R14: the whole set was lost."""
    fail(error, where)
    parts = encode_images(pipeline, images(), measured_depth=False)
    assert parts['CAM_A'].encoded is not None and parts['CAM_C'].encoded is not None
    assert parts['CAM_B'].encoded is None
    assert parts['CAM_B'].fault.startswith(f'camera CAM_B: {type(error).__name__}')
    assert '\n' not in parts['CAM_B'].fault


@pytest.mark.parametrize('where', ['read', 'undistorted'])
@pytest.mark.parametrize('error', NO_MEMORY, ids=lambda error: f'{type(error).__name__}')
def test_a_machine_without_memory_blames_no_camera(pipeline, fail, error, where):
    """field_reports R14; OpenCV says it by a code of its own error."""
    fail(error, where)
    with pytest.raises((MemoryError, torch.OutOfMemoryError)):
        encode_images(pipeline, images(), measured_depth=False)


def bent(tester):
    info = tester.camera_info()
    info.d = BENT
    return {'CAM_B': info}


def test_the_node_maps_without_the_camera_that_opencv_fails_at(start, tester, fail):
    """field_reports R14."""
    start()
    fail(opencv(cv2.Error.StsAssert), 'undistorted')
    for index in range(3):
        stamp = tester.play_set(index, infos=bent(tester))
        tester.wait(lambda s=stamp: s in tester.stamps(GRID), what='map without CAM_B')
    tester.wait(
        lambda: (
            (s := tester.status('CAM_B')).level == DiagnosticStatus.ERROR
            and 'camera CAM_B: error: OpenCV' in s.message
        ),
        what='reason',
    )
    assert not [text for text in tester.texts() if text.startswith('sets dropped')]


def test_the_node_drops_the_set_where_there_is_no_memory(start, tester, fail):
    """field_reports R14: no camera is called broken for it."""
    start()
    fail(MemoryError('no 8 GiB'), 'undistorted')
    tester.play_set(0, infos=bent(tester))
    tester.wait_for_text('sets dropped: failure in the pipeline=1')
    tester.wait_for_text('MemoryError: no 8 GiB')
    assert not [text for text in tester.texts() if 'cannot be used' in text]


def test_a_replay_maps_without_the_camera_that_opencv_fails_at(tmp_path, monkeypatch):
    """field_reports R14, in gausstr-replay."""
    write_bag_of_drive(tmp_path / 'bag', 2)
    whole = pinhole_views.rgb_image

    def read(message):
        if message.header.frame_id == 'CAM_BACK':
            raise cv2.error('it went wrong')
        return whole(message)

    monkeypatch.setattr(pinhole_views, 'rgb_image', read)
    parameters = tmp_path / 'parameters.yaml'
    parameters.write_text(
        '/**: {ros__parameters: {preset: tiny, weights: untrained, threads: 1, '
        'grid.range: [-20.0, -20.0, -1.0, 20.0, 20.0, 5.4]}}'
    )
    target = tmp_path / 'mapped'
    main([str(tmp_path / 'bag'), str(target), '--params-file', str(parameters)])
    with Reader(target) as reader:
        raws = [raw for c, _, raw in reader.messages() if c.topic == '/diagnostics']
    last = deserialize_message(bytes(raws[-1]), DiagnosticArray).status
    shown = {status.name: status for status in last}
    values = {pair.key: pair.value for pair in shown['gausstr: pipeline'].values}
    assert values['sets partial'] == '2'
    assert shown['gausstr: CAM_BACK'].message == 'camera CAM_BACK: error: it went wrong'
    assert shown['gausstr: CAM_FRONT'].level == DiagnosticStatus.OK
