"""The node under test, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from cameras import CAMERAS

from gausstr_core.process.memory import resident_memory

PARAMETERS = (
    'preset:=tiny',
    'weights:=untrained',
    'threads:=1',
    f'cameras:=[{", ".join(CAMERAS)}]',
    'sync.tolerance:=0.03',
    'sync.timeout:=0.2',
    'grid.range:=[-20.0, -20.0, -1.0, 20.0, 20.0, 5.4]',
    'memory.seconds:=3.0',
)


class NodeProcess:
    """Starts the node; what it prints goes into a file."""

    def __init__(self, log: Path, *, lidar: bool = False) -> None:
        self._log = log
        parameters = [*PARAMETERS, f'depth_source:={"lidar" if lidar else "model"}']
        words = [word for parameter in parameters for word in ('-p', parameter)]
        with log.open('w') as output:
            self._process = subprocess.Popen(
                [sys.executable, '-m', 'gausstr_ros.node.process', '--ros-args', *words],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, 'OMP_NUM_THREADS': '1'},
            )

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    @property
    def memory(self) -> int:
        """Bytes that it holds now."""
        return resident_memory(self._process.pid)

    def exceptions(self) -> int:
        """Tracebacks in what it has printed."""
        return self._log.read_text(errors='replace').count('Traceback')

    def stop(self) -> int:
        """Interrupt it; returns its exit status."""
        if self.alive:
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
