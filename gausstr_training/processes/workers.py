"""Independent jobs in processes that begin and end with their parent, however it ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.synchronize import Event
from typing import TypeVar

THREADS = ('OMP_NUM_THREADS', 'NUMBA_NUM_THREADS')
J = TypeVar('J')
R = TypeVar('R')
Check = Callable[[], None]
_stop: Event | None = None


def run_jobs(
    work: Callable[[J, Check], R], jobs: Sequence[J], workers: int
) -> Generator[tuple[J, R | Exception], None, None]:
    """Every job with its result, or the ValueError or OSError that ended it, as they end.

    Args:
        work: a function of a module; it calls its second argument often, which raises
            KeyboardInterrupt when the work is to end.
        workers: processes; with one all is done in this one.

    Raises:
        ValueError: a worker was killed.
    """
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            yield job, _attempt(work, job)
        return
    # spawned: a fork would copy the parent's scenes, gigabytes of them, page by page
    context = get_context('spawn')
    stop = context.Event()
    pool = ProcessPoolExecutor(min(workers, len(jobs)), context, _begin, (stop,))
    try:
        with interrupts_held_back(), _sharing_threads(workers):
            futures = {pool.submit(_attempt, work, job): job for job in jobs}
        for done in as_completed(futures):
            yield futures[done], done.result()
    except BrokenProcessPool:
        raise ValueError(
            'a worker process was killed, perhaps for want of memory: run the command again, with '
            'fewer --workers; what is complete is kept'
        ) from None
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _attempt(work: Callable[[J, Check], R], job: J) -> R | Exception:
    try:
        return work(job, _check)
    except (ValueError, OSError) as error:
        return error


def _check() -> None:
    if _stop is not None and _stop.is_set():
        raise KeyboardInterrupt


def _begin(stop: Event) -> None:
    global _stop
    _stop = stop
    end_with_parent()


@contextmanager
def _sharing_threads(workers: int) -> Iterator[None]:
    """Processes started within share the cores, unless the user has said how many threads."""
    share = str(max(1, (os.cpu_count() or 1) // workers))
    missing = [name for name in THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(missing, share))
    try:
        yield
    finally:
        for name in missing:
            del os.environ[name]


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Processes started within inherit this: Ctrl-C reaches them too, but the parent decides.

    Held back, not ignored: one that comes meanwhile must still end the parent.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """To be called in a worker: one whose parent was killed would wait for jobs for ever."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
