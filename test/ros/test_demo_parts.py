"""The demo's processes, player, recorder and results."""

from __future__ import annotations

import json
import os
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from gausstr_core.contracts import Occupancy, VoxelGrid
from gausstr_core.stamps import nanoseconds
from gausstr_core.vocabulary.vocabulary import Category
from gausstr_ros.demo import bag_player
from gausstr_ros.demo.bag_player import header_stamp
from gausstr_ros.demo.command import main
from gausstr_ros.demo.drive import Drive, TrueFrame
from gausstr_ros.demo.processes import Child, DemoError, free_domain
from gausstr_ros.demo.recorder import Recorder
from gausstr_ros.demo.result import Frame, Words, score, voxel_labels
from gausstr_ros.messages.grids_and_clouds import voxel_cloud
from gausstr_ros.messages.stamps import header_message

pytestmark = pytest.mark.ros

CATEGORIES = (
    Category('road', ('road',), (128, 64, 128), 'ground'),
    Category('car', ('car',), (0, 100, 230), 'object'),
)
WORDS = Words('abc', ('road', 'car'), np.array([c.color for c in CATEGORIES], np.uint8))


@settings(deadline=None)
@given(stamp=st.integers(0, 2**31 * 10**9 - 1), frame=st.text('abc/', max_size=9))
def test_the_stamp_is_read_from_the_bytes(stamp, frame):
    raw = serialize_message(CompressedImage(header=header_message(stamp, frame), data=b'x'))
    assert header_stamp(raw) == stamp


def published(labels):
    """The cloud that the node would publish for [X, Y, Z] labels."""
    labels = torch.as_tensor(labels)
    seen = torch.ones_like(labels, dtype=torch.bool)
    occupancy = Occupancy(VoxelGrid(), seen.float(), labels, seen.float(), seen)
    return voxel_cloud(occupancy, CATEGORIES, Header())


def test_labels_come_back_from_the_cloud():
    rng = np.random.default_rng(0)
    labels = np.where(rng.random((200, 200, 16)) < 0.02, rng.integers(0, 2, (200, 200, 16)), -1)
    np.testing.assert_array_equal(voxel_labels(published(labels), WORDS), labels)


def test_a_cloud_in_other_words_is_refused():
    labels = np.full((200, 200, 16), -1)
    labels[3, 4, 5] = 1
    cloud = published(labels)
    with pytest.raises(DemoError, match='expected the colours of vocabulary abc'):
        voxel_labels(cloud, Words('abc', WORDS.names, WORDS.colors[::-1]))
    with pytest.raises(DemoError, match=r'expected labels below 1 \(road\), got 1'):
        voxel_labels(cloud, Words('abc', ('road',), WORDS.colors[:1]))


def test_the_score_by_hand():
    true, ours = np.full((2, 2, 2), -1, np.int16), np.full((2, 2, 2), -1, np.int16)
    true[0, 0], ours[0, 0] = (1, 0), (0, 0)  # car, road in the truth's classes; ours all cars
    true[1, 1, 1] = 0  # unseen: does not count
    ours[0, 1, 0] = 1
    mask = np.ones((2, 2, 2), bool)
    mask[1, 1, 1] = False
    words = Words('x', ('car', 'road'), WORDS.colors)
    frame = Frame(
        TrueFrame(0, {}, true, mask), words, ours, np.zeros((2, 2), np.int8), {}, {}, 0, 0
    )
    iou, miou = score([frame], ('road', 'car'))
    assert iou == pytest.approx(100 * 2 / 3)
    assert miou == pytest.approx(100 * (0 + 1 / 2) / 2)


def test_a_child_that_fails_is_quoted(tmp_path):
    child = Child('player', ['gausstr_ros.demo.bag_player', str(tmp_path / 'nowhere')], tmp_path)
    expected = r'player ended with status 1; [\s\S]*nowhere does not exist'
    with pytest.raises(DemoError, match=expected):
        child.wait(60)
    with pytest.raises(DemoError, match='ended with status 1'):
        child.check()


