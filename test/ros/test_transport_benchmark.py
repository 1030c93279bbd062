"""Six large cameras over DDS, in short: what the shipped profile is for, and what is measured."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.ros
pytest.importorskip('rclpy')

from gausstr_ros.benchmarks.transport_benchmark import RATE, main

SECONDS = 1.5


def measured(tmp_path, *arguments):
    target = tmp_path / 'figures.json'
    command = [
        sys.executable,
        '-m',
        'gausstr_ros.benchmarks.transport_benchmark',
        '--json',
        str(target),
    ]
    command += ['--seconds', str(SECONDS), '--transports', 'compressed', *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert not done.returncode, done.stderr
    runs = json.loads(target.read_text())
    for figures in runs:
        assert f'| {figures["sent"]} | {figures["reached"]} ' in done.stdout
    return runs, done.stdout


@pytest.fixture(scope='module')
def shipped(tmp_path_factory):
    """Without and with a lidar, and what was said."""
    return measured(tmp_path_factory.mktemp('shipped'), '--lidar')


def test_with_the_profile_the_sets_reach_the_worker_and_without_it_they_do_not(tmp_path, shipped):
    """rclpy 763, 856, 1223, 1389, 1452, ros2 1151, 1242, 1289, rmw_fastrtps 757: rclpy and images.

    The share of one core is printed and not asserted: other processes share the machine.
    """
    (cameras, _), _ = shipped
    assert cameras['sent'] == round(SECONDS * RATE)
    assert cameras['seconds'] == pytest.approx(SECONDS, rel=0.3)
    assert cameras['reached'] >= 0.9 * cameras['sent'] and cameras['images'] >= 0.9
    assert 0 < cameras['executor'] < cameras['process']
    (stock,), _ = measured(tmp_path, '--stock-sender')
    assert stock['images'] < 0.8 * cameras['images']


def test_a_lidar_beside_the_cameras_costs_no_set(shipped):
    """35 000 points at 20 Hz; each set has to wait for its clouds."""
    (without, beside), said = shipped
    assert not without['clouds'] and beside['clouds'] == 20 * SECONDS + 1
    assert beside['heard'] >= 0.9 * beside['clouds']
    lost, lost_beside = (run['sent'] - run['reached'] for run in (without, beside))
    assert lost_beside <= max(lost, 1)  # one, where the machine is busy
    assert 'compressed, lidar: ' in said and 'a cloud costs the executor' in said
    assert 'ms to read, and for each camera' in said


def test_a_length_of_nothing_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(['--seconds', '0'])
    assert '--seconds: expected a number from 0.1 to 3600' in capsys.readouterr().err
