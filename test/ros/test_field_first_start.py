"""A first start says what it does while it does it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

pytest.importorskip('rclpy')

from numba.core import event

from gausstr_core.process.compilation import watched_compilation
from gausstr_ros.node import configured

pytestmark = pytest.mark.ros
ROOT = Path(__file__).parents[2]


def test_kernels_are_named_as_they_are_compiled_and_not_when_they_are_cached(tmp_path):
    """field_reports R24."""

    @numba.njit
    def doubled(x):
        return 2 * x

    told = []
    with watched_compilation(told.append):
        assert doubled(1) == 2
        assert doubled(3) == 6
        assert doubled(1.5) == 3.0
    assert told == ['doubled', 'doubled']
    assert doubled(np_float := 1j) == 2 * np_float and len(told) == 2


def test_the_node_tells_while_it_configures(start_node, tester, monkeypatch):
    """field_reports R24: `first run took 12.4 s`, and not a word before."""
    make, heard = configured.warm_up, []

    def compiling(*arguments):
        with event.trigger_event('numba:compile', data={'dispatcher': Kernel()}):
            # waits for what others see: the report comes while this still runs
            tester.wait_for_text('configure is=compiling kernel 1: accumulate')
            heard.append(True)
        return make(*arguments)

    monkeypatch.setattr(configured, 'warm_up', compiling)
    node = start_node()
    assert heard and not node.fault
    tester.wait_for_text('state=active')
    shown = {pair.key for pair in tester.status('pipeline').values}
    tester.wait(lambda: 'configure is' not in shown or refreshed(tester, shown), what='end')


def refreshed(tester, shown):
    shown.clear()
    shown.update(pair.key for pair in tester.status('pipeline').values)
    return 'configure is' not in shown


class Kernel:
    """As numba hands it to who listens."""

    @staticmethod
    def py_func():
        """Named below."""


Kernel.py_func.__name__ = 'accumulate'


def test_a_start_that_compiles_says_so_in_the_log_before_it_is_ready(caplog, monkeypatch):
    """field_reports R24: in this order, with the number of kernels at the end."""
    from gausstr_ros.settings.settings import read_settings

    caplog.set_level('INFO', logger='gausstr_ros.node.configured')
    make = configured.warm_up

    def compiling(*arguments):
        for _ in range(2):
            with event.trigger_event('numba:compile', data={'dispatcher': Kernel()}):
                pass
        return make(*arguments)

    monkeypatch.setattr(configured, 'warm_up', compiling)
    told = []
    configured.load(read_settings({'preset': 'tiny', 'weights': 'untrained'}), told.append)
    texts = [record.getMessage() for record in caplog.records]
    loading, compiling_, ready = (
        next(i for i, text in enumerate(texts) if part in text)
        for part in ('loading tiny', 'compiling kernels for this processor', 'is ready')
    )
    assert loading < compiling_ < ready
    assert sum('compiling kernels' in text for text in texts) == 1
    assert told.index('loading tiny') < told.index('running once')
    assert 'compiling kernel 2: accumulate' in told


def test_the_replay_says_it_once(tmp_path, monkeypatch, capfd):
    """field_reports R24: its first set is as slow."""
    from bag_files import write_bag_of_drive

    from gausstr_core.pipeline import OccupancyPipeline
    from gausstr_ros.replay.command import main

    work = OccupancyPipeline.map

    def compiling(*arguments):
        with event.trigger_event('numba:compile', data={'dispatcher': Kernel()}):
            pass
        return work(*arguments)

    monkeypatch.setattr(OccupancyPipeline, 'map', compiling)
    write_bag_of_drive(tmp_path / 'bag', frames=2)
    text = '/**: {ros__parameters: {preset: tiny, weights: untrained}}'
    (tmp_path / 'tiny.yaml').write_text(text)
    given = ['--params-file', str(tmp_path / 'tiny.yaml')]
    main([str(tmp_path / 'bag'), str(tmp_path / 'mapped'), *given])
    assert capfd.readouterr().err.count('compiling kernels for this processor') == 1


def test_where_no_cache_can_be_written_the_kernels_still_run(tmp_path):
    """field_reports R24: numba refuses at import on a read-only disk without a home."""
    code = (
        'import numpy as np\n'
        'from gausstr_core.process.parallel import kernel, sum_kernel, parallel_kernel\n'
        'from gausstr_core.voxels import fast\n'
        'print(kernel(lambda x: x + 1)(1))'
    )
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    environment['NUMBA_CACHE_LOCATOR_CLASSES'] = 'ZipCacheLocator'  # which finds no place
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == '2\n'
    assert done.stderr.count('set NUMBA_CACHE_DIR') == 1
