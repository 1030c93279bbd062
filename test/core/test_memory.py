"""What glibc does with large buffers, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Prints what the function says, how many buffers of 1 and 30 MB glibc maps by themselves, and
# whether a thread that fills 150 MB again and again makes the pages fault in again and again.
PROGRAM = """
import ctypes, resource, threading
from gausstr_core.process.memory import keep_freed_memory

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        'arena', 'ordblks', 'smblks', 'hblks', 'hblkhd',
        'usmblks', 'fsmblks', 'uordblks', 'fordblks', 'keepcost')]

library = ctypes.CDLL(None)
library.mallinfo2.restype = Info
library.malloc.restype = ctypes.c_void_p
done = keep_freed_memory()
before = library.mallinfo2().hblks
kept = [library.malloc(size << 20) for size in (1, 30)]
mapped = library.mallinfo2().hblks - before

def fill():
    places = [ctypes.c_void_p(library.malloc(30 << 20)) for _ in range(5)]
    for place in places:
        library.memset(place, 1, 30 << 20)
    for place in places:
        library.free(place)

def work():
    fill()
    first = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        fill()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - first)

faults = []
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(done, mapped, faults[0] > 500)
"""


def outcome(**environment: str) -> list[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(('MALLOC_', 'GLIBC_'))}
    run = subprocess.run(
        [sys.executable, '-c', PROGRAM],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if 'mallinfo2' in run.stderr:
        pytest.skip('needs glibc 2.33')
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


def test_large_buffers_come_from_the_heap() -> None:
    assert outcome() == ['True', '0', 'False']


def test_what_the_user_chose_stays() -> None:
    assert outcome(MALLOC_MMAP_THRESHOLD_='100000') == ['False', '2', 'True']


RETURNED = """
import ctypes
from gausstr_core.process.memory import keep_freed_memory, resident_memory, return_freed_memory
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
assert keep_freed_memory()
before = resident_memory()
places = [ctypes.c_void_p(library.malloc(30 << 20)) for _ in range(5)]
for place in places:
    library.memset(place, 1, 30 << 20)
for place in places:
    library.free(place)
kept = resident_memory() - before
assert return_freed_memory()
print(kept >> 20, resident_memory() - before >> 20)
"""


@pytest.mark.skipif(not Path('/proc/self/statm').exists(), reason='reads /proc')
def test_what_was_kept_is_given_back_when_asked() -> None:
    """What a node held between configure and cleanup stayed with the process."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(('MALLOC_', 'GLIBC_'))}
    run = subprocess.run(
        [sys.executable, '-c', RETURNED], env=clean, capture_output=True, text=True
    )
    if 'assert keep_freed_memory()' in run.stderr:
        pytest.skip('another C library')
    kept, left = map(int, run.stdout.split())
    assert kept > 140 and left < 10
