#!/usr/bin/env bash
# zstandard: of data of two zstd frames, decompress gives the first one only, silently.
# Expected: what `zstd -d`, Python's own compression.zstd, and zstandard's own stream_reader and open
# do: all frames (RFC 8878 has data be a sequence of frames). Happens: the rest is ignored, without an
# error. pzstd, `cat a.zst b.zst`, and recorders that flush write such files; a bag or a point cloud
# that is decompressed in one call comes back short.
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
print('decompress       ', len(at_once), '(expected: all)')
print('stream_reader    ', len(streamed))
print('zstandard.open   ', len(opened))
print('backports.zstd   ', len(zstd.decompress(data)))
whole = one + two
sys.exit(not (at_once == one and streamed == opened == zstd.decompress(data) == whole))
PYTHON
