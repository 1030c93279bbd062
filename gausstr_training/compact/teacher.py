"""The teacher on synthetic streets: the renderer, where GaussTR has foundation models.

It gives true depth, and for each pixel the text embedding of a randomly chosen synonym of the
pixel's class: per image and class one word, as a vision-language model would see one notion
under many names. No 3D label passes here.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from gausstr_core.vocabulary.text_encoder import TextEncoder, training_synonyms
from gausstr_training.compact.batch import Batch, thinned
from gausstr_training.streets.classes import CLASSES


class RendererTeacher:
    """Classes -> text embeddings.

    Raises:
        ValueError: a class has no synonyms to draw from.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        synonyms = training_synonyms()
        missing = [name for name in CLASSES if not synonyms.get(name)]
        if missing:
            raise ValueError(f'no training synonyms for {", ".join(missing)}')
        self._words = [encoder.encode(synonyms[name]) for name in CLASSES]
        centres = torch.stack([words.mean(0) for words in self._words])
        self._common = encoder.centroids().mean(0)  # what all street words share, as Vocabulary
        self.centroids = F.normalize(centres - self._common, dim=-1)  # [classes, C]

    def to(self, device: torch.device) -> RendererTeacher:
        """A copy that judges features on a device; it draws its words on the CPU all the same."""
        moved = copy.copy(self)
        moved._common, moved.centroids = self._common.to(device), self.centroids.to(device)
        return moved

    def centred(self, features: Tensor) -> Tensor:
        """Features [N, C, h, w] without the shared direction, unit length: how words score."""
        unit = F.normalize(features, dim=1) - self._common[:, None, None]
        return F.normalize(unit, dim=1)

    def probabilities(self, features: Tensor, temperature: float) -> Tensor:
        """[P, classes] how likely each class's words name features [P, C]; rows sum to one."""
        unit = F.normalize(F.normalize(features, dim=-1) - self._common, dim=-1)
        return (unit @ self.centroids.T / temperature).softmax(-1)

    def draw(self, images: int, generator: torch.Generator) -> Tensor:
        """One word per image and class: embeddings [images, classes, C]."""
        rows = []
        for _ in range(images):
            picks = [
                words[int(torch.randint(len(words), (1,), generator=generator))]
                for words in self._words
            ]
            rows.append(torch.stack(picks))
        return torch.stack(rows)

    def paint(self, semantics: Tensor, words: Tensor) -> Tensor:
        """Target features [N, C, h, w] for class maps [N, h, w] and words [N, classes, C]."""
        view = torch.arange(len(semantics), device=semantics.device)[:, None, None]
        return words[view, semantics.long()].permute(0, 3, 1, 2)

    def painted(self, batch: Batch, words: Tensor, height: int, width: int) -> Tensor:
        """Target features [N, C, height, width]: each class's word as much as it is likely."""
        if batch.likely is None:
            return self.paint(thinned(batch.semantics, height, width), words)
        shares = batch.shares(height, width, words.shape[1])
        return torch.einsum('nkhw,nkc->nchw', shares, words)