def test_stopping_ends_a_child_that_does_not_listen(tmp_path):
    (tmp_path / 'deaf.py').write_text(
        'import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n'
        "print('up')\ntime.sleep(600)\n"
    )
    before = os.environ.get('PYTHONPATH', '')
    os.environ['PYTHONPATH'] = f'{tmp_path}:{before}'
    try:
        child = Child('deaf', ['deaf'], tmp_path)
    finally:
        os.environ['PYTHONPATH'] = before
    end = time.monotonic() + 20
    while 'up' not in child.log.read_text() and time.monotonic() < end:
        time.sleep(0.01)
    child.stop(patience=0.3)
    with pytest.raises(DemoError, match='deaf ended'):
        child.check()


def test_a_free_domain_is_one_that_fits_a_port():
    assert 1 <= free_domain() <= 99


def test_silence_is_named(ros):
    recorder = Recorder(['CAM_A'])
    try:
        with pytest.raises(DemoError, match=r'no .*/gausstr/voxels .*\(waited 0.2 s\)'):
            recorder.wait(
                recorder.ready, 0.2, lambda: f'no {", ".join(recorder.silent())}', lambda: None
            )
        assert '/gausstr/CAM_A/depth (sensor_msgs/msg/Image)' in recorder.silent()
    finally:
        recorder.close()


@pytest.fixture(scope='module')
def street(tmp_path_factory):
    """A drive of four small frames."""
    from gausstr_training.synthesize import main as synthesize

    folder = tmp_path_factory.mktemp('demo') / 'drive'
    synthesize(['--seed', '9000', '--frames', '4', '--size', '96x54', '--output', str(folder)])
    return folder


def test_the_player_waits_for_readers_and_changes_no_byte(street, tester, tmp_path):
    drive = Drive.read(street)
    topic = '/CAM_BACK/image_raw/compressed'
    tester.listen(topic, CompressedImage)
    report = tmp_path / 'sent.json'
    alone = SimpleNamespace(bag=drive.bag, rate=4.0, timeout=0.2, report=report, hold=False)
    with pytest.raises(ValueError, match=r'nobody subscribed within 0.2 s to .*/tf'):
        bag_player.play_bag(alone)
    assert not report.exists() and not tester.heard[topic]

    from sensor_msgs.msg import CameraInfo
    from tf2_msgs.msg import TFMessage

    for camera in drive.cameras:
        tester.listen(f'/{camera}/camera_info', CameraInfo)
        if camera != 'CAM_BACK':
            tester.listen(f'/{camera}/image_raw/compressed', CompressedImage)
    for name in ('/tf', '/tf_static'):
        tester.listen(name, TFMessage)
    alone.timeout = 20.0
    bag_player.play_bag(alone)
    tester.wait(lambda: len(tester.heard[topic]) == 4, what='four images')
    images = drive.images()
    for frame, message in zip(drive.frames, tester.heard[topic], strict=True):
        assert nanoseconds(message.header.stamp) == frame.image_stamps['CAM_BACK']
        assert images['CAM_BACK', nanoseconds(message.header.stamp)].shape == (54, 96, 3)
    times = json.loads(report.read_text())
    assert len(times) == 4 * len(drive.cameras)
    spread = max(when for _, _, when in times) - min(when for _, _, when in times)
    assert spread > 1.5 / alone.rate * 0.9  # the rhythm of the bag


def test_a_folder_that_is_no_drive_is_named(tmp_path):
    with pytest.raises(ValueError, match='is no drive of gausstr-synthesize'):
        Drive.read(tmp_path)


def test_mistakes_end_the_demo_before_it_starts(tmp_path):
    with pytest.raises(
        SystemExit, match=r'gausstr-demo: .*no file of weights at nowhere\.safetensors'
    ):
        main(['--output', str(tmp_path), '--weights', 'nowhere.safetensors'])
