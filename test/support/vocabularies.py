"""Vocabularies for tests."""

from __future__ import annotations

from collections.abc import Sequence

from gausstr_core.vocabulary.text_encoder import TextEncoder
from gausstr_core.vocabulary.vocabulary import Category, Vocabulary


def of_names(names: Sequence[str], encoder: TextEncoder | None = None) -> Vocabulary:
    """One category per name, each an object with its name as prompt."""
    return Vocabulary.build([Category(name) for name in names], encoder)
