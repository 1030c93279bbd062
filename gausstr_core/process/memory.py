"""The process's memory: what is freed stays for the buffers of the next cycle; its size."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import sys
from pathlib import Path

import torch

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENA_MAX = -3, -1, -8  # of mallopt(3)
# Up to this size from the heap. Some versions of glibc refuse more than half of HEAP_MAX_SIZE.
_FROM_HEAP = (64 << 20, 32 << 20)
_KEEP_FREE = 512 << 20
_CHOSEN_BY_USER = (
    'MALLOC_MMAP_THRESHOLD_',
    'MALLOC_TRIM_THRESHOLD_',
    'MALLOC_ARENA_MAX',
    'GLIBC_TUNABLES',
)


def keep_freed_memory() -> bool:
    """Tell glibc to keep what is freed; call it first thing in a process that runs the core.

    By default a buffer of more than 128 KiB is mapped anew each time, and its pages fault in one
    by one: a cycle takes a third longer. And a thread that is not the main one would get a heap
    of its own, which never holds such a buffer (10 000 page faults a cycle in the worker).

    Returns:
        Whether it was done: not where the environment chooses, nor with another C library.
    """
    if any(name in os.environ for name in _CHOSEN_BY_USER):
        return False
    try:
        library = ctypes.CDLL(None)
        mallopt, _ = library.mallopt, library.gnu_get_libc_version
    except (AttributeError, OSError, TypeError):
        return False
    # The first also stops glibc from moving the thresholds by itself.
    return (
        any(mallopt(_MMAP_THRESHOLD, size) == 1 for size in _FROM_HEAP)
        and mallopt(_TRIM_THRESHOLD, _KEEP_FREE) == 1
        and mallopt(_ARENA_MAX, 1) == 1
    )


def return_freed_memory() -> bool:
    """Give the system back what was kept for a next cycle; where no cycle is to come soon.

    Returns:
        Whether there was any; False also with another C library.
    """
    gc.collect()
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (AttributeError, OSError, TypeError):
        return False


def resident_memory(process: int | None = None) -> int:
    """Bytes of main memory that a process holds now; None: this one. 0 where that is not known."""
    try:
        fields = Path(f'/proc/{process or "self"}/statm').read_text().split()
    except OSError:
        return 0
    return int(fields[1]) * resource.getpagesize()


def peak_memory(device: torch.device | str = 'cpu') -> str:
    """The most that this process has held so far, in words; with a GPU also what lay on that."""
    unit = 1 if sys.platform == 'darwin' else 1024  # of ru_maxrss, in bytes
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
    text = f'{host:.1f} GiB'
    if torch.device(device).type == 'cuda':
        text += f', on the device {torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB'
    return text
