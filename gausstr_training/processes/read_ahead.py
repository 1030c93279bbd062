"""Items prepared by worker processes before they are asked for."""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Iterator
from itertools import count
from typing import Any, Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

from gausstr_training.processes.stopping import outlast_signals
from gausstr_training.processes.workers import end_with_parent

T = TypeVar('T')


class ReadAhead(Generic[T]):
    """Items of a data set, mostly asked for in order: first, first + stride, and so on.

    Whoever asks closes it when no more are wanted; its workers outlast the signal by which
    Python ends processes that are forgotten.

    Args:
        items: picklable where there are workers.
        workers: processes that prepare items; 0: the caller does, when asked.
        stride: from one position to the next.
    """

    def __init__(self, items: Dataset[T], workers: int, stride: int = 1) -> None:
        self._items, self._workers, self._stride = items, workers, stride
        self._coming: Iterator[T] = iter(())
        self._end: weakref.finalize[Any, Any] | None = None
        self._next = -1

    def at(self, position: int) -> T:
        """The item at a position; another one than the next starts the workers anew."""
        if self._workers == 0:
            return self._items[position]
        if position != self._next:
            self.close()
            self._start(position)
        self._next = position + self._stride
        return next(self._coming)

    def close(self) -> None:
        """End the workers and wait until they are gone; `at` may start others."""
        if self._end is not None:
            self._end()
        self._coming, self._end, self._next = iter(()), None, -1

    def _start(self, first: int) -> None:
        coming: Any = iter(self._loader(first))
        # at exit too, and where an error's traceback still holds the iterator: torch then does
        # nothing itself, and Python would wait for the workers for ever
        self._end = weakref.finalize(self, coming._shutdown_workers)
        self._coming = coming

    def _loader(self, first: int) -> DataLoader[T]:
        size = len(self._items) if hasattr(self._items, '__len__') else None
        order = count(first, self._stride) if size is None else range(first, size, self._stride)
        return DataLoader(
            self._items, batch_size=None, sampler=order, num_workers=self._workers,
            # a process that has numba's threads must not fork, see process/parallel.py of the core
            multiprocessing_context='spawn',
            worker_init_fn=_begin,
        )  # fmt: skip


def _begin(worker: int) -> None:
    """In a worker, before its first item."""
    outlast_signals(worker)
    # torch's own watch waits for what was packed to be read, by nobody if the parent was killed
    end_with_parent()
    # A worker that is told to end may still have a thread that packs the items it has made. Were
    # the interpreter taken down, as it is where processes are spawned, that thread would be
    # unwound inside C++ of torch: "terminate called without an active exception". What is left
    # to send is wanted by nobody, so the process ends as a forked one does.
    atexit.register(os._exit, 0)
