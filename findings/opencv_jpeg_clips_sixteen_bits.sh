#!/usr/bin/env bash
# OpenCV: a 16-bit grey picture written as JPEG is clipped to eight bits, not scaled.
# Expected: a refusal, as JPEG holds eight bits, or the upper eight bits of each pixel. Happens:
# imencode says True, and every value above 255 comes back white; a line on stderr is all there is.
# A camera of 12 or 16 bits behind a JPEG transport then shows white pictures that decode well.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check 'opencv-python-headless==4.14.0.94' 'numpy==2.4.6'
"$work/env/bin/python" - <<'PYTHON'
import sys

import cv2
import numpy as np

ramp = np.repeat(np.arange(0, 4096, 64, dtype=np.uint16)[:, None], 64, 1)  # 12 bits, dark to light
done, data = cv2.imencode('.jpg', ramp)
back = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
print('OpenCV', cv2.__version__)
print('imencode of uint16, 0 to 4032:', done, '; comes back as', back.dtype, back.shape)
white = float((back[8:] > 250).mean())
print(f'of the rows from 512 on, {100 * white:.0f} % are white (expected: 12 to 98 % grey)')
sys.exit(not (done and back.dtype == np.uint8 and white > 0.99))
PYTHON
