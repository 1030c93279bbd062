"""Read tensors from the files that others publish, without running code, and fill modules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gausstr_core.weights.opening import open_weights

# where published files keep the parameters: Lightning and mmengine, others
WRAPPERS = ('state_dict', 'model')
LISTED = 5  # faults named in a message


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Name -> tensor of a published file; what else it holds beside tensors is left out.

    Raises:
        ValueError: as `open_weights`, or it holds no tensors by name.
    """
    return _named_tensors(open_weights(path)[0], path)


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
