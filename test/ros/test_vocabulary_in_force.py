"""The vocabulary in force, without a graph: what a change and an end of it tell those who wait."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy')

from gausstr_core.vocabulary.vocabulary import Category, Vocabulary
from gausstr_ros.vocabulary.in_force import VocabularyInForce

ONE, OTHER = (Vocabulary.build([Category(name)]) for name in ('car', 'tree'))


def test_a_vocabulary_that_comes_after_the_end_is_used_by_no_set():
    """A cleanup while text was being encoded: the reply promised a set, two seconds later."""
    in_force = VocabularyInForce(ONE, lambda *_: None)
    in_force.close()
    period = in_force.replace(OTHER)
    assert period.ended and period.decided and period.first_stamp is None


def test_a_vocabulary_in_its_place_goes_on():
    told = []
    in_force = VocabularyInForce(ONE, lambda vocabulary, stamp: told.append((vocabulary, stamp)))
    before = in_force.replace(OTHER)
    assert not before.ended and not before.decided
    with in_force.hold() as period:
        in_force.used(period, 7)
    assert before.decided and in_force.now == (OTHER, 7)
    assert told == [(ONE, None), (OTHER, None), (OTHER, 7)]
