"""Files of weights: round trip, and errors that say which file and what was expected."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gausstr_core.transformer.build import build
from gausstr_core.weights import load_weights, read_card, save_weights, shipped_weights


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / 'tiny.safetensors'
    model = build('tiny')
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.125)
    save_weights(model, path, 'tiny')
    return path


def test_round_trip_in_half_precision(file: Path) -> None:
    model = build('tiny')
    load_weights(model, file, 'tiny')
    expected = build('tiny').transformer.query_embeddings + 0.125
    torch.testing.assert_close(model.transformer.query_embeddings, expected, rtol=1e-3, atol=1e-3)
    assert not list(file.parent.glob('*.partial'))


def test_other_preset_is_refused(file: Path) -> None:
    with pytest.raises(ValueError, match=r"tiny.safetensors must be .* preset 'compact'"):
        load_weights(build('compact'), file, 'compact')


def test_missing_unexpected_and_misshapen_keys_are_named(file: Path) -> None:
    tensors = load_file(file)
    tensors.pop('transformer.query_embeddings')
    tensors['transformer.stranger'] = torch.zeros(1)
    tensors['foundation.depth_head.bias'] = torch.zeros(7)
    save_file(tensors, file, metadata={'format': 'gausstr-1', 'preset': 'tiny'})
    with pytest.raises(ValueError) as caught:
        load_weights(build('tiny'), file, 'tiny')
    for text in (
        'missing transformer.query_embeddings',
        'unexpected transformer.stranger',
        '(7,)',
    ):
        assert text in str(caught.value)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', r'broken\.safetensors cannot be read'),
        (b'not safetensors at all', r'broken\.safetensors cannot be read'),
        (None, r'no file of weights at .*broken\.safetensors'),
    ],
)
def test_unreadable_file_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / 'broken.safetensors'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_weights(build('tiny'), path, 'tiny')


def test_truncated_file_is_named(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r'tiny\.safetensors cannot be read'):
        load_weights(build('tiny'), file, 'tiny')


def test_card_must_lie_beside(file: Path) -> None:
    with pytest.raises(ValueError, match='has no card'):
        read_card(file)
    file.with_suffix('.json').write_text('{')
    with pytest.raises(ValueError, match='not valid JSON'):
        read_card(file)


def test_preset_without_weights_says_so() -> None:
    with pytest.raises(ValueError, match='ships without weights'):
        shipped_weights('tiny')


def test_shipped_weights_load_and_are_small() -> None:
    path = shipped_weights('compact')
    assert path.stat().st_size <= 12e6
    load_weights(build('compact'), path, 'compact')
    card = read_card(path)
    for key in ('recipe', 'seed', 'commit', 'data', 'duration_minutes', 'thresholds', 'scores'):
        assert key in card, key
    json.dumps(card)
