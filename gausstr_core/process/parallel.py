"""How the numba kernels of this package are compiled and which threads run them.

numba's `workqueue` threading layer aborts the whole process when two Python threads enter a
parallel kernel at once, which a multi-threaded executor does sooner or later. The layers that
survive it are preferred; where only `workqueue` exists, the entries take turns.

A process that has run a kernel must not `fork`: GNU OpenMP does not survive it. Worker
processes use the `spawn` start method, or are forked before the first kernel runs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar, cast

import numba
import torch

numba.config.THREADING_LAYER_PRIORITY = ['tbb', 'omp', 'workqueue']  # type: ignore[attr-defined]

_LOGGER = logging.getLogger(__name__)

K = TypeVar('K', bound=Callable[..., Any])
_turn = threading.Lock()


def kernel(function: K) -> K:
    """Compile a single-threaded numba kernel, kept on disk, without the GIL."""
    return _compiled(function)


def sum_kernel(function: K) -> K:
    """A single-threaded kernel whose sums may be made in any order."""
    return _compiled(function, fastmath=True)


def parallel_kernel(function: K) -> K:
    """Compile a numba kernel whose `prange` loops run on numba's threads."""
    return _compiled(function, parallel=True)


def _compiled(function: K, *, parallel: bool = False, fastmath: bool = False) -> K:
    try:
        return cast(
            K, numba.njit(cache=True, nogil=True, parallel=parallel, fastmath=fastmath)(function)
        )
    except RuntimeError as error:
        # neither beside the sources nor in the user's cache can be written, as on a robot with a
        # read-only disk: numba says so when the module is imported
        if 'cannot cache' not in str(error):
            raise
        _warn_once()
        return cast(K, numba.njit(nogil=True, parallel=parallel, fastmath=fastmath)(function))


@lru_cache(maxsize=1)
def _warn_once() -> None:
    _LOGGER.warning(
        'kernels are compiled anew at every start, no folder for them can be written: set '
        'NUMBA_CACHE_DIR to one that can'
    )


def run(compiled: Callable[..., Any], *arguments: Any) -> Any:
    """Call a parallel kernel; safe from several Python threads whatever the threading layer."""
    if _layer_takes_turns():
        with _turn:
            return compiled(*arguments)
    return compiled(*arguments)


def keep_torch_threads() -> None:
    """Start numba's threads now, and leave torch the number of threads that it has.

    Where both use the same OpenMP, numba's first kernel changes torch's number, and with it the
    last bits of torch's results: what ran before the kernel could not be repeated after it.
    """
    threads = torch.get_num_threads()
    numba.get_num_threads()
    torch.set_num_threads(threads)


def use_threads(count: int) -> None:
    """Run torch's operators, and the kernels of this Python thread, on so many threads.

    In this order: numba starts its own at its first kernel and sets OpenMP's number, which is
    torch's as well, and what ran before would be summed up in another order than what comes after.
    """
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    torch.set_num_threads(count)


def follow_torch_threads() -> None:
    """Let the kernels of this Python thread run on as many threads as torch's operators.

    numba's number is each Python thread's own, and all cores at first: beside a thread that keeps
    the other core busy, a kernel on both waits for the later one.
    """
    use_threads(torch.get_num_threads())


def _layer_takes_turns() -> bool:
    try:
        return bool(numba.threading_layer() == 'workqueue')
    except ValueError:  # no parallel kernel has run yet: the layer is not chosen
        return True
