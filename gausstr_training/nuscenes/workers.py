"""Runs independent jobs in processes that end with their parent, however it ends."""

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
        with _interrupts_held_back():
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


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Processes started within inherit this: Ctrl-C reaches them too, but the parent decides.

    Held back, not ignored: one that comes meanwhile must still end the parent.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(stop: Event) -> None:
    global _stop
    _stop = stop
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for jobs for ever."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
