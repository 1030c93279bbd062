"""Open files of weights, whoever wrote them, without running anything that is pickled in them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from gausstr_core.process.reasons import reason
from gausstr_core.weights.first_bytes import (
    SAFETENSORS,
    TORCH,
    container,
    first_bytes,
    refuse_stand_in,
)

# What mmengine pickles beside the weights: its log buffers, and the numpy arrays inside them.
# They load as inert stand-ins of these names, so that nothing of mmengine or numpy is called.
INERT = {
    'mmengine.logging.history_buffer': ('HistoryBuffer',),
    'numpy': ('ndarray', 'dtype'),
    'numpy.core.multiarray': ('_reconstruct', 'scalar'),
    'numpy._core.multiarray': ('_reconstruct', 'scalar'),
    '_codecs': ('encode',),
    'builtins': ('getattr',),
}


class Inert:
    """Takes the place of an object in a pickle; made of anything, does nothing."""

    def __new__(cls, *arguments: Any) -> Inert:
        """Ignore what the pickle wants it made of."""
        return super().__new__(cls)

    def __init__(self, *arguments: Any) -> None:
        """Likewise."""

    def __setstate__(self, state: Any) -> None:
        """Ignore the state that the pickle carries."""


def open_weights(path: Path) -> tuple[Any, dict[str, str]]:
    """What a file of safetensors or of torch holds, and its text metadata.

    Which of the two it is its first bytes say, whatever it is called.

    Raises:
        ValueError: the file is absent, cut off, not such a file, or would run code; it is named.
    """
    expect_file(path)
    refuse_stand_in(path)
    found = container(path)
    if found == TORCH:
        return _unpickled(path), {}
    if found != SAFETENSORS:
        raise ValueError(
            f'{path} cannot be read as weights: expected safetensors or a file of torch.save, got '
            f'bytes that begin {first_bytes(path)}'
        )
    try:
        with safe_open(path, framework='pt') as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise ValueError(f'{path} cannot be read as safetensors: {reason(error)}') from None


def expect_file(path: Path) -> None:
    """Raise ValueError unless there is a file, of whatever kind."""
    if path.is_dir():
        raise ValueError(f'expected a file of weights, {path} is a folder')
    if not path.is_file():
        raise ValueError(f'no file of weights at {path}')


def _unpickled(path: Path) -> Any:
    """What a torch file holds, by torch's restricted unpickler."""
    try:
        # opened here: given a path, torch goes by the name and hands .safetensors to safetensors
        with torch.serialization.safe_globals(_stand_ins()), path.open('rb') as file:
            return torch.load(file, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f'{path} is refused: it is no plain file of weights, or it holds pickled objects '
            f'that could run code ({_blamed(reason(error))}). Save its state_dict alone, or as '
            'safetensors'
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, IndexError) as error:
        raise ValueError(f'{path} cannot be read as a torch file: {reason(error)[:200]}') from None


def _blamed(message: str) -> str:
    """The part of torch's long message that says what the file holds."""
    start = message.find('Unsupported')
    return message[max(start, 0) :][:160]


def _stand_ins() -> list[Any]:
    """One inert class for each name in `INERT`; torch matches them by module and name."""
    return [
        type(name, (Inert,), {'__module__': module, '__qualname__': name})
        for module, names in INERT.items()
        for name in names
    ]
