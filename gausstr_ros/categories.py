"""Categories messages <-> the core's vocabulary, and the vocabulary in force."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from std_msgs.msg import ColorRGBA

from gausstr_core.vocabulary import Category, Vocabulary
from gausstr_msgs.msg import Categories
from gausstr_msgs.msg import Category as CategoryMessage
from gausstr_ros.conversions import header_message

_ROLES = {
    CategoryMessage.OBJECT: 'object',
    CategoryMessage.GROUND: 'ground',
    CategoryMessage.SKY: 'sky',
}


def category_from_message(message: CategoryMessage) -> Category:
    """Check one category.

    Raises:
        ValueError: name, prompts, colour or role are not possible; the category is named.
    """
    if message.role not in _ROLES:
        raise ValueError(
            f'category {message.name[:40]!r}: role must be one of OBJECT=0, GROUND=1, SKY=2, '
            f'got {message.role}'
        )
    shade = (message.color.r, message.color.g, message.color.b)
    if not all(math.isfinite(part) and 0 <= part <= 1 for part in shade):
        raise ValueError(f'category {message.name[:40]!r}: color must be within 0..1, got {shade}')
    color = None
    if any((*shade, message.color.a)):
        color = tuple(round(255 * part) for part in shade)
    return Category(message.name, tuple(message.prompts), color, _ROLES[message.role])


def categories_message(vocabulary: Vocabulary, first_stamp: int | None) -> Categories:
    """The vocabulary as a message; `first_stamp` in nanoseconds, None before the first set."""
    numbers = {role: number for number, role in _ROLES.items()}
    entries = []
    for category in vocabulary.categories:
        r, g, b = (part / 255 for part in category.color)
        entries.append(
            CategoryMessage(
                name=category.name,
                prompts=list(category.prompts),
                color=ColorRGBA(r=r, g=g, b=b, a=1.0),
                role=numbers[category.role],
            )
        )
    header = header_message(first_stamp or 0, '')
    return Categories(header=header, vocabulary_id=vocabulary.id, categories=entries)


class Term:
    """The time that one vocabulary is in force."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.first_stamp: int | None = None  # of the first set that used it, nanoseconds
        self.ended = False


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
        self._term = Term(vocabulary)
        announce(vocabulary, None)

    @property
    def now(self) -> tuple[Vocabulary, int | None]:
        """The vocabulary, and the stamp of the first set that used it, if one has."""
        with self._changed:
            return self._term.vocabulary, self._term.first_stamp

    def replace(self, vocabulary: Vocabulary) -> Term:
        """Use another vocabulary from the next set on."""
        with self._changed:
            self._term.ended = True
            self._term = Term(vocabulary)
            self._announce(vocabulary, None)
            self._changed.notify_all()
            return self._term

    def begin_cycle(self, stamp: int) -> Vocabulary:
        """The vocabulary for the set at `stamp`."""
        with self._changed:
            term = self._term
            if term.first_stamp is None:
                term.first_stamp = stamp
                self._announce(term.vocabulary, stamp)
                self._changed.notify_all()
            return term.vocabulary

    def wait_for_use(self, term: Term, timeout: float) -> None:
        """Wait until a set uses a vocabulary or another replaces it, at most `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: term.first_stamp is not None or term.ended, timeout)

    def close(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self._term.ended = True
            self._changed.notify_all()
