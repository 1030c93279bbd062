"""A process that reads ahead with workers and stops in the middle: `closed` or by an `error`."""

from __future__ import annotations

import sys

import torch
from torch.utils.data import Dataset

from gausstr_training.processes.read_ahead import ReadAhead

BROKEN = 1000


class ManyTensors(Dataset[list[torch.Tensor]]):
    """Items that take long to pack, so that a worker is at it when it is told to end."""

    def __getitem__(self, index: int) -> list[torch.Tensor]:
        if index == BROKEN:
            raise ValueError(f'item {index} is broken')
        return [torch.full((2000,), float(index)) for _ in range(400)]


def main(how: str) -> None:
    """Take some items, then stop."""
    ahead = ReadAhead(ManyTensors(), workers=2)
    for position in range(3):
        assert ahead.at(position)[0][0] == position
    if how == 'error':
        try:
            ahead.at(BROKEN)
        except ValueError:
            raise SystemExit(3) from None  # its context still holds all that was called
    ahead.close()
    ahead.close()
    print('closed')


if __name__ == '__main__':
    main(sys.argv[1])
