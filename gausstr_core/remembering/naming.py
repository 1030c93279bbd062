"""Names of what is remembered, in the words of another vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from gausstr_core.remembering.compression import UNKNOWN, Compression
from gausstr_core.remembering.ring import NAMELESS, NEVER, Ring
from gausstr_core.vocabulary.vocabulary import Vocabulary

CHUNK = 8192  # features that are decoded at once


@dataclass(frozen=True)
class Names:
    """Names of all slots in the words of a vocabulary, and of when the slots were."""

    vocabulary: str  # its id
    label: np.ndarray  # [S] uint8
    share: np.ndarray  # [S] uint8
    named: np.ndarray  # [S] int32, `Ring.named` that they were made of


@torch.inference_mode()
def names_of(
    codes: np.ndarray, compression: Compression, vocabulary: Vocabulary
) -> tuple[np.ndarray, np.ndarray]:
    """Labels uint8 [S] and their probability times 255, uint8 [S], of codes [S, COMPONENTS].

    The sky is no name: what is remembered is something.
    """
    label, share = np.zeros((2, len(codes)), np.uint8)
    sky = [column for column in vocabulary.sky_columns if column < len(vocabulary)]
    for start in range(0, len(codes), CHUNK):
        part = slice(start, start + CHUNK)
        features = compression.features(torch.from_numpy(codes[part]))
        found = vocabulary.probabilities(features)[:, : len(vocabulary)].clone()
        found[:, sky] = 0
        found /= found.sum(-1, keepdim=True).clamp_min(1e-9)
        best, index = found.max(-1)
        label[part] = index.numpy().astype(np.uint8)
        share[part] = (best * 255).round().numpy().astype(np.uint8)
    return label, share


def rename(
    ring: Ring, compression: Compression, vocabulary: Vocabulary, prepared: Names | None
) -> None:
    """Give every name of a ring in the words of a vocabulary, in place.

    Args:
        ring: what is remembered.
        compression: of its codes.
        vocabulary: the new words.
        prepared: what was made of an earlier state of the ring; only what is newer is made now.
    """
    before, used = ring.label.copy(), ring.named != NEVER
    stale = used.copy()
    if prepared is not None and prepared.vocabulary == vocabulary.id:
        same = prepared.named == ring.named
        ring.label[same], ring.share[same] = prepared.label[same], prepared.share[same]
        stale &= ~same
    index = np.flatnonzero(stale)
    ring.label[index], ring.share[index] = names_of(ring.code[index], compression, vocabulary)
    unknown = used & (ring.code[:, 0] == UNKNOWN)
    _follow_the_most(ring, before, used & ~unknown, np.flatnonzero(unknown))


def _follow_the_most(
    ring: Ring, before: np.ndarray, known: np.ndarray, unknown: np.ndarray
) -> None:
    """Names without a feature become what most of their old category became, or are lost.

    Args:
        before: [S] the old labels.
        known: bool [S], names with a feature.
        unknown: indices of those without.
    """
    pairs = before[known].astype(np.int64) * 256 + ring.label[known]
    counts = np.bincount(pairs, minlength=256 * 256).reshape(256, 256)
    ring.label[unknown] = counts.argmax(1)[before[unknown]]
    lost = unknown[counts.sum(1)[before[unknown]] == 0]
    lost = lost[ring.owner[lost] != NAMELESS]
    owners = ring.owner[lost]
    ring.slot[owners[ring.slot[owners] == lost]] = NAMELESS
