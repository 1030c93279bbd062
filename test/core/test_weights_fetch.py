from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors.torch import save_file

from gausstr_core.weights import catalogue, fetch
from gausstr_core.weights.fetch import RemoteFile, cache_folder, check_sum, locate
from gausstr_core.weights.tensors import fill, read_tensors

CONTENT = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
HUB_PATH = '/onnx-community/metric3d-vit-small/resolve/main/onnx/model.onnx'
HUB_FILE = 'metric3d/metric3d_vit_small.onnx'


class Server(ThreadingHTTPServer):
    """Serves CONTENT; breaks off or redirects where a test says so."""

    def __init__(self):
        super().__init__(('127.0.0.1', 0), Handler)
        self.content, self.etag = CONTENT, '"v1"'
        self.break_after: list[int] = []  # bytes sent by the next answers before they break off
        self.failures: list[int] = []  # codes of the next answers, after those that break off
        self.ranges: list[str | None] = []
        self.stated = DIGEST  # the checksum that the hub states

    @property
    def url(self):
        return f'http://127.0.0.1:{self.server_port}'


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        if self.path == '/missing':
            return self.send_error(404)
        if self.path == HUB_PATH:
            return self.redirect()
        wanted = self.headers.get('Range')
        server.ranges.append(wanted)
        if server.failures and not server.break_after:
            return self.send_error(server.failures.pop(0))
        start = 0
        if wanted and self.headers.get('If-Range') == server.etag:
            start = int(wanted.removeprefix('bytes=').removesuffix('-'))
            if start >= len(server.content):
                return self.send_error(416)
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header('Content-Length', str(len(body)))
        self.send_header('ETag', server.etag)
        self.end_headers()
        if server.break_after:
            body = body[: server.break_after.pop(0)]
        self.wfile.write(body)
        return None

    def do_HEAD(self):
        if self.path == HUB_PATH:
            self.redirect()
        else:
            self.send_error(404)

    def redirect(self):
        """As the hub leads to where its large files are stored: another host."""
        self.send_response(302)
        self.send_header('Location', f'http://localhost:{self.server.server_port}/blob')
        self.send_header('X-Repo-Commit', '0' * 40)
        self.send_header('X-Linked-ETag', f'"{self.server.stated}"')
        self.send_header('X-Linked-Size', str(len(self.server.content)))
        self.send_header('Content-Length', '0')
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv('GAUSSTR_CACHE', str(tmp_path / 'cache'))
    monkeypatch.delenv('GAUSSTR_OFFLINE', raising=False)
    monkeypatch.setattr(fetch, 'PAUSES', (0.0, 0.0, 0.0))
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_file_is_fetched_once_and_written_down(server, capsys):
    file = RemoteFile('net/a.bin', f'{server.url}/a', 'MIT')
    path = locate(file)
    assert path == cache_folder() / 'net' / 'a.bin'
    assert path.read_bytes() == CONTENT
    entry = json.loads((path.parent / 'checksums.json').read_text())['a.bin']
    assert entry == {'size': len(CONTENT), 'sha256': DIGEST, 'url': file.url}
    locate(file)
    assert len(server.ranges) == 1
    assert not list(path.parent.glob('*.part*'))
    assert check_sum(file, path) == DIGEST
    shown = capsys.readouterr().err  # the progress bar
    assert 'a.bin: 100%' in shown and 'known_hash' not in shown


def test_those_who_start_together_fetch_once(server):
    file = RemoteFile('net/a.bin', f'{server.url}/a', 'MIT')
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(locate, [file] * 4))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert len(server.ranges) == 1


def test_a_broken_transfer_goes_on_where_it_stopped(server):
    server.break_after = [1000, 5000]
    path = locate(RemoteFile('a.bin', f'{server.url}/a', 'MIT', len(CONTENT), DIGEST))
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, 'bytes=1000-', 'bytes=6000-']


