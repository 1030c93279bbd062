"""Tells which kernels numba compiles, while it does: a first start is quiet for seconds else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from numba.core import event

COMPILING = (
    'compiling kernels for this processor: the first start takes up to a minute longer, later '
    'ones find them in the cache of numba'
)


class _Listener(event.Listener):
    """Hands on the name of each kernel that is compiled; one from numba's cache is not."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def on_start(self, event: event.Event) -> None:
        """Called by numba, in the thread that compiles."""
        self._tell(event.data['dispatcher'].py_func.__name__)

    def on_end(self, event: event.Event) -> None:
        """Nothing."""


@contextmanager
def watched_compilation(tell: Callable[[str], None]) -> Iterator[None]:
    """Call `tell` with the name of every kernel that is compiled inside, as that begins."""
    with event.install_listener('numba:compile', _Listener(tell)):
        yield


@contextmanager
def announced_compilation(say: Callable[[str], None]) -> Iterator[None]:
    """Say once that kernels are compiled inside, where any is."""
    told: list[str] = []

    def tell(kernel: str) -> None:
        if not told:
            say(COMPILING)
        told.append(kernel)

    with watched_compilation(tell):
        yield
