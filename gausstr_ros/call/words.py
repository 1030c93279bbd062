"""Categories as they are typed and printed."""

from __future__ import annotations

from collections.abc import Sequence

from gausstr_core.stamps import nanoseconds
from gausstr_core.vocabulary.vocabulary import ROLES, Category
from gausstr_msgs.msg import Categories
from gausstr_msgs.msg import Category as CategoryMessage
from gausstr_msgs.srv import SetCategories
from gausstr_ros.vocabulary.messages import category_message, role_name


def parse_category(text: str) -> Category:
    """A category from NAME, NAME:ROLE, NAME=PROMPT,PROMPT or NAME=PROMPT,PROMPT:ROLE.

    Raises:
        ValueError: the role is none, or name or prompts are not possible; the text is named.
    """
    words, colon, role = text.partition(':')
    if colon and role not in ROLES:
        raise ValueError(f'{text!r}: expected one of {", ".join(ROLES)} after the colon')
    name, equals, prompts = words.partition('=')
    if equals and not prompts:
        raise ValueError(f'{text!r}: expected prompts, with commas between them, after =')
    return Category(name, tuple(prompts.split(',')) if equals else (), role=role or 'object')


def request(categories: Sequence[Category]) -> SetCategories.Request:
    """What is asked of ~/set_categories."""
    return SetCategories.Request(categories=[category_message(one) for one in categories])


def outcome(reply: SetCategories.Response) -> str:
    """What became of it, as one line."""
    stamp = nanoseconds(reply.first_stamp)
    since = f'from the set at {stamp / 1e9:.3f} s on' if stamp else 'from the next set on'
    remarks = '' if reply.message == 'ok' else f'; {reply.message}'
    return f'vocabulary {reply.vocabulary_id} applies {since}{remarks}'


def table(found: Categories) -> str:
    """A vocabulary, one line for each category in the order of the labels."""
    width = max(len(one.name) for one in found.categories)
    rows = [
        f'vocabulary {found.vocabulary_id}',
        *(_row(i, c, width) for i, c in enumerate(found.categories)),
    ]
    return '\n'.join(rows)


def _row(label: int, category: CategoryMessage, width: int) -> str:
    prompts = ', '.join(category.prompts)
    return f'{label:3d}  {category.name:{width}}  {role_name(category.role):6}  {prompts}'
