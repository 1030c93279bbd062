#!/usr/bin/env bash
# ROS from PyPI: a Python started from another environment keeps that one's LD_LIBRARY_PATH.
# Expected: each virtual environment finds its own libraries, whoever starts its interpreter.
# Happens: the wheels set LD_LIBRARY_PATH once, start Python a second time, and mark that by a
# variable. A child process inherits both, so another environment that is started
# from it (a launcher, a test, an editor's terminal) keeps the parent's path and never adds its own.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for name in one other; do
    python3 -m venv "$work/$name"
    "$work/$name/bin/pip" install --quiet --disable-pip-version-check 'ros-wheels-bootstrapper==0.1.2'
done
unset LD_LIBRARY_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE
"$work/one/bin/python" - "$work" <<'PYTHON'
import os
import subprocess
import sys
from importlib.metadata import version

work = sys.argv[1]
show = 'import os; print(os.environ["LD_LIBRARY_PATH"])'
other = [f'{work}/other/bin/python', '-c', show]
clean = {k: v for k, v in os.environ.items() if k not in ('LD_LIBRARY_PATH', '_ROS_WHEELS_BOOTSTRAP_COMPLETE')}
alone = subprocess.check_output(other, text=True, env=clean).strip()
child = subprocess.check_output(other, text=True).strip()
print('ros-wheels-bootstrapper', version('ros-wheels-bootstrapper'))
print('other, from a shell:    ', alone.replace(work, ''))
print('other, from one Python: ', child.replace(work, ''), '(expected: with /other/lib)')
sys.exit(not (f'{work}/other/lib' in alone and f'{work}/other/lib' not in child and f'{work}/one/lib' in child))
PYTHON
