"""Fixtures and settings for every test: repeatable, each process on a ROS domain of its own."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch

from gausstr_core.process.parallel import use_threads

REPOSITORY = Path(__file__).resolve().parent.parent

# The domains and the ports of ROS' own domain_coordinator, so that its tests keep away as well.
_DOMAINS = range(1, 101)
_LOCK_PORT = 32768

# The locked domain's socket; it lives as long as the test session.
_domain_lock: socket.socket | None = None


def _lock_domain() -> int:
    """Choose a domain that no other test session on this machine uses.

    A bound port is the lock, so that it is free again however a session ends.
    """
    global _domain_lock
    for domain in random.sample(_DOMAINS, len(_DOMAINS)):
        candidate = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            candidate.bind(('', _LOCK_PORT + domain))
        except OSError:
            candidate.close()
            continue
        _domain_lock = candidate
        return domain
    raise RuntimeError('all ROS domains from 1 to 100 are in use on this machine')


def pytest_configure(config: pytest.Config) -> None:
    """Set what must be in the environment before rclpy loads; subprocesses inherit it."""
    os.environ['ROS_DOMAIN_ID'] = str(_lock_domain())
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    os.environ['ROS_PYTHON_CHECK_FIELDS'] = '1'
    profile = REPOSITORY / 'config' / 'fastdds_shared_memory.xml'
    os.environ.setdefault('FASTRTPS_DEFAULT_PROFILES_FILE', str(profile))
    os.environ['OMP_NUM_THREADS'] = '1'
    use_threads(1)
    hypothesis.settings.register_profile('repeatable', derandomize=True)
    # `--hypothesis-profile default` looks for examples that were never tried
    if not config.getoption('--hypothesis-profile', None):
        hypothesis.settings.load_profile('repeatable')


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Where there is no CUDA device, tests that need one are skipped, however pytest is called."""
    if item.get_closest_marker('gpu') and not torch.cuda.is_available():
        pytest.skip('no CUDA device')


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files of the longest tests: none is left for the end, to be waited for."""
    slow = {item.path for item in items if item.get_closest_marker('slow')}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Every test is computed on one thread, whatever ran before it.

    `make test` runs a process on each of two cores: there, threads that wait for one another
    cost ten times.
    """
    yield
    use_threads(1)


@pytest.fixture
def two_threads(_one_thread: None) -> None:
    """Kernels and operators on two threads, as on a robot: what they share must not race."""
    use_threads(2)


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Every test starts from the same random state, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  whoever still uses the global generator
    torch.manual_seed(0)


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Say figures that are worth reading although the test passes; they come after the tests."""
    return lambda figures: record_property('told', figures)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests told, from whatever process they ran in."""
    for report in terminalreporter.getreports('passed'):
        for name, figures in report.user_properties:
            if name == 'told':
                terminalreporter.write_line(figures)


@pytest.fixture(scope='session')
def shared() -> Path:
    """The folder with recorded data beside the repository; the test is skipped without it."""
    folder = REPOSITORY.parent / 'shared'
    if not (folder / 'data').is_dir():
        pytest.skip(f'no recorded data in {folder}')
    return folder


@pytest.fixture(scope='session')
def nuscenes_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nuScenes tree of two synthetic streets, scene-0001 with labels; not to be changed."""
    from nuscenes_drives import street_drive
    from nuscenes_tree import write_tree

    drives = [street_drive(1, 'scene-0001', labels=True), street_drive(2, 'scene-0002')]
    return write_tree(tmp_path_factory.mktemp('nuscenes') / 'tree', 'v1.0-mini', drives)
