"""The processes of torchrun: who we are, sums over all, and what rank 0 knows.

Without torchrun there is one process, and every function here does nothing or gives back what it
got: no other file asks whether training is distributed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from gausstr_core.process.reasons import reason

T = TypeVar('T')


@contextmanager
def joined(device: str) -> Iterator[torch.device]:
    """Join the other processes of torchrun, if there are any; gives this process its device.

    Args:
        device: 'cpu', 'cuda' (under torchrun the GPU of the local rank) or 'cuda:N'.

    Raises:
        ValueError: the device is unknown, there is no such GPU, or the processes do not meet.
    """
    own = _device(device)
    if int(os.environ.get('WORLD_SIZE', '1')) == 1:
        yield own
        return
    if own.type == 'cuda':
        torch.cuda.set_device(own)
    # counts of evaluations live on the CPU wherever the model is
    try:
        dist.init_process_group('cpu:gloo,cuda:nccl' if own.type == 'cuda' else 'gloo')
    except RuntimeError as error:
        place = f'{os.environ.get("MASTER_ADDR")}:{os.environ.get("MASTER_PORT")}'
        raise ValueError(
            f'the processes of torchrun do not meet at {place}: {reason(error)}. Where the name '
            'of this machine does not resolve, give torchrun --master-addr 127.0.0.1 and set '
            'GLOO_SOCKET_IFNAME to an interface that is up, such as lo'
        ) from None
    try:
        yield own
    finally:
        dist.destroy_process_group()


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f'device must be such as cpu or cuda, got {name!r}') from None
    if device.type == 'cpu':
        return device
    if device.type != 'cuda' or not torch.cuda.is_available():
        raise ValueError(f'device {name!r} cannot be used: torch sees no such GPU here')
    index = device.index
    if index is None:
        index = int(os.environ.get('LOCAL_RANK', '0'))
    if index >= torch.cuda.device_count():
        raise ValueError(
            f'device cuda:{index} does not exist: there are {torch.cuda.device_count()} GPUs; '
            'start at most one process for each'
        )
    return torch.device('cuda', index)


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Which of the processes this is."""
    return dist.get_rank() if _together() else 0


def count() -> int:
    """How many processes there are."""
    return dist.get_world_size() if _together() else 1


def check_shares(batch: int, what: str) -> None:
    """Every process must have the same share of a batch.

    Raises:
        ValueError: it has not.
    """
    if batch % count():
        raise ValueError(
            f'{batch} {what} per step cannot be shared by {count()} processes: start a '
            f'number that divides {batch}'
        )


def summed(values: Tensor) -> Tensor:
    """The sum over all processes, without a gradient; every process must call it."""
    if not _together():
        return values.detach()
    total = values.detach().clone()
    dist.all_reduce(total)
    return total


def summed_by_name(values: Mapping[str, float]) -> dict[str, float]:
    """Sums over all processes, which may know different names; every process must call it."""
    if not _together():
        return dict(values)
    known: list[dict[str, float] | None] = [None] * count()
    dist.all_gather_object(known, dict(values))
    total: dict[str, float] = {}
    for part in known:
        for name, value in (part or {}).items():
            total[name] = total.get(name, 0.0) + value
    return total


def gathered(value: T) -> list[T]:
    """What each process has, in the order of ranks; every process must call it."""
    if not _together():
        return [value]
    found = [value] * count()
    dist.all_gather_object(found, value)
    return found


def of_first(value: T) -> T:
    """What rank 0 has; every process must call it."""
    if not _together():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def tensor_of_first(values: Tensor) -> Tensor:
    """The tensor of rank 0, which all have in the same shape; every process must call it."""
    if _together():
        dist.broadcast(values, src=0)
    return values


def any_of(flag: bool, device: torch.device) -> bool:
    """Whether it holds in any process; every process must call it."""
    return bool(summed(torch.tensor(float(flag), device=device)).item()) if _together() else flag


def wait() -> None:
    """Until every process is here."""
    if _together():
        dist.barrier()
