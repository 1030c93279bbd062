"""Vocabulary: what a feature is called, and which vocabularies are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from vocabularies import of_names

from gausstr_core.vocabulary.text_encoder import TextEncoder, heldout_synonyms, training_synonyms
from gausstr_core.vocabulary.vocabulary import Category, Vocabulary, stable_color

ENCODER = TextEncoder.default()


def test_the_shipped_vocabulary_names_what_the_network_learns() -> None:
    vocabulary = Vocabulary.from_yaml()
    probabilities = vocabulary.probabilities(ENCODER.centroids())
    assert vocabulary.names == tuple(training_synonyms())
    assert vocabulary.sky_columns == (16,)
    assert probabilities.shape == (17, 17)
    assert (probabilities.diagonal() > 0.9).all()
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(17))
    assert vocabulary.remarks == ()


def test_words_never_taught_name_the_same_classes() -> None:
    assert list(heldout_synonyms()) == list(training_synonyms())
    groups = [
        Category(words[0], tuple(words), role='sky' if name == 'sky' else 'object')
        for name, words in heldout_synonyms().items()
    ]
    best = Vocabulary.build(groups).probabilities(ENCODER.centroids()).argmax(-1)
    assert best.tolist() == list(range(17))


def test_held_out_words_are_not_training_words() -> None:
    taught = {word.lower() for words in training_synonyms().values() for word in words}
    heldout = {word.lower() for words in heldout_synonyms().values() for word in words}
    assert not taught & heldout


def test_mixed_features_go_to_the_larger_part() -> None:
    centroids = ENCODER.centroids()
    vocabulary = Vocabulary.from_yaml()
    generator = torch.Generator().manual_seed(0)
    noise = 0.3 * torch.randn(17, 17, 384, generator=generator) / 384**0.5
    features = 0.65 * centroids[:, None] + 0.35 * centroids[None] + noise
    best = vocabulary.scores(features).argmax(-1)
    assert (best == torch.arange(17)[:, None]).float().mean() > 0.98


def test_the_scale_of_a_feature_does_not_matter_and_shapes_pass_through() -> None:
    vocabulary = of_names(['car', 'person'])
    features = torch.randn(2, 3, 384, generator=torch.Generator().manual_seed(1))
    probabilities = vocabulary.probabilities(features)
    assert probabilities.shape == (2, 3, 3)
    torch.testing.assert_close(vocabulary.probabilities(7 * features), probabilities)
    assert vocabulary.probabilities(features[:0]).shape == (0, 3, 3)


def test_a_vocabulary_without_sky_gets_one_column_more() -> None:
    vocabulary = of_names(['car', 'person', 'plant', 'building', 'ground'])
    assert len(vocabulary) == 5
    assert vocabulary.columns == 6
    assert vocabulary.sky_columns == (5,)
    best = vocabulary.probabilities(ENCODER.centroids()).argmax(-1)
    assert best[16] == 5
    # what fits none of the words must not vanish as free space
    assert (best[:16] != 5).all()


def test_prompts_speak_for_their_category() -> None:
    """GaussTR 23, 32, 35: what the words are is in the vocabulary's file, encoded from there."""
    ground = Category('ground', ('ground', 'road', 'sidewalk', 'grass'), role='ground')
    vocabulary = Vocabulary.build([Category('car'), ground])
    best = vocabulary.probabilities(ENCODER.centroids()[:3]).argmax(-1)
    assert best.tolist() == [1, 1, 1]


def test_the_id_follows_the_content() -> None:
    def id_of(**change: object) -> str:
        given = {'name': 'car', 'prompts': ('car', 'sedan'), 'color': (1, 2, 3), **change}
        return Vocabulary.build([Category(**given)]).id

    ids = [
        id_of(),
        id_of(name='auto'),
        id_of(prompts=('car',)),
        id_of(color=(1, 2, 4)),
        id_of(role='ground'),
    ]
    assert len(set(ids)) == 5
    assert id_of() == ids[0]
    assert all(len(id) == 8 for id in ids)


def test_colors_belong_to_names() -> None:
    assert Category('Tree').color == Category(' tree ').color == stable_color('tree')
    assert Category('tree').color != Category('car').color


def test_unfamiliar_words_are_remarked_upon() -> None:
    remarks = of_names(['car', 'pylon']).remarks
    assert len(remarks) == 1
    assert "'pylon'" in remarks[0] and 'closest' in remarks[0]


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: of_names([]), 'at least one category'),
        (lambda: of_names(['car', ' CAR']), "'CAR' is listed twice"),
        (lambda: of_names([f'thing {i}' for i in range(256)]), 'at most 255'),
        (lambda: Category(''), 'must not be empty'),
        (lambda: Category(' \n'), 'must not be empty'),
        (lambda: Category('x' * 10_000), 'at most 100 characters, got 10000'),
        (lambda: Category('a\x00b'), 'printable'),
        (lambda: Category('car', ('fine', '')), "category 'car': a prompt must not be empty"),
        (lambda: Category('car', ('auto',) * 33), "category 'car': expected at most 32 prompts"),
        (lambda: Category('car', role='air'), "category 'car': role must be one of object"),
        (lambda: Category('car', color=(0, 0, 256)), "category 'car': color must be"),
        (lambda: Category('car', color=(0, 0)), "category 'car': color must be"),
        (lambda: Category(7), 'must be text, got 7'),
    ],
)
def test_refused_vocabularies(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('categories: [', 'is not valid YAML'),
        ('- car', "a list under 'categories'"),
        ('categories: []', 'at least one category'),
        ('categories: [{prompts: [a]}]', 'a category with a name'),
        ('categories: [{name: car, colour: [1, 2, 3]}]', "category 'car': unknown key colour"),
        ('categories: [{name: car, prompts: auto}]', "category 'car': prompts and color must be"),
        ('categories: [{name: 5}]', 'must be text, got 5'),
    ],
)
def test_refused_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / 'words.yaml'
    path.write_text(text)
    with pytest.raises(ValueError, match=r'words\.yaml') as caught:
        Vocabulary.from_yaml(path)
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'nowhere\.yaml.*cannot be read'):
        Vocabulary.from_yaml(tmp_path / 'nowhere.yaml')


def test_a_file_may_list_bare_names(tmp_path: Path) -> None:
    path = tmp_path / 'words.yaml'
    path.write_text('categories: [car, {name: ground, role: ground, color: [1, 2, 3]}]')
    car, ground = Vocabulary.from_yaml(path).categories
    assert (car.prompts, car.role) == (('car',), 'object')
    assert (ground.role, ground.color) == ('ground', (1, 2, 3))


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=120))
def test_any_text_is_either_a_category_or_refused_by_value_error(text: str) -> None:
    try:
        category = Category(text)
    except ValueError:
        return
    assert category.name == text.strip() and category.prompts == (category.name,)