def test_a_transfer_that_was_given_up_goes_on_at_the_next_start(server):
    server.break_after, server.failures = [1000], [503, 503, 503]
    file = RemoteFile('a.bin', f'{server.url}/a', 'MIT')
    with pytest.raises(ValueError, match='503'):
        locate(file)
    assert locate(file).read_bytes() == CONTENT
    assert server.ranges == [None, *['bytes=1000-'] * 4]


def test_a_file_that_changed_meanwhile_comes_whole(server):
    server.break_after = [1000]
    part = cache_folder() / 'a.bin.part'
    part.parent.mkdir()
    part.write_bytes(b'old' * 100)
    part.with_name('a.bin.part.etag').write_text('"v0"')
    assert locate(RemoteFile('a.bin', f'{server.url}/a', 'MIT')).read_bytes() == CONTENT


def test_a_part_that_is_whole_already_does_not_stop_the_fetch(server):
    part = cache_folder() / 'a.bin.part'
    part.parent.mkdir()
    part.write_bytes(CONTENT)
    part.with_name('a.bin.part.etag').write_text(server.etag)
    assert locate(RemoteFile('a.bin', f'{server.url}/a', 'MIT')).read_bytes() == CONTENT


def test_a_wrong_checksum_keeps_nothing(server):
    file = RemoteFile('a.bin', f'{server.url}/a', 'MIT', sha256='0' * 64)
    with pytest.raises(ValueError, match=f'a.bin.*expected {"0" * 64} but got {DIGEST}'):
        locate(file)
    left = {path.name for path in cache_folder().iterdir() if path.suffix != '.lock'}
    assert not left
    assert len(server.ranges) == 1


def gausstr_fetch(server, **environment):
    """Run the command in a process of its own, where `server` is a mirror of the hub."""
    command = [sys.executable, '-m', 'gausstr_core.weights.catalogue', 'metric3d-small']
    environment = os.environ | {'HF_ENDPOINT': server.url} | environment
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_the_checksum_that_a_hub_states_is_demanded(server):
    server.stated = 'f' * 64
    run = gausstr_fetch(server)
    assert run.returncode and f'expected {"f" * 64} but got {DIGEST}' in run.stderr
    assert not (cache_folder() / HUB_FILE).exists()
    server.stated = DIGEST
    run = gausstr_fetch(server)
    assert not run.returncode and DIGEST in run.stdout
    assert (cache_folder() / HUB_FILE).read_bytes() == CONTENT
    assert 'no checksum is known' not in run.stderr
    # the mirror is a matter of this run: what is written down is where the file was published
    entry = json.loads((cache_folder() / HUB_FILE).with_name('checksums.json').read_text())
    url = entry['metric3d_vit_small.onnx']['url']
    assert url == f'https://huggingface.co{HUB_PATH}'


def test_a_hub_that_is_forbidden_is_not_asked(server):
    run = gausstr_fetch(server, HF_HUB_OFFLINE='1')
    assert run.returncode and 'HF_HUB_OFFLINE' in run.stderr
    assert str(cache_folder() / HUB_FILE) in run.stderr
    assert not server.ranges


def test_the_first_copy_is_trusted_and_a_second_must_equal_it(server):
    file = RemoteFile('a.bin', f'{server.url}/a', 'MIT')
    locate(file).unlink()
    server.content = CONTENT[::-1]
    server.etag = '"v2"'
    with pytest.raises(ValueError, match=f'expected {DIGEST}'):
        locate(file)


def test_a_damaged_file_is_found(server):
    file = RemoteFile('a.bin', f'{server.url}/a', 'MIT')
    path = locate(file)
    path.write_bytes(CONTENT[:-1] + b'x')
    with pytest.raises(ValueError, match='has sha256'):
        check_sum(file, path)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match=f'{len(CONTENT) - 1} bytes, expected {len(CONTENT)}'):
        locate(file)


