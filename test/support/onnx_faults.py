"""Ways in which an exported network and its check are no pair, and the words of their errors."""

from __future__ import annotations

import json
from pathlib import Path

import pooch
from safetensors import safe_open
from safetensors.torch import save_file

from gausstr_core.foundation.exported import check_path


def _rewrite(path: Path, change) -> None:
    """Write a check anew with other tensors or metadata."""
    with safe_open(check_path(path), framework='pt') as file:
        tensors = {'expected': file.get_tensor('expected')}
        metadata = dict(file.metadata())
    change(tensors, metadata)
    save_file(tensors, check_path(path), metadata=metadata)


def _no_check(path: Path) -> str:
    check_path(path).unlink()
    return r'no file of weights at .*maskclip_32x64\.check'


def _other_graph(path: Path) -> str:
    path.write_bytes(path.read_bytes() + b'\0')
    return 'is not the file that was compared with torch'


def _cut_off(path: Path) -> str:
    path.write_bytes(path.read_bytes()[:2000])
    digest = pooch.file_hash(str(path))
    _rewrite(path, lambda tensors, metadata: metadata.update(sha256=digest))
    return 'cannot be read'


def _other_numbers(path: Path) -> str:
    _rewrite(path, lambda tensors, metadata: tensors['expected'].mul_(1.01))
    return r'differs from torch by 0\.0099 of the largest value'


def _not_numbers(path: Path) -> str:
    _rewrite(path, lambda tensors, metadata: tensors['expected'].fill_(float('nan')))
    return 'differs from torch by nan'


def _other_shape(path: Path) -> str:
    _rewrite(path, lambda tensors, _: tensors.update(expected=tensors['expected'][:, :3].clone()))
    return 'where torch gives'


def _other_format(path: Path) -> str:
    _rewrite(path, lambda tensors, metadata: metadata.update(format='gausstr-engine-0'))
    return 'is not of gausstr-engine-1'


def _other_size(path: Path) -> str:
    def change(tensors, metadata) -> None:
        metadata['facts'] = json.dumps(json.loads(metadata['facts']) | {'height': 64})

    _rewrite(path, change)
    return 'is of maskclip for 64x64, expected maskclip for 32x64'


def _facts_of_another_kind(path: Path) -> str:
    _rewrite(path, lambda tensors, metadata: metadata.update(facts='{"mean": 3}'))
    return 'is not of gausstr-engine-1'


FAULTS = {
    'no check': _no_check,
    'another graph': _other_graph,
    'cut off': _cut_off,
    'other numbers': _other_numbers,
    'not numbers': _not_numbers,
    'another shape': _other_shape,
    'another format': _other_format,
    'another size': _other_size,
    'facts of another kind': _facts_of_another_kind,
}
