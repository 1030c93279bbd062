"""The package as colcon installs it, beside stand-ins of programs that a test only watches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# Writes down how it was called, then stays until it is stopped.
_RECORDER = """\
#!{python}
import json, os, signal, sys
record = {{'arguments': sys.argv[1:], 'environment': dict(os.environ)}}
open({record!r} + '.part', 'w').write(json.dumps(record))
os.replace({record!r} + '.part', {record!r})
signal.sigwait([signal.SIGINT, signal.SIGTERM])
"""


def install(folder: Path) -> Path:
    """Install the package into an ament prefix, the way colcon does; returns the prefix."""
    prefix = folder / 'prefix'
    command = [sys.executable, 'setup.py', '-q', 'build', '--build-base', str(folder / 'build')]
    command += ['egg_info', '--egg-base', str(folder), 'install', '--prefix', str(prefix)]
    command += ['--single-version-externally-managed', '--record', str(folder / 'files.txt')]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return prefix


def add_recorder(program: Path, record: Path) -> None:
    """Write a program that records its arguments and environment."""
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(_RECORDER.format(python=sys.executable, record=str(record)))
    program.chmod(0o755)


def add_package(prefix: Path, name: str) -> None:
    """Register a package in the prefix."""
    index = prefix / 'share' / 'ament_index' / 'resource_index' / 'packages'
    (index / name).touch()


def environment(prefix: Path) -> dict[str, str]:
    """The environment after sourcing the prefix; as a user's, without the tests' transport."""
    found = {k: v for k, v in os.environ.items() if not k.endswith('_DEFAULT_PROFILES_FILE')}
    sites = [str(path) for path in prefix.glob('lib/python3*/site-packages')]
    found['AMENT_PREFIX_PATH'] = f'{prefix}{os.pathsep}{found["AMENT_PREFIX_PATH"]}'
    given = found.get('PYTHONPATH', '').split(os.pathsep)
    found['PYTHONPATH'] = os.pathsep.join(filter(None, [*sites, *given]))
    found['PATH'] = f'{prefix / "bin"}{os.pathsep}{found["PATH"]}'
    return found


def recorded(record: Path) -> dict:
    """What a recorder wrote."""
    return json.loads(record.read_text())
