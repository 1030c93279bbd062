"""The weights that ship with the package, each with its card, and how files of weights load."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from gausstr_core.weights.opening import expect_file, open_weights
from gausstr_core.weights.tensors import fill

FOLDER = Path(__file__).parent
FORMAT = 'gausstr-1'


def shipped_weights(preset: str) -> Path:
    """Path of the shipped weights of a preset.

    Raises:
        ValueError: the preset ships without weights.
    """
    path = FOLDER / f'{preset}.safetensors'
    if not path.exists():
        raise ValueError(
            f'preset {preset!r} ships without weights ({path.name} is not in {FOLDER}); '
            'give the path of a file made by gausstr-train'
        )
    return path


def read_card(path: Path) -> dict[str, Any]:
    """The card beside a file of weights: recipe, seed, data, scores, thresholds.

    Raises:
        ValueError: the weights or the card are missing, or the card is no JSON object.
    """
    expect_file(path)
    card = path.with_suffix('.json')
    try:
        found = json.loads(card.read_text(encoding='utf-8-sig'))
    except FileNotFoundError:
        raise ValueError(f'{path} has no card: expected {card} beside it') from None
    except ValueError as error:
        raise ValueError(f'{card} is not valid JSON: {error}') from None
    if not isinstance(found, dict):
        raise ValueError(f'{card}: expected a JSON object, got {type(found).__name__}')
    return found


def save_weights(model: nn.Module, path: Path, preset: str) -> None:
    """Write the parameters and statistics as fp16 safetensors, aside first, then renamed."""
    tensors = {
        name: value.detach().cpu().to(torch.float16).contiguous()
        for name, value in model.state_dict().items()
        if value.is_floating_point()
    }
    aside = path.with_suffix('.partial')
    save_file(tensors, aside, metadata={'format': FORMAT, 'preset': preset})
    os.replace(aside, path)


def load_weights(model: nn.Module, path: Path, preset: str) -> None:
    """Fill a freshly built model from a file of `save_weights`.

    Raises:
        ValueError: as `open_weights` and `fill`, or the file is of another preset.
    """
    tensors, metadata = open_weights(path)
    if metadata.get('format') != FORMAT or metadata.get('preset') != preset:
        raise ValueError(
            f'weights file {path} must be {FORMAT} for preset {preset!r}, got '
            f'{metadata.get("format")} for {metadata.get("preset")!r}'
        )
    # num_batches_tracked is the one integer buffer: only training reads it
    unsaved = {k: v for k, v in model.state_dict().items() if not v.is_floating_point()}
    fill(model, unsaved | tensors, path)
