"""Words -> vectors for the released models: CLIP's text tower, and Talk2DINO on top of it.

CLIP ViT-B/16 text (512 channels) through open_clip_torch, MIT. For `talk2dino` a perceptron
(512 -> 768, tanh, 768 -> 768; arXiv 2411.19331) moves the vector into DINOv2's space. Prompts are
taken bare, as GaussTR's prototypes are; rows have length one. Both come out as a `TextEncoder`,
so that a `Vocabulary` works with either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gausstr_core.foundation.features.clip_vision import HEAD_WIDTH
from gausstr_core.vocabulary.text_encoder import (
    EncodeFunction,
    TextEncoder,
    normalise_word,
    training_synonyms,
)
from gausstr_core.weights.catalogue import CLIP, TALK2DINO
from gausstr_core.weights.fetch import locate
from gausstr_core.weights.tensors import fill, read_tensors, require

CLIP_WIDTH, DINO_WIDTH = 512, 768
WORDS_AT_ONCE = 64
# the text tower's names; a published file holds the image tower as well
TEXT_NAMES = ('token_embedding.', 'positional_embedding', 'transformer.', 'ln_final.',
              'text_projection')  # fmt: skip


class TextProjection(nn.Module):
    """Talk2DINO's perceptron: CLIP text vectors [P, 512] -> DINOv2's space [P, 768]."""

    def __init__(self, width: int = CLIP_WIDTH, out: int = DINO_WIDTH) -> None:
        super().__init__()
        self.linear_layer = nn.Linear(width, out)
        self.hidden_layers = nn.ModuleList([nn.Linear(out, out)])

    @classmethod
    def from_file(cls, path: Path) -> TextProjection:
        """Read a published projection; the sizes come from its tensors.

        Raises:
            ValueError: the file cannot be read or holds something else.
        """
        # older files of Talk2DINO name the second layer differently
        tensors = {
            name.replace('linear_layer2.', 'hidden_layers.0.'): value
            for name, value in read_tensors(path).items()
        }
        out, width = require(tensors, 'linear_layer.weight', path).shape
        projection = cls(width, out)
        fill(projection, tensors, path)
        return projection.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Not normalised."""
        return self.hidden_layers[0](torch.tanh(self.linear_layer(x)))


def clip_encoder(
    folder: Path | str | None = None,
    known: Mapping[str, Tensor] | None = None,
    **comparing: Any,
) -> TextEncoder:
    """The words of the `featup` preset, 512 channels. Nothing loads before the first new word.

    Args:
        folder: where the published files lie; None fetches them into the cache.
        known: word -> vector [512] that a checkpoint brings; see `known_words`.
        comparing: `centred` and `temperature` of the `TextEncoder`.
    """

    def load() -> EncodeFunction:
        return _encode_with(load_text_tower(locate(CLIP, folder)), None)

    return _encoder(load, 'clip-vit-b-16', CLIP_WIDTH, known, **comparing)


def talk2dino_encoder(
    folder: Path | str | None = None,
    known: Mapping[str, Tensor] | None = None,
    **comparing: Any,
) -> TextEncoder:
    """The words of the `talk2dino` preset, 768 channels; arguments as `clip_encoder`."""

    def load() -> EncodeFunction:
        tower = load_text_tower(locate(CLIP, folder))
        return _encode_with(tower, TextProjection.from_file(locate(TALK2DINO, folder)))

    return _encoder(load, 'talk2dino-vitb', DINO_WIDTH, known, **comparing)


def known_words(prototypes: Tensor, prompts: Sequence[str], id: str) -> dict[str, Tensor]:
    """The vectors by word of a checkpoint's text prototypes [P, C], for `known` above.

    Raises:
        ValueError: there is not one prototype per prompt; `id` says whose they are.
    """
    if len(prototypes) != len(prompts):
        raise ValueError(
            f'{id}: expected text prototypes of {len(prompts)} prompts, got {len(prototypes)}'
        )
    return dict(zip(map(normalise_word, prompts), prototypes.float(), strict=True))


def _encoder(
    load: Callable[[], EncodeFunction],
    id: str,
    width: int,
    known: Mapping[str, Tensor] | None,
    **comparing: Any,
) -> TextEncoder:
    # nothing was taught these words, and each takes a tenth of a second on a CPU: one per class
    names = {name: words[:1] for name, words in training_synonyms().items()}
    return TextEncoder(
        dict(known or {}), load, id, width, street_words=names, familiar=None, **comparing
    )


def load_text_tower(path: Path) -> Any:
    """CLIP's text tower of open_clip, filled from a published file; sizes from its tensors.

    Raises:
        ValueError: open_clip is missing, or the file is not CLIP's.
    """
    try:
        import open_clip
    except ImportError:
        raise ValueError(
            "the words of this preset need open_clip_torch: pip install 'gausstr_ros[foundation]'"
        ) from None
    tensors = {k: v for k, v in read_tensors(path).items() if k.startswith(TEXT_NAMES)}
    width = require(tensors, 'ln_final.weight', path).shape[0]
    text = open_clip.CLIPTextCfg(
        context_length=require(tensors, 'positional_embedding', path).shape[0],
        vocab_size=require(tensors, 'token_embedding.weight', path).shape[0],
        width=width,
        heads=width // HEAD_WIDTH,
        layers=len([name for name in tensors if name.endswith('.ln_1.weight')]),
    )
    # open_clip builds both towers or none; the image tower is made tiny and thrown away
    vision = open_clip.CLIPVisionCfg(layers=1, width=HEAD_WIDTH, image_size=16, patch_size=16)
    out = require(tensors, 'text_projection', path).shape[1]
    tower = open_clip.CLIP(out, vision, text, quick_gelu=True)
    del tower.visual, tower.logit_scale
    fill(tower, tensors, path)
    return tower.requires_grad_(False).eval()


def _encode_with(tower: Any, projection: TextProjection | None) -> EncodeFunction:
    import open_clip

    tokenize = open_clip.SimpleTokenizer(context_length=tower.context_length)

    @torch.no_grad()
    def encode(words: Sequence[str]) -> Tensor:
        parts = []
        for start in range(0, len(words), WORDS_AT_ONCE):
            vectors = tower.encode_text(tokenize(list(words[start : start + WORDS_AT_ONCE])))
            parts.append(vectors if projection is None else projection(vectors))
        return F.normalize(torch.cat(parts), dim=-1)

    return encode
