#!/usr/bin/env bash
# transforms3d (behind ROS' tf_transformations): the quaternion of all zeros is a rotation, identity.
# Expected: an error, or NaN: it has no direction, and means that somebody never filled the message.
# Happens: quat2mat returns the unit matrix, while rotate_vector by the same quaternion gives zeros and
# its inverse NaN. A transform that was never set passes as "mounted straight", in one of three ways.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check 'transforms3d==0.4.2' 'numpy==2.4.6'
"$work/env/bin/python" -W ignore - <<'PYTHON'
import sys

import numpy as np
import transforms3d
from transforms3d.quaternions import qinverse, quat2mat, rotate_vector

zero, vector = np.zeros(4), np.array([1.0, 2.0, 3.0])
matrix, turned, inverse = quat2mat(zero), rotate_vector(vector, zero), qinverse(zero)
print('transforms3d', transforms3d.__version__)
print('quat2mat(0) @ v       ', matrix @ vector)
print('rotate_vector(v, 0)   ', turned)
print('qinverse(0)           ', inverse)
print('expected: one answer, NaN or an error')
sys.exit(
    not ((matrix == np.eye(3)).all() and (turned == 0).all() and np.isnan(inverse).all())
)
PYTHON
