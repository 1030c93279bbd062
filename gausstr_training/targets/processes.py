"""Filling a cache with worker processes of this machine, which may die."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import torch

from gausstr_training.processes.workers import end_with_parent, interrupts_held_back
from gausstr_training.targets.filling import FAILED, Filler, FillSpec, Outcome

MOST_DEATHS = 3  # of workers: over one frame, or before any frame was finished

_filler: Filler | None = None  # of a worker process


def fill(spec: FillSpec, indices: Sequence[int], workers: int) -> Iterator[Outcome]:
    """The outcomes of frames, as they come.

    Args:
        spec: what to do.
        indices: of the frames.
        workers: processes; 1: this one.

    Raises:
        ValueError, OSError: as `Filler.fill`.
        ChildProcessError: no worker lives long enough to finish a frame.
    """
    if workers == 1:
        yield from _here(spec, indices)
        return
    waiting, suspects = deque(indices), deque[int]()
    losses: Counter[int] = Counter()
    deaths, finished = 0, False
    while waiting or suspects:
        lost: list[int] = []
        # alone with its worker, a frame is alone to blame
        work, hands = (waiting, workers) if waiting else (suspects, 1)
        for outcome in _until_death(spec, work, hands, lost):
            yield outcome
            deaths, finished = 0, True
        deaths += 1
        if deaths >= MOST_DEATHS and waiting and not finished:
            raise ChildProcessError(f'{deaths} times a worker died before it finished a frame')
        losses.update(lost)
        for index in lost:
            if losses[index] < MOST_DEATHS:
                (waiting if losses[index] < MOST_DEATHS - 1 else suspects).append(index)
                continue
            note = f'a worker that had it in hand died {MOST_DEATHS} times: out of memory?'
            yield Outcome(index, spec.frames.keys[index], FAILED, note, None, ('', 0))


def _here(spec: FillSpec, indices: Sequence[int]) -> Iterator[Outcome]:
    threads = torch.get_num_threads()
    filler = Filler(spec)
    try:
        yield from map(filler.fill, indices)
    finally:
        torch.set_num_threads(threads)


def _until_death(
    spec: FillSpec, waiting: deque[int], workers: int, lost: list[int]
) -> Iterator[Outcome]:
    """Work until nothing waits, or a worker dies: then what was in hand goes to `lost`."""
    running: dict[Future[Outcome], int] = {}
    # spawned, not forked: a process that has run a numba kernel must not fork
    context = get_context('spawn')
    with ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(spec,)) as pool:
        try:
            _hand_out(pool, waiting, running, workers)
            while running:
                ready = []
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    index = running.pop(future)
                    if isinstance(future.exception(), BrokenProcessPool):
                        lost.append(index)
                    else:
                        ready.append(future)
                _hand_out(pool, waiting, running, workers)
                for future in ready:
                    yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _hand_out(
    pool: ProcessPoolExecutor, waiting: deque[int], running: dict[Future[Outcome], int], most: int
) -> None:
    """Give frames to free workers; a pool of which a worker has died takes none."""
    try:
        with interrupts_held_back():
            while waiting and len(running) < most:
                future = pool.submit(_fill, waiting[0])
                running[future] = waiting.popleft()
    except BrokenProcessPool:
        pass


def _begin(spec: FillSpec) -> None:
    global _filler
    end_with_parent()
    _filler = Filler(spec)


def _fill(index: int) -> Outcome:
    assert _filler is not None
    return _filler.fill(index)
