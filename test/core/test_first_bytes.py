"""What lies in the place of weights, by its first bytes (field_reports D7, D10, N11)."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gausstr_core.foundation.onnx_network import OnnxNetwork
from gausstr_core.foundation.pretrained import load_pretrained
from gausstr_core.transformer.build import build
from gausstr_core.transformer.checkpoints import checkpoint
from gausstr_core.transformer.checkpoints.convert import main as convert
from gausstr_core.transformer.full.transformer import FullConfig, FullTransformer
from gausstr_core.weights import catalogue, fetch, load_weights, read_card
from gausstr_core.weights.fetch import RemoteFile, locate
from gausstr_core.weights.tensors import read_tensors

POINTER = (
    b'version https://git-lfs.github.com/spec/v1\noid sha256:'
    + b'4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 132382000\n'
)
PAGE = b'\xef\xbb\xbf\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n'
STAND_INS = [
    (POINTER, r'Git LFS pointer of \d+ bytes.*git lfs pull'),
    (POINTER.replace(b'git-lfs.github.com', b'hawser.github.com'), 'Git LFS pointer'),
    (PAGE, "web page, which begins '<!DOCTYPE html>"),
    (b'<?xml version="1.0"?><Error><Code>BlobNotFound</Code></Error>', 'web page'),
    (b'Repository not found', "text, which begins 'Repository not found'"),
    (b'{"error": "Invalid credentials in Authorization header"}', 'text, which begins'),
    (b'', 'empty'),
    (gzip.compress(b'weights', mtime=0), 'packed with gzip: unpack it'),
]


@pytest.mark.parametrize(
    ('content', 'expected'),
    STAND_INS,
    ids=['lfs', 'old lfs', 'page', 'xml', 'text', 'json', 'empty', 'packed'],
)
@pytest.mark.parametrize('name', ['a.safetensors', 'a.pth', 'a.onnx', 'folder', 'cache'])
def test_what_stands_in_for_weights_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, expected: str
) -> None:
    """transformers 27923, MFTCoder 20, OmniParser 34: "header too large", "could run code"."""
    path = tmp_path / name
    if name == 'folder':
        path.mkdir()
        path = path / 'model.safetensors'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f'{path} cannot be read as weights: it is .*{expected}'):
        if name == 'folder':
            load_pretrained('Dinov2WithRegistersModel', path.parent)
        elif name == 'cache':
            monkeypatch.setenv('GAUSSTR_CACHE', str(tmp_path))
            locate(RemoteFile(name, 'https://example.invalid/a', 'MIT'))
        elif name == 'a.onnx':
            OnnxNetwork(path, pixels_in=False)
        else:
            read_tensors(path)


@pytest.mark.parametrize(
    'content', [b'\x89PNG\r\n\x1a\n' + bytes(64), b'\x08\x07\x12\x04', b'v\0']
)
@pytest.mark.parametrize('ending', ['pth', 'bin', 'safetensors'])
def test_other_bytes_are_no_number_in_place_of_a_reason(
    tmp_path: Path, content: bytes, ending: str
) -> None:
    """field_reports N11: torch's own words are "Unsupported operand 118"."""
    path = tmp_path / f'a.{ending}'
    path.write_bytes(content)
    with pytest.raises(SystemExit) as caught:
        convert([str(path), str(tmp_path / 'ours.safetensors')])
    said = str(caught.value)
    assert f'{path} cannot be read' in said and 'operand' not in said and 'Errno' not in said


@pytest.mark.parametrize('name', ['a.pth', 'a.bin', 'a.ckpt', 'a.safetensors', 'a'])
def test_a_file_is_what_its_bytes_say_under_every_name(tmp_path: Path, name: str) -> None:
    """OmniParser 34: one file under three names."""
    tensors = {'a': torch.arange(3.0)}
    save_file(tensors, tmp_path / name)
    assert torch.equal(read_tensors(tmp_path / name)['a'], tensors['a'])
    for modern in (True, False):
        torch.save(tensors, tmp_path / name, _use_new_zipfile_serialization=modern)
        assert torch.equal(read_tensors(tmp_path / name)['a'], tensors['a'])


