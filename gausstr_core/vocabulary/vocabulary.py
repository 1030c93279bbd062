"""The vocabulary: categories, and the probability of each category for a feature.

The probabilities are a softmax over how alike feature and words are (likeness.py), or, for the
released rule, over raw products of features and prompts.
"""

from __future__ import annotations

import colorsys
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from gausstr_core.process.reasons import reason
from gausstr_core.vocabulary.likeness import Likeness
from gausstr_core.vocabulary.text_encoder import (
    CONFIG,
    TextEncoder,
    movable_words,
    normalise_word,
)

ROLES = ('object', 'ground', 'sky')
MAX_CATEGORIES = 255  # a label fits into a byte
MAX_PROMPTS = 32  # of one category
MAX_PROMPTS_TOGETHER = 1024  # of a vocabulary: a minute of encoding on a CPU at most
MAX_LENGTH = 100  # characters of a name or prompt

SHIPPED_VOCABULARY = CONFIG / 'vocabulary_occ3d.yaml'


@dataclass(frozen=True)
class Category:
    """A thing to look for.

    Raises:
        ValueError: a name or prompt is empty, unprintable or too long, there are too many
            prompts, or the colour or the role is not one; the message names the category.
    """

    name: str
    prompts: tuple[str, ...] = ()  # the name where none are given
    color: tuple[int, int, int] | None = None  # RGB 0..255; made from the name where not given
    role: str = 'object'  # 'ground': no obstacle in the 2D grid; 'sky': free space
    # whether it can drive or walk away, for a memory over time; None: whether one of its prompts
    # is a word for vehicles, cycles or people
    movable: bool | None = None

    def __post_init__(self) -> None:
        name = _checked_text(self.name, 'the name of a category')
        if len(self.prompts) > MAX_PROMPTS:
            raise ValueError(
                f'category {name!r}: expected at most {MAX_PROMPTS} prompts, '
                f'got {len(self.prompts)}'
            )
        prompts = tuple(
            _checked_text(prompt, f'category {name!r}: a prompt')
            for prompt in self.prompts or (name,)
        )
        if self.role not in ROLES:
            raise ValueError(
                f'category {name!r}: role must be one of {", ".join(ROLES)}, got {self.role!r}'
            )
        color = stable_color(name) if self.color is None else tuple(self.color)
        if len(color) != 3 or not all(
            isinstance(part, int) and 0 <= part <= 255 for part in color
        ):
            raise ValueError(
                f'category {name!r}: color must be three whole numbers 0..255, got {self.color!r}'
            )
        object.__setattr__(self, 'name', name)
        object.__setattr__(self, 'prompts', prompts)
        object.__setattr__(self, 'color', color)
        if self.movable is None:
            words = {normalise_word(word) for word in (name, *prompts)}
            object.__setattr__(self, 'movable', bool(words & movable_words()))
        elif not isinstance(self.movable, bool):
            raise ValueError(
                f'category {name!r}: movable must be true or false, got {self.movable!r}'
            )