def test_without_network_the_message_says_what_to_place_where(monkeypatch, server):
    target = str(cache_folder() / 'net' / 'a.bin')
    file = RemoteFile('net/a.bin', 'http://127.0.0.1:9/a', 'MIT')
    with pytest.raises(ValueError, match='gausstr-fetch') as error:
        locate(file)
    assert target in str(error.value) and file.url in str(error.value)
    with pytest.raises(ValueError, match='404'):
        locate(RemoteFile('b.bin', f'{server.url}/missing', 'MIT'))
    monkeypatch.setenv('GAUSSTR_OFFLINE', '1')
    with pytest.raises(ValueError, match='GAUSSTR_OFFLINE'):
        locate(RemoteFile('c.bin', f'{server.url}/c', 'MIT'))
    assert not server.ranges


def test_a_given_folder_is_never_fetched_into(server, tmp_path):
    file = RemoteFile('net/a.bin', f'{server.url}/a', 'MIT')
    with pytest.raises(ValueError, match=str(tmp_path / 'net' / 'a.bin')):
        locate(file, tmp_path)
    assert not server.ranges
    (tmp_path / 'a.bin').write_bytes(CONTENT)
    assert locate(file, tmp_path) == tmp_path / 'a.bin'


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv('GAUSSTR_CACHE', raising=False)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert cache_folder() == tmp_path / 'gausstr'


def test_every_published_file_has_an_address_and_a_licence():
    names = {}
    for group in catalogue.GROUPS.values():
        for file in group:
            assert file.url.startswith('https://') and file.licence
            assert names.setdefault(file.name, file) == file


def test_the_command_checks_a_folder(monkeypatch, capsys, tmp_path):
    file = RemoteFile('net/a.bin', 'https://example.invalid/a', 'MIT', sha256=DIGEST)
    monkeypatch.setitem(catalogue.GROUPS, 'clip', (file,))
    monkeypatch.setattr('sys.argv', ['gausstr-fetch', 'clip', '--check', str(tmp_path)])
    with pytest.raises(SystemExit, match=r'gausstr-fetch: weights file net/a\.bin is not in'):
        catalogue.main()
    (tmp_path / 'a.bin').write_bytes(CONTENT)
    catalogue.main()
    assert DIGEST in capsys.readouterr().out


class Payload:
    """Pickles into a call."""

    def __reduce__(self):
        return print, ('this must not run',)


def test_a_file_with_code_is_refused_and_named(tmp_path, capsys):
    path = tmp_path / 'bad.pth'
    torch.save({'state_dict': {'a': torch.ones(1)}, 'extra': Payload()}, path)
    with pytest.raises(ValueError, match=r'bad\.pth is refused: .*pickled objects'):
        read_tensors(path)
    assert 'must not run' not in capsys.readouterr().out
    (tmp_path / 'c.pth').write_bytes(b'not weights')
    with pytest.raises(ValueError, match=r'c\.pth'):
        read_tensors(tmp_path / 'c.pth')


def test_tensors_are_found_in_every_wrapping(tmp_path):
    tensors = {'a': torch.arange(3.0)}
    save_file(tensors, tmp_path / 'a.safetensors')
    torch.save(tensors, tmp_path / 'b.pth')
    torch.save({'epoch': 1, 'state_dict': tensors}, tmp_path / 'c.ckpt')
    torch.save({'model': tensors}, tmp_path / 'd.pth')
    for path in sorted(tmp_path.iterdir()):
        assert torch.equal(read_tensors(path)['a'], tensors['a'])


def test_faults_of_the_tensors_are_named(tmp_path):
    linear = torch.nn.Linear(2, 3)
    nan = torch.full((3,), float('nan'))
    for tensors, fault in (
        ({'weight': torch.ones(3, 2)}, 'missing bias'),
        ({'weight': torch.ones(2, 3), 'bias': torch.ones(3)}, r'\(2, 3\), expected \(3, 2\)'),
        ({'weight': torch.ones(3, 2), 'bias': nan}, 'bias is not finite'),
        ({'weight': torch.ones(3, 2), 'bais': torch.ones(3)}, 'unexpected bais'),
    ):
        with pytest.raises(ValueError, match=fault):
            fill(linear, tensors, tmp_path / 'x.pth')
