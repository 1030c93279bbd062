"""Read tensors from the files that others publish, without running code, and fill modules."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

# where published files keep the parameters: Lightning and mmengine, Metric3D, others
WRAPPERS = ('state_dict', 'model_state_dict', 'model')
LISTED = 5  # faults named in a message


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Name -> tensor of a .safetensors file, or of a torch.save'd one read with weights_only.

    Raises:
        ValueError: the file cannot be read, would need to run code, or holds no tensors by name.
    """
    try:
        if path.suffix == '.safetensors':
            return load_file(path)
        content = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f'weights file {path} holds more than tensors and was not opened, because that could '
            f'run its code: {str(error).splitlines()[0]}'
        ) from None
    except (OSError, RuntimeError, EOFError, SafetensorError) as error:
        raise ValueError(f'weights file {path} cannot be read: {error}') from None
    return _named_tensors(content, path)


def _named_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping):
        raise ValueError(
            f'weights file {path}: expected names with tensors, got {type(content).__name__}'
        )
    tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
    if not tensors:
        raise ValueError(f'weights file {path} holds no tensors')
    return tensors


def under(tensors: Mapping[str, Tensor], prefix: str, path: Path) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it.

    Raises:
        ValueError: there are none.
    """
    found = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
    if not found:
        some = ', '.join(sorted(tensors)[:LISTED])
        raise ValueError(f'weights file {path} has no name under {prefix!r}; it has {some}, ...')
    return found


def fill(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy tensors into a module, every one of them, as float32.

    Raises:
        ValueError: a tensor is missing, unexpected, of another shape or not finite; the message
            names the file and the first faults.
    """
    wanted = {name: value.shape for name, value in module.state_dict().items()}
    faults = [f'missing {name}' for name in sorted(wanted.keys() - tensors.keys())]
    faults += [f'unexpected {name}' for name in sorted(tensors.keys() - wanted.keys())]
    for name in sorted(wanted.keys() & tensors.keys()):
        value = tensors[name]
        if value.shape != wanted[name]:
            faults.append(f'{name} has shape {tuple(value.shape)}, expected {tuple(wanted[name])}')
        elif value.is_floating_point() and not torch.isfinite(value).all():
            faults.append(f'{name} is not finite')
    if faults:
        raise ValueError(
            f'weights file {path} does not fit {type(module).__name__}: '
            f'{"; ".join(faults[:LISTED])} ({len(faults)} in all)'
        )
    module.load_state_dict({k: v.float() if v.is_floating_point() else v
                            for k, v in tensors.items()})  # fmt: skip


def require(tensors: Mapping[str, Tensor], name: str, path: Path) -> Tensor:
    """One tensor by name.

    Raises:
        ValueError: the file has none of that name.
    """
    if name not in tensors:
        some = ', '.join(sorted(tensors)[:LISTED])
        raise ValueError(f'weights file {path} has no {name!r}; it has {some}, ...')
    return tensors[name]
