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
    (figures,) = json.loads(target.read_text())
    assert f'| {figures["sent"]} | {figures["reached"]} ' in done.stdout
    return figures


def test_with_the_profile_the_sets_reach_the_worker_and_without_it_they_do_not(tmp_path):
    """rclpy 763, 856, 1223, 1389, 1452, ros2 1151, 1242, 1289, rmw_fastrtps 757: rclpy and images.

    The share of one core is printed and not asserted: other processes share the machine.
    """
    shipped = measured(tmp_path)
    assert shipped['sent'] == round(SECONDS * RATE)
    assert shipped['seconds'] == pytest.approx(SECONDS, rel=0.3)
    assert shipped['reached'] >= 0.9 * shipped['sent'] and shipped['images'] >= 0.9
    assert 0 < shipped['executor'] < shipped['process']
    stock = measured(tmp_path, '--stock-sender')
    assert stock['images'] < 0.8 * shipped['images']


def test_a_length_of_nothing_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(['--seconds', '0'])
    assert '--seconds: expected a number from 0.1 to 3600' in capsys.readouterr().err
