"""How many threads run torch's operators and our kernels."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numba
import pytest
import torch

from gausstr_core.process.parallel import follow_torch_threads, use_threads


def test_kernels_get_as_many_threads_as_there_are_at_most() -> None:
    use_threads(1)
    assert (numba.get_num_threads(), torch.get_num_threads()) == (1, 1)
    use_threads(numba.config.NUMBA_NUM_THREADS + 1)
    assert numba.get_num_threads() == numba.config.NUMBA_NUM_THREADS
    assert torch.get_num_threads() == numba.config.NUMBA_NUM_THREADS + 1


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason='one core')
def test_another_thread_follows_torch_when_it_is_told_to() -> None:
    """Found here: numba's number is each Python thread's own, and all cores at first."""

    def numbers() -> tuple[int, int]:
        before = numba.get_num_threads()
        follow_torch_threads()
        return before, numba.get_num_threads()

    use_threads(1)
    with ThreadPoolExecutor(1) as other:
        before, after = other.submit(numbers).result()
    assert before > 1 and after == 1
    assert torch.get_num_threads() == 1
