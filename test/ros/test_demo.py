"""The whole demo, as a user runs it, with the untrained model."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

pytest.importorskip('rclpy')
pytestmark = [pytest.mark.ros, pytest.mark.slow]


def test_the_demo_writes_a_page_whose_pictures_exist(tmp_path):
    output = tmp_path / 'out'
    # slow enough for a machine that has other things to do: what is tested is that all comes out
    command = ['--output', str(output), '--frames', '6', '--rate', '0.25']
    done = subprocess.run(
        [sys.executable, '-m', 'gausstr_ros.demo.command', *command, '--weights', 'untrained'],
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    assert 'set_categories took effect on the next frame' in done.stdout
    assert str(output / 'index.html') in done.stdout
    page = (output / 'index.html').read_text()
    sources = re.findall(r'src="([^"]+)"', page)
    assert len(sources) == 2 + 6 + 4
    for source in sources:
        assert (output / source).stat().st_size > 1000, source
    assert not re.search(r'(src|href)="https?:', page)
    assert '$' not in re.sub(r'\$\{[^}]*\}', '', page)
