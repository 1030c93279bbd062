from __future__ import annotations

import foundation_files as files
import pytest
import torch
import torch.nn.functional as F
from vocabularies import of_names

from gausstr_core.transformer.checkpoints.checkpoint import load_prototypes
from gausstr_core.vocabulary import clip_text
from gausstr_core.vocabulary.clip_text import (
    clip_encoder,
    known_words,
    talk2dino_encoder,
)
from gausstr_core.weights.tensors import read_tensors

open_clip = pytest.importorskip('open_clip')
WORDS = ['car', 'traffic cone', 'construction vehicle']


@torch.no_grad()
def reference(path, words):
    """open_clip's whole model with the published file, vectors not normalised."""
    vision = open_clip.CLIPVisionCfg(layers=2, width=128, image_size=48, patch_size=16)
    text = open_clip.CLIPTextCfg(context_length=20, width=64, heads=1, layers=2)
    model = open_clip.CLIP(32, vision, text, quick_gelu=True).eval()
    model.load_state_dict(read_tensors(path))
    return model.encode_text(open_clip.SimpleTokenizer(context_length=20)(words))


def test_clip_words_equal_open_clips(tmp_path):
    path = files.write_clip(tmp_path)
    encoder = clip_encoder(tmp_path)
    vectors = encoder.encode(WORDS)
    expected = F.normalize(reference(path, WORDS), dim=-1)
    torch.testing.assert_close(vectors, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(encoder.encode([' Car ']), vectors[:1])


def test_talk2dino_words_go_through_the_projection(tmp_path):
    path, projection = files.write_clip(tmp_path), files.write_talk2dino(tmp_path)
    p = read_tensors(projection)
    x = reference(path, WORDS) @ p['linear_layer.weight'].T + p['linear_layer.bias']
    x = torch.tanh(x) @ p['hidden_layers.0.weight'].T + p['hidden_layers.0.bias']
    expected = F.normalize(x, dim=-1)
    vectors = talk2dino_encoder(tmp_path).encode(WORDS)
    torch.testing.assert_close(vectors, expected, atol=1e-6, rtol=1e-5)
    old = {k.replace('hidden_layers.0', 'linear_layer2'): v for k, v in p.items()}
    torch.save(old, projection)
    torch.testing.assert_close(talk2dino_encoder(tmp_path).encode(WORDS), vectors)


def test_a_vocabulary_works_with_the_released_words(tmp_path):
    files.write_clip(tmp_path)
    files.write_talk2dino(tmp_path)
    encoder = talk2dino_encoder(tmp_path)
    vocabulary = of_names(WORDS, encoder)
    probabilities = vocabulary.probabilities(encoder.encode(WORDS))
    assert probabilities[:, :3].argmax(-1).tolist() == [0, 1, 2]
    assert vocabulary.id != of_names(WORDS, clip_encoder(tmp_path)).id


def test_words_of_a_checkpoint_stand_as_they_are(tmp_path):
    """The matrix that GaussTR multiplies features with: one column per prompt, ours or theirs."""
    files.write_clip(tmp_path)
    encoder = clip_encoder(tmp_path)
    columns = encoder.encode(WORDS).T
    torch.testing.assert_close(columns.norm(dim=0), torch.ones(3))
    torch.save(2 * columns, tmp_path / 'text_proto_embeds_clip.pth')
    stored = load_prototypes(tmp_path / 'text_proto_embeds_clip.pth')
    brought = clip_encoder(tmp_path, known_words(stored.T, WORDS, 'a checkpoint'))
    assert torch.equal(brought.encode(WORDS), 2 * columns.T)
    assert torch.equal(brought.encode(['kerb']), encoder.encode(['kerb']))
    with pytest.raises(ValueError, match='a checkpoint: expected text prototypes of 21 prompts'):
        known_words(stored.T, ['car'] * 21, 'a checkpoint')


def test_missing_files_are_named_only_when_a_word_is_needed(tmp_path, monkeypatch):
    encoder = talk2dino_encoder(tmp_path)
    assert encoder.encode([]).shape == (0, 768)
    with pytest.raises(ValueError, match=r'open_clip_model\.safetensors is not in'):
        encoder.encode(['car'])
    monkeypatch.setitem(clip_text.__dict__, 'TEXT_NAMES', ('nothing',))
    files.write_clip(tmp_path)
    with pytest.raises(ValueError, match=r"has no 'ln_final\.weight'"):
        clip_encoder(tmp_path).encode(['car'])


def test_without_open_clip_the_message_says_what_to_install(tmp_path, monkeypatch):
    files.write_clip(tmp_path)
    monkeypatch.setitem(__import__('sys').modules, 'open_clip', None)
    with pytest.raises(ValueError, match='pip install'):
        clip_encoder(tmp_path).encode(['car'])
