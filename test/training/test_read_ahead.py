"""Workers that read ahead end in order, whatever ends those who asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import small_training

SCRIPT = small_training.REPOSITORY / 'test' / 'support' / 'reading_ahead.py'


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], env=small_training.environment(), capture_output=True,
        text=True, timeout=200, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(('how', 'code', 'said'), [('closed', 0, 'closed\n'), ('error', 3, '')])
def test_workers_end_without_a_word(how: str, code: int, said: str) -> None:
    """Neither do they abort, nor does Python wait for them for ever."""
    done = run(str(SCRIPT), how)
    assert (done.returncode, done.stdout, done.stderr) == (code, said, '')


@pytest.mark.slow
def test_a_short_training_with_workers_says_nothing_amiss(streets: Path, tmp_path: Path) -> None:
    done = run(
        *('-m', 'gausstr_training.train', '--recipe', 'tiny', '--data', str(streets)),
        *('--output', str(tmp_path / 'run'), '--workers', '1', '--threads', '1'),
    )
    assert done.returncode == 0 and 'tiny.safetensors' in done.stdout
    told = done.stderr.replace('\r', '\n').splitlines()
    assert told and [line for line in told if line.strip() and '%|' not in line] == []
