#!/usr/bin/env bash
# zstandard: of a file of two zstd frames, decompress and stream_reader give the first one, silently.
# Expected: what `zstd -d`, and Python's own compression.zstd, do: all frames (RFC 8878 has a file be
# a sequence of frames). Happens: the rest is ignored, without an error. pzstd, `cat a.zst b.zst`, and
# recorders that flush write such files: bags and point clouds come back short.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check 'zstandard==0.25.0' 'backports.zstd==1.8.0'
"$work/env/bin/python" - <<'PYTHON'
import io
import sys

import zstandard
from backports import zstd

one, two = b'first half, ' * 3, b'second half. ' * 3
data = zstandard.compress(one) + zstandard.compress(two)
at_once = zstandard.ZstdDecompressor().decompress(data)
with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)) as stream:
    streamed = stream.read()
with zstandard.open(io.BytesIO(data), 'rb') as file:
    opened = file.read()
print('zstandard', zstandard.__version__)
print('in the file      ', len(one) + len(two), 'bytes')
print('decompress       ', len(at_once))
print('stream_reader    ', len(streamed))
print('zstandard.open   ', len(opened))
print('backports.zstd   ', len(zstd.decompress(data)))
sys.exit(not (at_once == streamed == opened == one and zstd.decompress(data) == one + two))
PYTHON
