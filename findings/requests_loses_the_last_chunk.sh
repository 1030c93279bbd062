#!/usr/bin/env bash
# requests: where an answer breaks off, iter_content throws away what had already come.
# Expected: all bytes that arrived are yielded, then the error. Happens: the bytes since the last full
# chunk are lost with the error. With chunks of 1 MiB or more, as they are usual for weights and bags,
# a download resumed on a bad line loses up to that much at every break; with a break more often than
# once a chunk it never moves on.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check 'requests==2.34.2' 'urllib3==2.7.0'
"$work/env/bin/python" - <<'PYTHON'
import http.server
import sys
import threading

import requests
import urllib3

SENT, PROMISED, CHUNK = 1_500_000, 5_000_000, 1 << 20


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Length', str(PROMISED))
        self.end_headers()
        self.wfile.write(bytes(SENT))  # and the line breaks

    def log_message(self, *text):
        pass


server = http.server.HTTPServer(('127.0.0.1', 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
got, error = 0, None
with requests.get(f'http://127.0.0.1:{server.server_port}/', stream=True, timeout=20) as answer:
    try:
        for chunk in answer.iter_content(CHUNK):
            got += len(chunk)
    except requests.exceptions.ChunkedEncodingError as broken:
        error = broken
print('requests', requests.__version__, 'urllib3', urllib3.__version__)
print(f'sent {SENT}, yielded {got} (expected {SENT}), then {error!r}')
sys.exit(not (error is not None and got == CHUNK))
PYTHON
