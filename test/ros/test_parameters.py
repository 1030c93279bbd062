"""The table of parameters, and the shipped files that speak of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip('rclpy')

from node_graph import active_node
from rclpy.parameter import Parameter

from gausstr_core.contracts import VoxelGrid
from gausstr_core.surface_preset import NetworkOptions
from gausstr_ros.sets.synchroniser import Synchroniser
from gausstr_ros.settings.parameters import CAMERA_PARAMETERS, PARAMETERS
from gausstr_ros.settings.settings import read_settings
from gausstr_ros.transport import VARIABLES, use_shared_memory_profile

ROOT = Path(__file__).parents[2]


def test_defaults_are_those_of_the_core_and_of_the_documented_topics():
    settings = read_settings({})
    assert settings.grid == VoxelGrid()
    front = settings.cameras[0]
    assert front.image_topic == '/CAM_FRONT/image_raw/compressed'
    assert front.camera_info_topic == '/CAM_FRONT/camera_info'
    assert read_settings({'image_transport': 'raw'}).cameras[0].image_topic == (
        '/CAM_FRONT/image_raw'
    )


def test_the_inputs_of_a_camera_are_chosen_by_its_parameters():
    settings = read_settings(
        {
            'sync.learn_offsets': True,
            'cameras.CAM_BACK.rectified': True,
            'cameras.CAM_BACK.depth_topic': '/back/depth/compressedDepth',
        }
    )
    front, back = settings.cameras[0], settings.cameras[3]
    assert (back.rectified, back.compressed_depth) == (True, True)
    assert (front.rectified, front.compressed_depth) == (False, False)
    sync = Synchroniser(settings.grouping)
    for cycle in range(20):
        for place, camera in enumerate(settings.names):
            sync.add(camera, (100 * cycle + 16 * place) * 10**6, None)
    assert sync.offsets['CAM_BACK'] == pytest.approx(0.048)


def test_the_networks_of_preset_surface_are_parameters():
    settings = read_settings(
        {
            'preset': 'surface', 'features': 'talk2dino', 'depth_network': 'metric3d-small',
            'input_size': [252, 448], 'engine': 'onnxruntime', 'word_temperature': 0.02,
        }
    )  # fmt: skip
    assert settings.networks == NetworkOptions('talk2dino', (252, 448), None, 'onnxruntime')
    assert settings.word_temperature == 0.02
    assert read_settings({}).networks == NetworkOptions()


@pytest.mark.parametrize(
    ('values', 'named'),
    [
        ({'preset': 'huge'}, ['preset', 'compact', "'huge'"]),
        ({'cameras': []}, ['cameras']),
        ({'cameras': ['A', 'A']}, ['cameras', 'A']),
        ({'sync.min_cameras': 7}, ['sync.min_cameras', '6']),
        ({'sync.tolerance': 0.5, 'sync.timeout': 0.1}, ['sync.timeout', 'sync.tolerance']),
        ({'map.min_height': 2.0, 'map.max_height': 1.0}, ['map.min_height', 'map.max_height']),
        ({'map.min_height': 50.0, 'map.max_height': 60.0}, ['map.min_height', 'grid.range']),
        ({'grid.range': [0.0, 1.0]}, ['grid.range', '6 numbers']),
        ({'grid.resolution': 0.3}, ['grid.resolution', 'whole number']),
        ({'base_frame': 'odom'}, ['base_frame', 'fixed_frame']),
        ({'threads': 'many'}, ['threads', 'int']),
        ({'features': 'sonar'}, ['features', 'maskclip', "'sonar'"]),
        ({'engine': 'tensorrt'}, ['engine', 'onnxruntime', "'tensorrt'"]),
        ({'depth_network': 'sonar'}, ['depth_network', 'metric3d-small', "'sonar'"]),
        ({'input_size': [224]}, ['input_size', '[224]']),
        ({'input_size': [224, 0]}, ['input_size', '[224, 0]']),
        ({'depth_size': [-14, 28]}, ['depth_size', '[-14, 28]']),
        ({'surface.lattice': [15, 21]}, ['surface.lattice', '[15, 21]']),
        ({'surface.lattice': [15, 0, 4]}, ['surface.lattice', '15, 0, 4']),
        ({'surface.lattice': [600, 800, 4]}, ['surface.lattice', 'at most']),
        ({'input_size': [224.5, 448.5]}, ['input_size', 'int']),
        ({'cameras.CAM_X.time_offset': 0.1}, ['cameras.CAM_X.time_offset', 'CAM_FRONT']),
        (
            {'cameras.CAM_BACK.image_topic': '/CAM_FRONT/image_raw'},
            ['cameras.CAM_FRONT.image_topic', 'cameras.CAM_BACK.image_topic'],
        ),
    ],
)
def test_impossible_and_contradictory_values_name_their_parameters(values, named):
    with pytest.raises(ValueError) as caught:
        read_settings(values)
    assert all(word in str(caught.value) for word in named), caught.value


@pytest.mark.ros
def test_parameters_that_come_too_late_are_refused_with_the_reason(ros):
    with active_node() as node:
        for name, value, reason in (
            ('autostart', False, 'read-only'),
            ('grid.resolution', 0.2, 'clean it up first'),
        ):
            before = node.get_parameter(name).value
            (result,) = node.set_parameters([Parameter(name, value=value)])
            assert not result.successful and reason in result.reason
            assert node.get_parameter(name).value == before


def test_every_parameter_is_documented_with_when_it_may_change():
    section = (ROOT / 'docs' / 'ros.md').read_text().partition('\n## Parameters\n')[2]
    table = section.partition('\n## ')[0]
    rows = [line.split('|') for line in table.splitlines() if line.startswith('| `')]
    for parameter in (*PARAMETERS, *CAMERA_PARAMETERS):
        named = re.compile(f'[`.]{re.escape(parameter.name)}`')
        live = [row[3].strip() for row in rows if named.search(row[1])]
        assert live == ['yes' if parameter.live else ''], parameter.name


def test_the_transport_profile_is_set_unless_the_user_chose_one():
    environment = {}
    use_shared_memory_profile(environment)
    assert set(environment) == set(VARIABLES)
    assert all(Path(value).is_file() for value in environment.values())
    for name in VARIABLES:
        environment = {name: 'mine.xml'}
        use_shared_memory_profile(environment)
        assert environment == {name: 'mine.xml'}
