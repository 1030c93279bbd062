"""Load networks of transformers from folders, strictly and without the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from gausstr_core.weights.first_bytes import refuse_stand_in

FILES = ('config.json', 'model.safetensors')
LISTED = 5  # faults named in a message


def load_pretrained(kind: str, folder: Path) -> Any:
    """A network in eval mode, float32.

    Args:
        kind: the name of the class in transformers.
        folder: holds config.json and model.safetensors.

    Raises:
        ValueError: transformers is missing or too old, the folder is damaged, or a parameter is
            missing, unexpected, of another shape or not finite.
    """
    for file in map(folder.joinpath, FILES):
        if file.is_file():  # what is missing the library names
            refuse_stand_in(file)
    model = _class(kind)
    try:
        with _quiet():
            network, report = model.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                # a wrong shape is reported by name, not by an error that only says "see above"
                ignore_mismatched_sizes=True,
            )
    except Exception as error:  # the library raises its own kinds for a damaged file
        raise ValueError(f'{kind} does not load from {folder}: {error}') from None
    faults = _faults(network, report)
    if faults:
        raise ValueError(
            f'{kind} does not fit {folder}: {"; ".join(faults[:LISTED])} ({len(faults)} in all)'
        )
    return network.float().eval()


def library_class(kind: str) -> Any:
    """A class of transformers by name: the only door to that library, which is slow to import.

    Raises:
        ImportError: transformers is not installed or too old.
    """
    try:
        import transformers
    except ImportError as error:
        raise ImportError(f'install it with: pip install transformers ({error})') from error
    from transformers.utils import logging

    logging.disable_progress_bar()
    if not hasattr(transformers, kind):
        raise ImportError(f'{kind} is not in transformers {transformers.__version__}: upgrade it')
    return getattr(transformers, kind)


def _class(kind: str) -> Any:
    try:
        return library_class(kind)
    except ImportError as error:
        raise ValueError(f'{kind} of transformers is needed: {error}') from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's load report: our error says the same, with the file's name."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _faults(network: torch.nn.Module, report: Mapping[str, Any]) -> list[str]:
    faults = [f'missing {name}' for name in sorted(report['missing_keys'])]
    faults += [f'unexpected {name}' for name in sorted(report['unexpected_keys'])]
    for name, got, expected in sorted(report['mismatched_keys']):
        faults.append(f'{name} has shape {tuple(got)}, expected {tuple(expected)}')
    for name, value in network.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            faults.append(f'{name} is not finite')
    return faults
