"""The vocabulary in force: changed and read by different threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gausstr_core.vocabulary.vocabulary import Vocabulary


class VocabularyPeriod:
    """The time that one vocabulary is in force."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.first_stamp: int | None = None  # of the first set that used it, nanoseconds
        self.ended = False
        self.sets = 0  # under way

    @property
    def decided(self) -> bool:
        """Whether it is clear if a set has used it."""
        return self.first_stamp is not None or (self.ended and not self.sets)


class VocabularyInForce:
    """The vocabulary that the next set will use; changed and read by different threads.

    A cycle reads it once, at its start, so a change falls between two sets.

    Args:
        vocabulary: at the start.
        announce: called with vocabulary and first stamp at each change of either, in their order.
    """

    def __init__(
        self, vocabulary: Vocabulary, announce: Callable[[Vocabulary, int | None], None]
    ) -> None:
        self._changed = threading.Condition()
        self._announce = announce
        self._period = VocabularyPeriod(vocabulary)
        announce(vocabulary, None)

    @property
    def now(self) -> tuple[Vocabulary, int | None]:
        """The vocabulary, and the stamp of the first set that used it, if one has."""
        with self._changed:
            return self._period.vocabulary, self._period.first_stamp

    def replace(self, vocabulary: Vocabulary) -> VocabularyPeriod:
        """Use another vocabulary from the next set on; after `close` no set will."""
        with self._changed:
            closed = self._period.ended  # else the period in force goes on
            self._period.ended = True
            self._period = VocabularyPeriod(vocabulary)
            self._period.ended = closed
            self._announce(vocabulary, None)
            self._changed.notify_all()
            return self._period

    @contextmanager
    def hold(self) -> Iterator[VocabularyPeriod]:
        """Map one set with the vocabulary that is in force as it begins."""
        with self._changed:
            period = self._period
            period.sets += 1
        try:
            yield period
        finally:
            with self._changed:
                period.sets -= 1
                self._changed.notify_all()

    def used(self, period: VocabularyPeriod, stamp: int) -> None:
        """Note that the set at `stamp` was mapped with a vocabulary; before it is published."""
        with self._changed:
            if period.first_stamp is not None:
                return
            self._announce(period.vocabulary, stamp)
            period.first_stamp = stamp
            if period is not self._period:  # replaced meanwhile: what was announced last holds
                self._announce(self._period.vocabulary, self._period.first_stamp)

    def wait_for_use(self, period: VocabularyPeriod, timeout: float) -> None:
        """Wait until a set uses a vocabulary or none will, at most `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: period.decided, timeout)

    def close(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self._period.ended = True
            self._changed.notify_all()
