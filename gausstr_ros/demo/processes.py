"""The processes of the demo: started in groups of their own, watched, and never left behind."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import MutableMapping
from pathlib import Path

from gausstr_ros.transport import ENVIRONMENT, use_shared_memory_profile


class DemoError(Exception):
    """The demo cannot go on; the text says what was expected, what came, and quotes logs."""


class Child:
    """A Python module run as a process, with stdout and stderr in a log.

    Args:
        name: what to call it in messages and which log it writes.
        module: the module and its arguments, as after `python -m`.
        logs: folder of the logs.
    """

    def __init__(self, name: str, module: list[str], logs: Path) -> None:
        self.name = name
        self.log = logs / f'{name}.log'
        with self.log.open('wb') as log:
            self._process = subprocess.Popen(
                [sys.executable, '-m', *module],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, 'PYTHONUNBUFFERED': '1'},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def check(self) -> None:
        """Raise if the process ended although it should be running.

        Raises:
            DemoError: it did; the end of its log is quoted.
        """
        status = self._process.poll()
        if status is not None:
            raise DemoError(f'{self.name} ended with status {status}{self.quote()}')

    def wait(self, timeout: float) -> None:
        """Wait for the process to end well.

        Raises:
            DemoError: it failed or took too long; the end of its log is quoted.
        """
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise DemoError(
                f'{self.name} did not end within {timeout:g} s{self.quote()}'
            ) from None
        if status:
            raise DemoError(f'{self.name} ended with status {status}{self.quote()}')

    def stop(self, patience: float = 10.0) -> None:
        """End the process and what it started: politely first, after `patience` s for sure."""
        for number in (signal.SIGINT, signal.SIGKILL):
            if self._process.poll() is not None:
                break
            os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)

    def quote(self, lines: int = 12) -> str:
        """The end of the log, to append to an error."""
        text = self.log.read_text(errors='replace').replace('\r', '\n')
        last = [line for line in text.splitlines() if line.strip()][-lines:]
        body = '\n'.join(f'    {line}' for line in last) or '    (nothing)'
        return f'; the end of {self.log}:\n{body}'


def isolate(environment: MutableMapping[str, str], logs: Path) -> int:
    """Set up a ROS graph that only this demo and its children see; returns its domain.

    A robot on the same network, or a second demo, must neither hear nor disturb this one.
    """
    domain = free_domain()
    environment['ROS_DOMAIN_ID'] = str(domain)
    environment['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    environment['ROS_LOG_DIR'] = str((logs / 'ros').resolve())
    environment.update(ENVIRONMENT)
    use_shared_memory_profile(environment)
    return domain


def free_domain() -> int:
    """A ROS domain whose discovery ports nobody on this machine holds.

    Raises:
        DemoError: all of them are taken.
    """
    domains = random.SystemRandom().sample(range(1, 100), 99)
    for domain in domains:
        # DDS-RTPS 2.2, 9.6.1.1: multicast discovery, then the first participant's unicast
        base = 7400 + 250 * domain
        if all(_bindable(port) for port in (base, base + 10)):
            return domain
    raise DemoError('expected a free ROS domain, all of 1 to 99 are in use on this machine')


def _bindable(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(('', port))
        except OSError:
            return False
    return True
