#!/usr/bin/env bash
# OpenCV: fisheye.undistortPoints says "no solution" by the point (-1000000, -1000000).
# Expected: NaN, an exception, or a status. Happens: finite coordinates, which pass isfinite, go
# into means, bounding boxes and projections, and only look odd. With P given they are no pixels
# either: the same -1000000 comes back.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check 'opencv-python-headless==4.14.0.94' 'numpy==2.4.6'
"$work/env/bin/python" - <<'PYTHON'
import sys

import cv2
import numpy as np

# a valid calibration; its polynomial is not monotonic towards the corners
k = np.array([[300.0, 0, 320], [0, 300, 240], [0, 0, 1]])
d = np.array([0.5, -1.2, 0.8, -0.3])
pixels = np.array([[[330.0, 240.0]], [[420, 240]], [[620, 240]]])
rays = cv2.fisheye.undistortPoints(pixels, k, d)[:, 0]
again = cv2.fisheye.undistortPoints(pixels, k, d, P=k)[:, 0]
print('OpenCV', cv2.__version__)
for pixel, ray, point in zip(pixels[:, 0], rays, again, strict=True):
    print(f'pixel {pixel} -> ray {ray}, with P {point}')
print('expected for the last: NaN, or an error')
print('all finite:', np.isfinite(rays).all())
sys.exit(
    not (
        np.isfinite(rays).all()
        and abs(rays[0, 0] - 0.0333) < 1e-3
        and (rays[2] == -1e6).all()
        and (again[2] == -1e6).all()
    )
)
PYTHON
