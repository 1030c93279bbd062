"""Preset `surface`: networks of one's own choice, and nothing that was trained here.

Text-aligned features and depth, estimated or measured, become Gaussians where the depth says that
surfaces are. Each feature network comes with the words that its features were trained to match,
and with how the two are compared:

* `maskclip`, `featup`: words of CLIP. Its authors' softmax is over 100 times the cosines
  (arXiv 2103.00020, section 2.5: the logit scale is cut at 100, where the released models ended).
* `talk2dino`: CLIP's words in DINOv2's space. Its authors train with InfoNCE over cosines divided
  by 0.07 (their src/loss.py; the value at its start, the trained one is not published) and take
  the largest cosine at run time.

Neither was fitted here: the weights could not be had where this was written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gausstr_core.foundation.combined import CombinedFoundation
from gausstr_core.foundation.interface import DepthNetwork
from gausstr_core.foundation.released import TORCH, Size, foundation
from gausstr_core.vocabulary.clip_text import clip_encoder, talk2dino_encoder
from gausstr_core.vocabulary.text_encoder import TextEncoder

SURFACE = 'surface'
FEATURES, DEPTH = 'maskclip', 'metric3d-small'  # where nobody asks for others
# Density above which a voxel is occupied where a network estimates depth: what streets want whose
# true depth has 10 % smooth noise (gausstr_training/benchmarks/surface_threshold.py).
MODEL_THRESHOLD = 0.7


@dataclass(frozen=True)
class NetworkOptions:
    """Which foundation networks run, at which size, and by what."""

    features: str | None = None  # of preset surface: a name in `WORDS`; None: maskclip
    input_size: Size | None = None  # (height, width) of the feature network; None: its own
    depth_size: Size | None = None  # the same of the depth network
    engine: str = TORCH  # one of `released.ENGINES`


@dataclass(frozen=True)
class _Words:
    """The words that features are compared with, and the temperature of the softmax."""

    encoder: Callable[..., TextEncoder]
    temperature: float


WORDS: dict[str, _Words] = {
    'maskclip': _Words(clip_encoder, 0.01),
    'talk2dino': _Words(talk2dino_encoder, 0.07),
    'featup': _Words(clip_encoder, 0.01),
}


def surface_parts(
    options: NetworkOptions, folder: Path | str | None, depth: str | DepthNetwork | None
) -> tuple[CombinedFoundation, TextEncoder]:
    """The networks and the words of preset `surface`.

    Args:
        options: which features, sizes and engine.
        folder: where published files lie; None fetches them.
        depth: a name in `released.DEPTH_NETWORKS`, a network, or 'none' where depth is always
            measured; None: the small Metric3D, whose metres hold for any focal length.

    Raises:
        ValueError: as `released.foundation`, or the features have no words here.
    """
    features = options.features or FEATURES
    if features not in WORDS:
        raise ValueError(f'features must be one of {", ".join(WORDS)}, got {features!r}')
    networks = foundation(
        features,
        folder,
        depth or DEPTH,
        options.input_size,
        depth_size=options.depth_size,
        engine=options.engine,
    )
    words = WORDS[features]
    return networks, words.encoder(folder, centred=False, temperature=words.temperature)
