#!/usr/bin/env bash
# huggingface_hub 2: a download that was interrupted starts again at byte 0.
# Expected: `*.incomplete` stays in the cache and the next call asks for the rest, as in the releases
# that called their `resume_download` obsolete because downloads always resume. Happens: the partial
# file is deleted, and no Range is asked for. On a slow line a checkpoint of some GB starts over at every break.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check 'huggingface_hub==2.4.0'
"$work/env/bin/python" - "$work" <<'PYTHON'
import http.server
import os
import sys
import threading
from pathlib import Path

SIZE = 40_000_000
asked = []  # the Range header of each GET
during = {}  # partial files while the transfer runs


class Hub(http.server.BaseHTTPRequestHandler):
    def answer(self, body):
        given = self.headers.get('Range')
        start = int(given.split('=')[1].split('-')[0]) if given else 0
        self.send_response(206 if given else 200)
        self.send_header('ETag', '"0123456789abcdef0123456789abcdef"')
        self.send_header('X-Repo-Commit', '1' * 40)
        self.send_header('Accept-Ranges', 'bytes')
        self.send_header('Content-Length', str(SIZE - start))
        if given:
            self.send_header('Content-Range', f'bytes {start}-{SIZE - 1}/{SIZE}')
        self.end_headers()
        if body:
            asked.append(given)
            try:
                for _ in range(start, SIZE, 1_000_000):
                    self.wfile.write(bytes(1_000_000))
            except OSError:
                pass  # the client went away

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def log_message(self, *text):
        pass


server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Hub)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ |= {
    'HF_ENDPOINT': f'http://127.0.0.1:{server.server_port}',
    'HF_HOME': f'{sys.argv[1]}/cache',
    'HF_HUB_DISABLE_TELEMETRY': '1',
    'HF_HUB_DISABLE_XET': '1',
}

import huggingface_hub  # after the endpoint is set
from tqdm import tqdm


class Interrupted(tqdm):
    """A bar at which the user loses patience after the first megabytes."""

    def update(self, n=1):
        super().update(n)
        if self.n > 10_000_000:
            during.update(partial())
            raise KeyboardInterrupt


def partial():
    return {p.name: p.stat().st_size for p in Path(sys.argv[1], 'cache').rglob('*.incomplete')}


try:
    huggingface_hub.hf_hub_download('some/model', 'weights.bin', tqdm_class=Interrupted)
except KeyboardInterrupt:
    pass
left = partial()
path = huggingface_hub.hf_hub_download('some/model', 'weights.bin')
print('huggingface_hub', huggingface_hub.__version__)
print('partial files before the interrupt:', during)
print('partial files after the interrupt: ', left, '(expected: one of 10 MB or more)')
print('Range asked for, first and second time:', asked, "(expected: the second 'bytes=...-')")
sys.exit(not (during and left == {} and asked == [None, None] and Path(path).stat().st_size == SIZE))
PYTHON