class Payload:
    """Pickles into a call."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


def test_a_pickle_called_safetensors_still_runs_nothing(tmp_path: Path) -> None:
    torch.save({'a': Payload(tmp_path / 'ran')}, tmp_path / 'a.safetensors')
    with pytest.raises(ValueError, match='could run code'):
        read_tensors(tmp_path / 'a.safetensors')
    assert not (tmp_path / 'ran').exists()


def test_a_page_that_a_proxy_gives_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """field_reports D7: it was trusted as a first copy, and demanded from then on."""
    monkeypatch.setenv('GAUSSTR_CACHE', str(tmp_path))

    def transfer(part: Path, url: str, whole: str, _pooch: object) -> None:
        Path(whole).write_bytes(PAGE)

    monkeypatch.setattr(fetch, 'resume', transfer)
    with pytest.raises(ValueError, match=r'could not be fetched: .*web page.*gausstr-fetch'):
        locate(RemoteFile('net/a.bin', 'https://example.invalid/a', 'MIT'))
    assert not (tmp_path / 'net' / 'a.bin').exists()
    assert not (tmp_path / 'net' / 'checksums.json').exists()


def check(monkeypatch: pytest.MonkeyPatch, folder: Path, **files: RemoteFile) -> None:
    for group, file in files.items():
        monkeypatch.setitem(catalogue.GROUPS, group, (file,))
    monkeypatch.setattr('sys.argv', ['gausstr-fetch', *files, '--check', str(folder)])
    catalogue.main()


def test_the_check_tells_a_match_from_a_file_without_a_known_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """field_reports D7: both were ok."""
    contents = {name: bytes([number]) * 64 for number, name in enumerate('abc', start=1)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    url = 'https://example.invalid/'
    listed = {'b': {'size': 64, 'sha256': digests['b'], 'url': f'{url}b'}}
    text = '\ufeff' + json.dumps(listed)  # with a byte order mark: field_reports D13
    (tmp_path / 'checksums.json').write_text(text, encoding='utf-8')
    known = RemoteFile('a', f'{url}a', 'MIT', sha256=digests['a'])
    others = {name: RemoteFile(name, f'{url}{name}', 'MIT') for name in 'bc'}
    check(monkeypatch, tmp_path, clip=known, dinov2=others['b'], featup=others['c'])
    lines = capsys.readouterr().out.splitlines()
    for line, verdict in zip(
        lines, ['matches the published one', 'matches that in', 'no checksum known'], strict=True
    ):
        assert verdict in line
    (tmp_path / 'a').write_bytes(bytes(64) + b'\x01')
    with pytest.raises(SystemExit, match=r'(?s)/a has sha256 .*expected'):
        check(monkeypatch, tmp_path, clip=known, featup=others['c'])
    assert digests['c'] in capsys.readouterr().out  # what is wrong does not hide the others


@pytest.mark.parametrize('copied', [False, True])
def test_one_file_is_not_accepted_under_several_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copied: bool
) -> None:
    """OmniParser 34; field_reports D7: three networks call their file model.safetensors."""
    one, two = (
        RemoteFile(f'{name}/model.safetensors', 'https://example.invalid/a', 'MIT')
        for name in ('one', 'two')
    )
    save_file({'a': torch.ones(1)}, tmp_path / 'model.safetensors')
    if copied:
        (tmp_path / 'two').mkdir()
        shutil.copy(tmp_path / 'model.safetensors', tmp_path / 'two')
    with pytest.raises(SystemExit, match=r'taken for two/model.* for one/model.*own path below'):
        check(monkeypatch, tmp_path, clip=one, dinov2=two)


CONFIG = FullConfig(feature_dim=12, dim=16, queries=7, layers=2, hidden=24, reduced=5, segments=4)


@pytest.mark.parametrize('metadata', [None, {'format': 'pt'}, {'format': 'np'}, {'step': '3'}])
def test_a_checkpoint_is_ours_only_where_it_says_so(
    tmp_path: Path, metadata: dict[str, str] | None
) -> None:
    """field_reports D10: transformers and others write format: pt, which is not ours."""
    ours = checkpoint.Checkpoint(CONFIG, FullTransformer(CONFIG).state_dict(), None)
    path = tmp_path / 'official.safetensors'
    save_file(checkpoint.to_official(ours), path, metadata=metadata)
    found = checkpoint.load_any(path)
    assert found.state.keys() == ours.state.keys()
    checkpoint.save(ours, path)
    assert checkpoint.load_any(path).config == CONFIG
    save_file({'a': torch.ones(1)}, path, metadata={'format': 'gausstr-1'})
    with pytest.raises(ValueError, match='must be a file of format gausstr-full-1, got gausstr-1'):
        checkpoint.load_any(path)


def test_missing_weights_and_folders_are_said_to_be_so(tmp_path: Path) -> None:
    """field_reports N11."""
    for path, expected in (
        (tmp_path / 'no.safetensors', 'no file of weights'),
        (tmp_path, 'is a'),
    ):
        for read in (read_card, lambda path: load_weights(build('tiny'), path, 'tiny')):
            with pytest.raises(ValueError, match=rf'{expected}.*') as caught:
                read(path)
            assert str(path) in str(caught.value) and 'Errno' not in str(caught.value)
    with pytest.raises(SystemExit, match=f'source: expected a file, {tmp_path} is a folder'):
        convert([str(tmp_path), str(tmp_path / 'x.safetensors')])
    np.savez(tmp_path / 'a.npz', a=np.ones(1))
    (tmp_path / 'x.safetensors').mkdir()
    with pytest.raises(SystemExit, match=r'target: expected a file, .* is a folder'):
        convert([str(tmp_path / 'a.npz'), str(tmp_path / 'x.safetensors')])
