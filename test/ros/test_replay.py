"""gausstr-replay on a synthesised street, and on bags that are none."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from rosbags.rosbag2 import Reader

pytestmark = pytest.mark.ros
pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import OccupancyGrid
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import PointCloud2
from sensor_msgs_py.point_cloud2 import read_points

from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.stamps import nanoseconds
from gausstr_msgs.msg import Categories
from gausstr_ros.replay.command import main

PARAMETERS = """\
/**:
  ros__parameters:
    preset: tiny
    weights: untrained
    grid:
      range: [-20.0, -20.0, -1.0, 20.0, 20.0, 5.4]
"""


@pytest.fixture(scope='module')
def street(tmp_path_factory):
    folder = tmp_path_factory.mktemp('street') / 'drive'
    command = [sys.executable, '-m', 'gausstr_training.synthesize', '--seed', '5']
    command += ['--frames', '2', '--no-voxels', '--size', '224x126', '--output', str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture
def parameters(tmp_path):
    path = tmp_path / 'parameters.yaml'
    path.write_text(PARAMETERS)
    return str(path)


def read(path):
    with Reader(path) as reader:
        return [(c.topic, stamp, bytes(raw)) for c, stamp, raw in reader.messages()]


def test_outputs_lie_beside_the_inputs_which_are_untouched(street, parameters, tmp_path):
    target = tmp_path / 'mapped.mcap'
    bag = str(street / 'bag')
    main([bag, str(target), '--params-file', parameters, '--outputs',
          'occupancy_grid', 'voxels', 'gaussians'])  # fmt: skip
    assert target.is_file() and not list(tmp_path.glob('.*'))
    before, after = read(street / 'bag'), read(target)
    ours = ('/gausstr/', '/diagnostics')
    assert [m for m in after if not m[0].startswith(ours)] == before

    def decoded(topic, kind):
        return [deserialize_message(raw, kind) for t, _, raw in after if t == topic]

    stamps = [np.load(path)['stamp'] for path in sorted((street / 'truth').glob('*.npz'))]
    grids = decoded('/gausstr/occupancy_grid', OccupancyGrid)
    clouds = decoded('/gausstr/voxels', PointCloud2)
    assert [nanoseconds(m.header.stamp) for m in grids] == stamps
    assert [nanoseconds(m.header.stamp) for m in clouds] == stamps
    assert len(read_points(clouds[0])) == clouds[0].width > 0
    (categories,) = decoded('/gausstr/categories', Categories)
    assert categories.categories[0].name == 'road'
    values = {
        pair.key: pair.value
        for status in decoded('/diagnostics', DiagnosticArray)[-1].status
        for pair in status.values
    }
    assert values['vocabulary'] == categories.vocabulary_id
    assert values['sets complete'] == '2'


def test_a_folder_is_written_where_one_is_asked_for(street, parameters, tmp_path):
    target = tmp_path / 'mapped'
    main([str(street / 'bag' / 'bag.mcap'), str(target), '--params-file', parameters])
    assert sorted(path.name for path in target.iterdir()) == ['mapped.mcap', 'metadata.yaml']
    assert '/gausstr/voxels' in {topic for topic, *_ in read(target)}
    with pytest.raises(SystemExit, match='exists already'):
        main([str(street / 'bag'), str(target), '--params-file', parameters])
    with pytest.raises(SystemExit, match='holds outputs already: /gausstr/categories'):
        main([str(target), str(tmp_path / 'again'), '--params-file', parameters])


def test_unreadable_bags_and_parameters_are_named(street, parameters, tmp_path):
    whole = (street / 'bag' / 'bag.mcap').read_bytes()
    (tmp_path / 'cut.mcap').write_bytes(whole[: len(whole) // 3])
    (tmp_path / 'noise.mcap').write_bytes(bytes(range(256)) * 40)
    (tmp_path / 'empty').mkdir()
    out = str(tmp_path / 'out')
    for name in ('absent.mcap', 'noise.mcap', 'empty', 'cut.mcap'):
        with pytest.raises(SystemExit, match=f'{name}') as caught:
            main([str(tmp_path / name), out, '--params-file', parameters])
        assert str(caught.value).startswith('gausstr-replay: ')
    (tmp_path / 'bad.yaml').write_text('gausstr: {ros__parameters: {cameras: [CAM_X]}}')
    with pytest.raises(SystemExit, match='/CAM_X/image_raw/compressed'):
        main([str(street / 'bag'), out, '--params-file', str(tmp_path / 'bad.yaml')])
    (tmp_path / 'bad.yaml').write_text('gausstr: {ros__parameters: {weights: /no/such.file}}')
    with pytest.raises(SystemExit, match=r'/no/such\.file'):
        main([str(street / 'bag'), out, '--params-file', str(tmp_path / 'bad.yaml')])
    assert not (tmp_path / 'out').exists() and not list(tmp_path.glob('.*'))


def test_a_device_that_is_full_ends_it_with_what_to_do(street, parameters, tmp_path, monkeypatch):
    work, done = OccupancyPipeline.map, []

    def fail_at_the_second(*arguments):
        done.append(1)
        if len(done) == 2:
            raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB')
        return work(*arguments)

    monkeypatch.setattr(OccupancyPipeline, 'map', fail_at_the_second)
    command = [str(street / 'bag'), str(tmp_path / 'out.mcap'), '--params-file', parameters]
    with pytest.raises(SystemExit, match=r'out of device memory: CUDA.* run it again to go on'):
        main(command)
    assert not (tmp_path / 'out.mcap').exists()
    main(command)
    assert len(done) == 3, 'the first set is mapped once'


def test_two_runs_give_bit_identical_voxels(street, tmp_path):
    """In processes of their own, with the shipped model."""
    kinds = {'/gausstr/voxels': PointCloud2, '/gausstr/occupancy_grid': OccupancyGrid}
    produced = []
    for run in ('first', 'second'):
        target = tmp_path / f'{run}.mcap'
        command = [
            sys.executable,
            '-m',
            'gausstr_ros.replay.command',
            str(street / 'bag'),
            str(target),
        ]
        subprocess.run(command, check=True, capture_output=True)
        produced.append(
            # decoded: the padding between the fields of a CDR message is whatever lay there
            [
                (topic, stamp, deserialize_message(raw, kinds[topic]))
                for topic, stamp, raw in read(target)
                if topic in kinds
            ]
        )
    assert len(produced[0]) == 4 and all(len(m.data) > 10_000 for *_, m in produced[0])
    assert produced[0] == produced[1]
