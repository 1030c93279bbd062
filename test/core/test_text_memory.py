"""Words for weeks, and many at once: the encoder's memory and its patience are bounded."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from gausstr_core.vocabulary import text_encoder
from gausstr_core.vocabulary.text_encoder import PIECE, REMEMBERED, TextEncoder, UnwantedError
from gausstr_core.vocabulary.vocabulary import (
    MAX_CATEGORIES,
    MAX_PROMPTS,
    MAX_PROMPTS_TOGETHER,
    Category,
    Vocabulary,
)

STREET = {'car': ['car', 'van'], 'sky': ['sky']}


class Model:
    """Encodes a word as its hash; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.most_at_once = 0

    def __call__(self, words: Sequence[str]) -> Tensor:
        self.asked += words
        self.most_at_once = max(self.most_at_once, len(words))
        seeds = [torch.Generator().manual_seed(hash(word) % 2**31) for word in words]
        return torch.stack([torch.randn(8, generator=seed) for seed in seeds])


@pytest.fixture
def model() -> Model:
    return Model()


def encoder_of(model: Model, **known: Tensor) -> TextEncoder:
    return TextEncoder(known, lambda: model, 'test', 8, street_words=STREET, familiar=None)


def kept(encoder: TextEncoder) -> int:
    return len(encoder._cache) + len(encoder._remembered)


def test_new_words_for_weeks_do_not_fill_the_memory(model: Model):
    """field_reports R17: the cache of words only grew."""
    encoder = encoder_of(model, shipped=torch.ones(8))
    encoder.encode(['van', 'sky', 'car'])
    for day in range(30):
        encoder.encode([f'word {day} {number}' for number in range(500)])
    assert kept(encoder) == REMEMBERED + 4
    row = encoder._remembered['word 29 499']
    assert row.untyped_storage().nbytes() == 8 * 4, 'a row holds the rows beside it'


def test_the_words_not_used_for_longest_are_forgotten_and_come_back_the_same(
    model: Model, monkeypatch: pytest.MonkeyPatch
):
    """field_reports R17."""
    monkeypatch.setattr(text_encoder, 'REMEMBERED', 10)
    encoder = encoder_of(model, shipped=torch.ones(8))
    words = [f'w{number}' for number in range(10)]
    first = encoder.encode([*words, 'car'])
    encoder.encode(['w0'])
    encoder.encode(['new'])
    model.asked.clear()
    again = encoder.encode(['shipped', 'car', *words])
    assert model.asked == ['w1'], 'the street words stay, and so does what was used lately'
    assert torch.equal(again[2:], first[:10]) and torch.equal(again[0], torch.ones(8))


def test_more_words_at_once_than_are_remembered_still_come_out(
    model: Model, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(text_encoder, 'REMEMBERED', 5)
    words = [f'w{number}' for number in range(50)]
    found = encoder_of(model).encode([*words, *words])
    assert torch.equal(found[:50], found[50:]) and len(model.asked) == 50


def test_words_are_encoded_in_pieces_until_nobody_wants_them(model: Model):
    """field_reports R12: an encoding that nobody waits for ran on for minutes."""
    encoder = encoder_of(model)
    answers = iter([True, True, False])
    words = [f'w{number}' for number in range(10 * PIECE)]
    with pytest.raises(UnwantedError, match=f'{8 * PIECE} words'):
        encoder.encode(words, lambda: next(answers))
    assert model.asked == words[: 2 * PIECE] and model.most_at_once == PIECE
    encoder.encode(words)
    assert model.asked == words, 'what was encoded is not encoded again'


def test_a_vocabulary_is_built_in_pieces_too(model: Model):
    """field_reports R12: through the vocabulary, whose prompts come before the street words."""
    categories = [Category(f'c{n}', tuple(f'p{n} {k}' for k in range(32))) for n in range(20)]
    with pytest.raises(UnwantedError):
        Vocabulary.build(categories, encoder_of(model), wanted=lambda: len(model.asked) < 100)
    assert 100 <= len(model.asked) < 100 + PIECE


@pytest.mark.parametrize(
    ('categories', 'each'), [(MAX_CATEGORIES, MAX_PROMPTS), (MAX_CATEGORIES, 5), (33, MAX_PROMPTS)]
)
def test_too_many_prompts_together_are_refused_with_the_numbers(
    model: Model, categories: int, each: int
):
    """field_reports R12: each category was within its bound, all together were 8160 prompts."""
    wanted = [Category(f'c{n}', tuple(f'{k}' for k in range(each))) for n in range(categories)]
    expected = f'at most {MAX_PROMPTS_TOGETHER} prompts together, got {categories * each} of'
    with pytest.raises(ValueError, match=expected):
        Vocabulary.build(wanted, encoder_of(model))
    assert not model.asked


@pytest.mark.parametrize(('categories', 'each'), [(MAX_CATEGORIES, 4), (32, MAX_PROMPTS)])
def test_as_many_prompts_as_may_be_are_taken(model: Model, categories: int, each: int):
    wanted = [Category(f'c{n}', tuple(f'{n} {k}' for k in range(each))) for n in range(categories)]
    assert len(Vocabulary.build(wanted, encoder_of(model)).prompt_vectors) == categories * each + 1


def test_threads_share_an_encoder(model: Model, monkeypatch: pytest.MonkeyPatch):
    """The text thread encodes while a configure reads the vocabulary of the start."""
    monkeypatch.setattr(text_encoder, 'REMEMBERED', 20)
    encoder, failures = encoder_of(model), []

    def work(number: int) -> None:
        try:
            for turn in range(100):
                words = [f'{(number + turn + k) % 60}' for k in range(30)]
                assert encoder.encode(words).shape == (30, 8)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and len(encoder._remembered) <= 20
