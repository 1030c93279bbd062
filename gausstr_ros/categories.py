"""Categories messages <-> the core's vocabulary, and the vocabulary in force."""

from __future__ import annotations

import math
import threading

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


class VocabularyInForce:
    """The vocabulary that the next set will use; changed and read by different threads.

    A cycle reads it once, at its start, so a change falls between two sets.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._changed = threading.Condition()
        self._vocabulary = vocabulary
        self._first_stamp: int | None = None

    @property
    def now(self) -> tuple[Vocabulary, int | None]:
        """The vocabulary, and the stamp of the first set that used it, if one has."""
        with self._changed:
            return self._vocabulary, self._first_stamp

    def replace(self, vocabulary: Vocabulary) -> None:
        """Use another vocabulary from the next set on."""
        with self._changed:
            self._vocabulary, self._first_stamp = vocabulary, None

    def begin_cycle(self, stamp: int) -> tuple[Vocabulary, bool]:
        """The vocabulary for the set at `stamp`, and whether this is the first set to use it."""
        with self._changed:
            first = self._first_stamp is None
            if first:
                self._first_stamp = stamp
                self._changed.notify_all()
            return self._vocabulary, first

    def wait_for_first_stamp(self, timeout: float) -> int | None:
        """Wait for a set to use the vocabulary; None when none does within `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._first_stamp is not None, timeout)
            return self._first_stamp