class Vocabulary:
    """Categories with their vectors. Make one with `build` or `from_yaml`.

    Columns of `probabilities` are the categories in order; where none of them is the sky, one
    more column stands for it, so that a vocabulary of five objects does not label the sky. That
    column takes only what is closer to the sky than to every other class the model was taught:
    a cone that none of the five words fits must not vanish as free space.
    """

    def __init__(
        self,
        categories: tuple[Category, ...],
        encoder: TextEncoder,
        temperature: float | None = None,
        wanted: Callable[[], bool] | None = None,
    ) -> None:
        encoder.encode([p for category in categories for p in category.prompts], wanted)
        self.categories = categories
        self.temperature = encoder.temperature if temperature is None else temperature
        self.id = _content_id(categories, encoder.id)
        self.encoder_id = encoder.id  # in whose space the prompts are
        self.remarks = _remarks(categories, encoder)
        self._encoder = encoder
        spoken = list(categories)
        self._implicit_sky = not any(category.role == 'sky' for category in categories)
        if self._implicit_sky:
            sky = tuple(encoder.street_words['sky'])
            spoken.append(Category('implicit sky', sky, role='sky'))
        self.columns = len(spoken)  # of `probabilities`
        self.sky_columns = tuple(i for i, c in enumerate(spoken) if c.role == 'sky')
        self._prompts = [category.prompts for category in spoken]
        # [P, C], and the column 0..columns-1 that each belongs to: what `ReleasedRule` goes by
        self.prompt_vectors = encoder.encode([p for words in self._prompts for p in words])
        self.prompt_owners = torch.tensor([i for i, p in enumerate(self._prompts) for _ in p])

    @classmethod
    def build(
        cls,
        categories: Sequence[Category],
        encoder: TextEncoder | None = None,
        temperature: float | None = None,
        wanted: Callable[[], bool] | None = None,
    ) -> Vocabulary:
        """Encode the prompts of `categories`; `encoder` is MiniLM unless given.

        `temperature` is of the softmax over cosines; None: the encoder's. `wanted` is asked now
        and then whether to go on, see `TextEncoder.encode`.

        Raises:
            ValueError: no category, more than 255, more than 1024 prompts together, two
                categories of the same name (whatever the case), or a word that cannot be encoded.
            UnwantedError: `wanted` said no.
        """
        if not categories:
            raise ValueError('a vocabulary needs at least one category, got an empty list')
        if len(categories) > MAX_CATEGORIES:
            raise ValueError(
                f'a vocabulary holds at most {MAX_CATEGORIES} categories, got {len(categories)}'
            )
        prompts = sum(len(category.prompts) for category in categories)
        if prompts > MAX_PROMPTS_TOGETHER:
            raise ValueError(
                f'a vocabulary holds at most {MAX_PROMPTS_TOGETHER} prompts together, got '
                f'{prompts} of {len(categories)} categories'
            )
        seen: set[str] = set()
        for category in categories:
            if category.name.lower() in seen:
                raise ValueError(
                    f'category {category.name!r} is listed twice; names must differ, '
                    'and not only in capitals'
                )
            seen.add(category.name.lower())
        return cls(tuple(categories), encoder or TextEncoder.default(), temperature, wanted)

    @classmethod
    def from_yaml(
        cls,
        path: Path | str = SHIPPED_VOCABULARY,
        encoder: TextEncoder | None = None,
        temperature: float | None = None,
    ) -> Vocabulary:
        """Read a file like config/vocabulary_occ3d.yaml, which is the default.

        Raises:
            ValueError: the file cannot be read or is not of that form; the message names the file
                and the category.
        """
        categories = read_categories(path)
        try:
            return cls.build(categories, encoder, temperature)
        except ValueError as error:
            raise ValueError(f'vocabulary file {path}: {error}') from error

    def __len__(self) -> int:
        return len(self.categories)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the categories, in order."""
        return tuple(category.name for category in self.categories)

    def scores(self, features: Tensor) -> Tensor:
        """Cosines [..., K] in -1..1 of features [..., C]; see likeness.py."""
        return self._likeness.scores(features)

    def probabilities(self, features: Tensor) -> Tensor:
        """Probabilities [..., K] of text-aligned features [..., C]; rows sum to one.

        K is `columns`: the categories in order and, where none is the sky, the sky.
        """
        return (self.scores(features) / self.temperature).softmax(-1)

    def prompt_probabilities(self, features: Tensor) -> Tensor:
        """Probabilities [..., P] of prompts as the released code has them; rows sum to one.

        A softmax over raw products: the length of the features [..., C] is the temperature.
        """
        return (features @ self.prompt_vectors.to(features).T).softmax(-1)

    @property
    def dimension(self) -> int:
        """C, channels of the features that these words are compared with."""
        return self.prompt_vectors.shape[1]

    @cached_property
    def _likeness(self) -> Likeness:
        """Made on demand: it encodes street words, which the released rule never needs."""
        return Likeness(self._prompts, self._encoder, self._implicit_sky)


def read_categories(path: Path | str) -> list[Category]:
    """The categories of a vocabulary file; none of their words is encoded.

    Raises:
        ValueError: as `Vocabulary.from_yaml`.
    """
    try:
        return [_parse(entry) for entry in _entries(Path(path))]
    except ValueError as error:
        raise ValueError(f'vocabulary file {path}: {error}') from error


def stable_color(name: str) -> tuple[int, int, int]:
    """A strong RGB colour that depends only on the name."""
    digest = hashlib.sha256(name.strip().lower().encode()).digest()
    hue, value = int.from_bytes(digest[:2], 'big') / 65536, 0.75 + digest[2] / 1020
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def _checked_text(text: Any, what: str) -> str:
    if not isinstance(text, str):
        raise ValueError(f'{what} must be text, got {text!r}')
    stripped = text.strip()
    if not stripped:
        raise ValueError(f'{what} must not be empty, got {text[:40]!r}')
    if len(stripped) > MAX_LENGTH:
        raise ValueError(
            f'{what} must have at most {MAX_LENGTH} characters, got {len(stripped)}: '
            f'{stripped[:40]!r}...'
        )
    if not stripped.isprintable():
        raise ValueError(f'{what} must be printable, got {stripped!r}')
    return stripped


def _content_id(categories: tuple[Category, ...], encoder_id: str) -> str:
    content = [[c.name, list(c.prompts), c.role, list(c.color or ())] for c in categories]
    text = json.dumps([encoder_id, content], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _remarks(categories: tuple[Category, ...], encoder: TextEncoder) -> tuple[str, ...]:
    """One sentence per prompt that lies close to nothing the network was taught."""
    if encoder.familiar is None:
        return ()
    taught = [word for words in encoder.street_words.values() for word in words]
    vectors = encoder.encode(taught)
    remarks = []
    for category in categories:
        cosines, closest = (encoder.encode(category.prompts) @ vectors.T).max(-1)
        for prompt, cosine, index in zip(category.prompts, cosines, closest, strict=True):
            if cosine < encoder.familiar:
                remarks.append(
                    f'{category.name}: the word {prompt!r} is far from everything the model was '
                    f'taught (closest: {taught[int(index)]!r}, cosine {cosine:.2f}); '
                    'its voxels may be wrong'
                )
    return tuple(remarks)


def _entries(path: Path) -> list[Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f'cannot be read: {reason(error)}') from error
    except yaml.YAMLError as error:
        raise ValueError(f'is not valid YAML: {error}') from error
    if not isinstance(content, dict) or not isinstance(content.get('categories'), list):
        raise ValueError("expected a mapping with a list under 'categories'")
    return content['categories']


def _parse(entry: Any) -> Category:
    if isinstance(entry, str):
        return Category(entry)
    if not isinstance(entry, dict) or 'name' not in entry:
        raise ValueError(f'expected a category with a name, got {str(entry)[:80]!r}')
    unknown = sorted(set(entry) - {'name', 'prompts', 'color', 'role', 'movable'})
    if unknown:
        raise ValueError(
            f'category {entry["name"]!r}: unknown key {", ".join(map(str, unknown))}; '
            'expected name, prompts, color, role, movable'
        )
    prompts, color = entry.get('prompts') or (), entry.get('color')
    if not isinstance(prompts, (list, tuple)) or not isinstance(color, (list, tuple, type(None))):
        raise ValueError(f'category {entry["name"]!r}: prompts and color must be lists')
    return Category(
        entry['name'],
        tuple(prompts),
        None if color is None else tuple(color),
        entry.get('role', 'object'),
        entry.get('movable'),
    )
