"""What the node and a replay remember: the core's memory, fed set by set with the ego's poses."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gausstr_core.remembering import Evidence, Memory, MemorySettings
from gausstr_core.stamps import SECOND
from gausstr_core.vocabulary.vocabulary import Vocabulary
from gausstr_ros.cycle.steps import MappedSet

_LOGGER = logging.getLogger(__name__)

# Stamps of a set and of the first image after a jump may lie so far apart, in nanoseconds.
_NEAR = 2 * SECOND


@dataclass(frozen=True)
class Remembering:
    """By what is remembered, from set to set."""

    settings: MemorySettings
    evidence: Evidence


class Past:
    """The memory across changes of its settings; `None` in their place: nothing is remembered.

    One thread calls `remember`; the others may be called from any.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._memory: Memory | None = None
        self._how: Remembering | None = None
        self._asked: dict[str, int] = {}  # reason -> from which stamp on
        self._gone: Counter[str] = Counter()  # resets of a memory that was switched off
        self._unposed = 0
        self._used = False

    def forget(self, reason: str, since: int = 0) -> None:
        """Have everything forgotten before a set that is still to come.

        Args:
            reason: counted, unless nothing is remembered then.
            since: stamp in nanoseconds; sets from long before it are mapped with what is there.
        """
        with self._lock:
            self._asked[reason] = since

    def clear(self, reason: str) -> bool:
        """Forget everything at once; whether there is a memory at all."""
        memory = self._memory
        if memory is None:
            return False
        memory.clear(reason)
        return True

    def relabel(self, vocabulary: Vocabulary) -> None:
        """Name what is remembered in the words of sets to come; not by the thread that maps."""
        memory = self._memory
        if memory is not None:
            memory.relabel(vocabulary)

    def remember(
        self, mapped: MappedSet, how: Remembering | None, pose: NDArray[np.float64] | None
    ) -> MappedSet:
        """The set with what is remembered beside what is seen; then it is remembered as well.

        Args:
            mapped: the set.
            how: by what; a change keeps what is remembered, None forgets it.
            pose: fixed_from_ego [4, 4] at the set's stamp; None: not known, so that the set
                neither gets anything from the memory nor gives it anything.

        Returns:
            The same set where `how` is None.
        """
        memory = self._follow(how, mapped)
        if memory is None:
            return mapped
        for reason in self._due(mapped.stamp):
            memory.clear(reason)
        if pose is None:
            self._unposed += 1
            return replace(mapped, age=torch.zeros(mapped.result.occupancy.labels.shape))
        started = time.perf_counter()
        found = memory.remember(mapped.result, mapped.vocabulary, pose, mapped.stamp)
        if found.reset:
            _LOGGER.info('the memory starts afresh: %s', found.reset)
        result = replace(mapped.result, occupancy=found.occupancy)
        seconds = {**mapped.seconds, 'memory': time.perf_counter() - started}
        return replace(mapped, result=result, age=found.age, seconds=seconds)

    def skip(self, stamp: int) -> None:
        """Note a set that an earlier run has remembered."""
        self._due(stamp)

    def _due(self, stamp: int) -> list[str]:
        """Take out the reasons for which all is to be forgotten before a set."""
        with self._lock:
            due = [reason for reason, since in self._asked.items() if stamp >= since - _NEAR]
            for reason in due:
                del self._asked[reason]
        return due

    def _follow(self, how: Remembering | None, mapped: MappedSet) -> Memory | None:
        if how is self._how:
            return self._memory
        before, self._how = self._memory, how
        if how is None:
            if before is not None:
                self._gone += before.resets
            self._memory = None
            return None
        grid = mapped.result.occupancy.grid if before is None else before.grid
        made = Memory(how.settings, grid, how.evidence)
        if before is not None:
            made.restore(before.state())
        self._memory, self._used = made, True
        return made

    def values(self) -> dict[str, str]:
        """For /diagnostics; empty until something was remembered."""
        if not self._used:
            return {}
        memory, how = self._memory, self._how
        counts = self._gone + Counter({} if memory is None else dict(memory.resets))
        return {
            'memory [s]': f'{how.settings.seconds:g}' if how is not None else 'off',
            'memory: sets without the pose of the ego': str(self._unposed),
            **{f'memory: reset, {why}': str(count) for why, count in sorted(counts.items())},
        }

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that the next sets depend on, as arrays; empty without a memory."""
        if self._memory is None:
            return {}
        return {**self._memory.state(), 'unposed': np.array([self._unposed], np.int64)}

    def restore(self, arrays: Mapping[str, NDArray[Any]], how: Remembering, grid: Any) -> None:
        """Go on where `state` was taken.

        Raises:
            ValueError: the arrays are of another grid, or damaged.
        """
        made = Memory(how.settings, grid, how.evidence)
        try:
            made.restore(arrays)
            self._unposed = int(arrays['unposed'][0])
        except (KeyError, IndexError, TypeError, UnicodeDecodeError) as error:
            raise ValueError(f'memory: damaged state: {error!r}') from error
        self._memory, self._how, self._used = made, how, True
