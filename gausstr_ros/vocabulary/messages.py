"""Categories messages <-> the vocabulary of the core."""

from __future__ import annotations

import math

from std_msgs.msg import ColorRGBA

from gausstr_core.vocabulary.vocabulary import Category, Vocabulary
from gausstr_msgs.msg import Categories
from gausstr_msgs.msg import Category as CategoryMessage
from gausstr_ros.messages.stamps import header_message

_ROLES = {
    CategoryMessage.OBJECT: 'object',
    CategoryMessage.GROUND: 'ground',
    CategoryMessage.SKY: 'sky',
}


def category_from_message(message: CategoryMessage) -> Category:
    """Check one category.

    Raises:
        ValueError: name, prompts, colour, role, or movable and fixed are not possible; the
            category is named.
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
    if message.movable and message.fixed:
        raise ValueError(
            f'category {message.name[:40]!r}: movable and fixed are both true; set one, or none '
            'to have the node decide by the words'
        )
    movable = message.movable if message.movable or message.fixed else None
    return Category(message.name, tuple(message.prompts), color, _ROLES[message.role], movable)


def category_message(category: Category) -> CategoryMessage:
    """One category as a message; a category has a colour by now, its own or one by its name."""
    r, g, b = (part / 255 for part in category.color)
    numbers = {role: number for number, role in _ROLES.items()}
    return CategoryMessage(
        name=category.name,
        prompts=list(category.prompts),
        color=ColorRGBA(r=r, g=g, b=b, a=1.0),
        role=numbers[category.role],
        movable=bool(category.movable),
        fixed=not category.movable,
    )


def role_name(number: int) -> str:
    """A role in a word; the number itself where it is none of ours."""
    return _ROLES.get(number, str(number))


def categories_message(vocabulary: Vocabulary, first_stamp: int | None) -> Categories:
    """The vocabulary as a message; `first_stamp` in nanoseconds, None before the first set."""
    entries = [category_message(category) for category in vocabulary.categories]
    header = header_message(first_stamp or 0, '')
    return Categories(header=header, vocabulary_id=vocabulary.id, categories=entries)
