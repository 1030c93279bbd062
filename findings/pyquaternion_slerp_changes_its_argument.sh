#!/usr/bin/env bash
# pyquaternion (what the nuScenes devkit computes poses with): Quaternion.slerp changes its first argument.
# Expected: a function that returns a new quaternion leaves the two it is given alone. Happens: where
# they lie in opposite halves, the first one comes back with all signs turned. The rotation is the
# same, but stored poses, comparisons, averages and the next interpolation differ from what they were.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check 'pyquaternion==0.9.9' 'numpy==2.4.6'
"$work/env/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from pyquaternion import Quaternion

poses = [Quaternion(axis=[0, 0, 1], degrees=angle) for angle in (170, 190)]
poses[1] = -poses[1]  # the same rotation: trackers and file formats give either sign
before = [pose.elements.copy() for pose in poses]
middle = Quaternion.slerp(poses[0], poses[1], 0.5)
print('pyquaternion', version('pyquaternion'))
print('middle', middle, '= 180 degrees about z' if abs(abs(middle.z) - 1) < 1e-9 else '')
for name, was, now in zip(('first ', 'second'), before, poses, strict=True):
    print(name, 'before', was.round(3), 'after', now.elements.round(3))
print('expected: both as before')
sys.exit(
    not (np.allclose(poses[0].elements, -before[0]) and np.allclose(poses[1].elements, before[1]))
)
PYTHON
