"""Preset surface in the node, over DDS: small files in the published formats."""

from __future__ import annotations

import foundation_files as files
import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip('rclpy')
pytest.importorskip('open_clip')

from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import Image

from gausstr_core.foundation.exported import write_exported
from gausstr_core.foundation.released import exportable
from gausstr_ros.messages.images import image_message
from gausstr_ros.messages.stamps import header_message

GRID = '/gausstr/occupancy_grid'
PUBLISHED = {'preset': 'surface', 'weights': '', 'depth_source': 'topic', 'input_size': [32, 64]}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return files.write_tiny_surface(tmp_path_factory.mktemp('published'))


@pytest.mark.parametrize('engine', ['torch', 'onnxruntime'])
def test_measured_depth_is_mapped_without_a_depth_network(
    folder, tmp_path, start_node, tester, engine
):
    """Its first run, too, has none: a node with depth from topics did not configure."""
    pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    files.write_clip(tmp_path)
    if engine == 'onnxruntime':
        write_exported(*exportable('maskclip', tmp_path, (32, 64)), tmp_path)
    tester.listen(GRID, OccupancyGrid)
    node = start_node(**PUBLISHED, engine=engine, weights_folder=str(tmp_path))
    depths = {camera: tester.publisher(Image, f'/{camera}/depth') for camera in tester.cameras}
    tester.wait_matched()
    tester.wait(lambda: all(p.get_subscription_count() for p in depths.values()), what='depth')
    tester.play_transforms()
    for number, (camera, publisher) in enumerate(depths.items()):
        header = header_message(tester.start + number * 5_000_000, camera)
        publisher.publish(image_message(np.full((90, 160), 5.0, np.float32), '32FC1', header))
    stamp = tester.play_set(0)
    tester.wait(lambda: stamp in tester.stamps(GRID), what='map')
    cells = np.array(tester.heard[GRID][0].data)
    assert (cells > 0).any() and node.fault == ''


@pytest.mark.parametrize(
    ('wrong', 'named'),
    [
        ({'engine': 'onnxruntime'}, ['maskclip_32x64.onnx', 'gausstr-export maskclip']),
        ({'input_size': [30, 64]}, ['input_size', 'multiples of 16', '[32, 64]']),
        ({'features': 'talk2dino'}, ['input_size', 'multiples of 14']),
        ({'weights': 'mine.safetensors'}, ['has no checkpoint', 'mine.safetensors']),
        ({'preset': 'compact', 'features': 'maskclip', 'input_size': [0, 0]}, ['features']),
        ({'depth_source': 'model', 'depth_size': [100, 200]}, ['depth_size', 'multiples of 28']),
    ],
)
def test_what_cannot_be_is_named_and_the_node_stays(folder, start_node, wrong, named):
    node = start_node(activate=False, **{**PUBLISHED, 'weights_folder': str(folder), **wrong})
    node.trigger_configure()
    assert all(words in node.fault for words in named), node.fault
