"""The device that a user names: there, or refused by its name before anything is loaded."""

from __future__ import annotations

import torch


def present_device(name: str | torch.device) -> torch.device:
    """The device of a name such as cpu, cuda or cuda:1; never another one in its place.

    Raises:
        ValueError: it is no device, or this machine has none of that kind or number.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        reason = str(error).partition('\n')[0]
        raise ValueError(f'device {str(name)!r} is no torch device: {reason}') from error
    asked = f'device {str(name)!r} was asked for, but torch'
    if device.type == 'cuda':
        if not torch.cuda.is_available():
            raise ValueError(f'{asked} sees no CUDA device')
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            there = 'cuda:0' if count == 1 else f'cuda:0 to cuda:{count - 1}'
            raise ValueError(f'{asked} sees only {there}')
    elif device.type != 'cpu':
        _try(device, asked)
    return device


def _try(device: torch.device, asked: str) -> None:
    """Put a number on a device of another kind (mps, xpu): each says in its own way if absent."""
    try:
        torch.zeros(1, device=device).cpu()
    except Exception as error:
        reason = str(error).partition('\n')[0]
        raise ValueError(f'{asked} cannot use it: {reason}') from error
