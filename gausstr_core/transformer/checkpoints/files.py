"""Checkpoints as files: nothing but named tensors in, and out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from gausstr_core.process.reasons import reason
from gausstr_core.weights.opening import open_weights


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The named tensors of a .safetensors or torch (.pth, .pt) file, and its text metadata.

    Of a torch file only the weights are read, under 'state_dict' if there is one; a file that
    holds a single tensor gives it the name ''.

    Raises:
        ValueError: the file is absent, cut off, not such a file, or would run code.
    """
    content, metadata = open_weights(path)
    return _named_tensors(content, path), metadata


def _named_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(content, Tensor):
        return {'': content}
    if isinstance(content, Mapping) and isinstance(content.get('state_dict'), Mapping):
        content = content['state_dict']
    if not isinstance(content, Mapping) or not content:
        raise ValueError(
            f'{path} must hold a tensor, named tensors or a state_dict, got '
            f'{type(content).__name__}'
        )
    foreign = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if foreign:
        raise ValueError(f'{path} must hold tensors only, but not so are: {", ".join(foreign)}')
    return {str(name): value for name, value in content.items()}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write safetensors aside, then rename: nobody ever reads half a file.

    Raises:
        ValueError: the place cannot be written.
    """
    aside = path.with_name(path.name + '.partial')
    text = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in metadata.items()
    }
    whole = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    try:
        save_file(whole, aside, metadata=text)
        os.replace(aside, path)
    except (OSError, SafetensorError) as error:
        aside.unlink(missing_ok=True)
        raise ValueError(f'cannot write {path}: {reason(error)}') from None
