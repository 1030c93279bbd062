"""Independent jobs in processes that begin and end with their parent, however it ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.synchronize import Event
from typing import Any, TypeVar

THREADS = ('OMP_NUM_THREADS', 'NUMBA_NUM_THREADS')
J = TypeVar('J')
R = TypeVar('R')
Check = Callable[[], None]
TOLD = 0.5  # seconds between two looks at how far the workers are
_stop: Event | None = None
_checks: Any = None  # counts in shared memory


def run_jobs(
    work: Callable[[J, Check], R],
    jobs: Sequence[J],
    workers: int,
    progress: Callable[[int], object] | None = None,
) -> Generator[tuple[J, R | Exception], None, None]:
    """Every job with its result, or the ValueError or OSError that ended it, as they end.

    Args:
        work: a function of a module; it calls its second argument often, which raises
            KeyboardInterrupt when the work is to end.
        workers: processes; with one all is done in this one.
        progress: told, in this process, how many checks the work has made since it was last told.

    Raises:
        ValueError: a worker was killed.
    """
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            yield job, _attempt(work, job, _check if progress is None else lambda: progress(1))
        return
    # spawned: a fork would copy the parent's scenes, gigabytes of them, page by page
    context = get_context('spawn')
    stop, checks = context.Event(), None if progress is None else context.Value('q', 0)
    pool = ProcessPoolExecutor(min(workers, len(jobs)), context, _begin, (stop, checks))
    try:
        with interrupts_held_back(), _sharing_threads(workers):
            futures = {pool.submit(_attempt, work, job): job for job in jobs}
        for done in _ended(futures, progress, checks):
            yield futures[done], done.result()
    except BrokenProcessPool:
        raise ValueError(
            'a worker process was killed, perhaps for want of memory: run the command again, with '
            'fewer --workers; what is complete is kept'
        ) from None
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _ended(
    futures: Iterable[Future[R]], progress: Callable[[int], object] | None, checks: Any
) -> Iterator[Future[R]]:
    """Futures as they end; meanwhile, and once after the last, `progress` is told."""
    waiting, told = set(futures), 0
    while waiting:
        pause = None if progress is None else TOLD
        done, waiting = wait(waiting, pause, FIRST_COMPLETED)
        if progress is not None:
            now = checks.value
            progress(now - told)
            told = now
        yield from done


def _attempt(work: Callable[[J, Check], R], job: J, check: Check | None = None) -> R | Exception:
    try:
        return work(job, check or _check)
    except (ValueError, OSError) as error:
        return error


def _check() -> None:
    if _checks is not None:
        with _checks.get_lock():
            _checks.value += 1
    if _stop is not None and _stop.is_set():
        raise KeyboardInterrupt


def _begin(stop: Event, checks: Any) -> None:
    global _stop, _checks
    _stop, _checks = stop, checks
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
