"""The benchmarks run and say what they measured; how fast that is, `make bench` says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gausstr_training.benchmarks import cycles, fast_paths


def test_the_table_and_the_file_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / 'timings.json'
    fast_paths.main(['--gaussians', '600', '--repeats', '1', '--json', str(target)])
    record = json.loads(target.read_text())
    printed = capsys.readouterr().out
    assert record['device'] in printed
    assert len(record['timings']) == 6
    for timing in record['timings']:
        assert timing['stage'] in printed
        assert timing['ratio'] == pytest.approx(timing['reference_ms'] / timing['fast_ms'])
    stages = record['talk2dino_ms']
    assert {'neck', 'cross-attention, 3 layers', 'voxels', 'labels', 'all'} <= stages.keys()
    assert sum(stages.values()) == pytest.approx(2 * stages['all'], rel=0.1)


def test_too_few_gaussians_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        fast_paths.main(['--gaussians', '2'])
    assert '--gaussians: expected a whole number from 6 to' in capsys.readouterr().err


def test_cycles_of_both_ways(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / 'cycles.json'
    cycles.main(['--preset', 'tiny', '--cycles', '3', '--json', str(target)])
    printed, record = capsys.readouterr().out, json.loads(target.read_text())
    for way in ('overlapped', 'in turn'):
        assert way in printed and len(record[way]) == cycles.ROUNDS
        for measured in record[way]:
            assert measured['cycles_a_second'] > 0 and measured['core_seconds_a_cycle'] > 0
            assert {'foundation', 'transformer', 'voxels'} <= measured['stages_ms'].keys()


def test_cycles_name_a_street_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=f'benchmarks.cycles: .*{tmp_path.name}'):
        cycles.main(['--preset', 'tiny', str(tmp_path)])
