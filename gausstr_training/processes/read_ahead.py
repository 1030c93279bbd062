"""Items prepared by worker processes before they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

from gausstr_training.processes.stopping import outlast_signals

T = TypeVar('T')


class ReadAhead(Generic[T]):
    """Items of a data set, mostly asked for in order: first, first + stride, and so on.

    Args:
        items: picklable where there are workers.
        workers: processes that prepare items; 0: the caller does, when asked.
        stride: from one position to the next.
    """

    def __init__(self, items: Dataset[T], workers: int, stride: int = 1) -> None:
        self._items, self._workers, self._stride = items, workers, stride
        self._coming: Iterator[T] = iter(())
        self._next = -1

    def at(self, position: int) -> T:
        """The item at a position; another one than the next starts the workers anew."""
        if self._workers == 0:
            return self._items[position]
        if position != self._next:
            self._coming = iter(self._loader(position))
        self._next = position + self._stride
        return next(self._coming)

    def _loader(self, first: int) -> DataLoader[T]:
        size = len(self._items) if hasattr(self._items, '__len__') else None
        order = count(first, self._stride) if size is None else range(first, size, self._stride)
        return DataLoader(
            self._items, batch_size=None, sampler=order, num_workers=self._workers,
            # a process that has numba's threads must not fork, see gausstr_core/parallel.py
            multiprocessing_context='spawn',
            worker_init_fn=outlast_signals,
        )  # fmt: skip
