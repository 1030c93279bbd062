#!/usr/bin/env bash
# OpenCV: a JPEG that is cut in the middle decodes without a word where enough zeros follow.
# Expected: what imdecode does with the cut file alone: None. Happens: a whole picture comes back,
# grey or smeared below the cut, no exception, no None. Camera drivers hand out buffers of fixed
# size: a transfer that broke off looks just like this, and passes as a picture.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check 'opencv-python-headless==4.14.0.94' 'numpy==2.4.6'
"$work/env/bin/python" - <<'PYTHON'
import sys

import cv2
import numpy as np

noise = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
picture = cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC)
whole = cv2.imencode('.jpg', picture)[1].tobytes()
cut = whole[: len(whole) // 2]


def decode(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def error(found, rows):
    return float(np.abs(found[rows].astype(int) - picture[rows]).mean())


alone, padded = decode(cut), decode(cut + bytes(1 << 20))
print('OpenCV', cv2.__version__)
print('cut in the middle:        ', 'None' if alone is None else alone.shape)
print('the same and 1 MiB of 0:  ', 'None' if padded is None else padded.shape, '(expected: None)')
if alone is not None or padded is None or padded.shape != picture.shape:
    sys.exit(1)
above, below = error(padded, slice(0, 160)), error(padded, slice(400, 480))
print(f'mean error above the cut {above:.1f}, below it {below:.1f} of 255')
sys.exit(not (above < 8 and below > 30))
PYTHON
