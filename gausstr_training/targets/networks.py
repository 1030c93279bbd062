"""Teachers by name, and an identity that changes with everything their maps depend on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast

import torch
from pooch import file_hash
from torch import nn

from gausstr_core.foundation.combined import CombinedFoundation
from gausstr_core.foundation.interface import DepthNetwork, FeatureNetwork, FoundationNetwork
from gausstr_core.foundation.onnx_network import OnnxGraph
from gausstr_core.foundation.released import FEATURES, NO_DEPTH
from gausstr_core.presets import UNTRAINED
from gausstr_core.process.device import present_device
from gausstr_core.transformer.build import COMPACT_PRESETS, build
from gausstr_core.weights import load_weights, shipped_weights
from gausstr_training.targets.codec import CodecSettings
from gausstr_training.targets.container import MAGIC
from gausstr_training.targets.sights import LIDAR, RENDERER, RendererNetwork

TEACHERS = (*FEATURES, *COMPACT_PRESETS, RENDERER)
# whose words the features of a teacher are compared with, see `words_of`
CLIP, TALK2DINO, MINILM = 'clip', 'talk2dino', 'minilm'
WORDS = {
    'talk2dino': TALK2DINO, 'featup': CLIP, 'maskclip': CLIP,
    **dict.fromkeys((*COMPACT_PRESETS, RENDERER), MINILM),
}  # fmt: skip


@dataclass(frozen=True)
class TeacherSpec:
    """Which networks teach; small, to be sent to workers, which load them.

    Raises:
        ValueError: there is no such teacher, or an option is not one of its own.
    """

    name: str
    folder: Path | None = None  # of the published files; None fetches them
    # of the published teachers: a name in `released.DEPTH_NETWORKS`; of all: 'lidar'
    depth: str = 'metric3d'
    weights: Path | str | None = None  # of our own; None: those that ship, or 'untrained'

    def __post_init__(self) -> None:
        if self.name not in TEACHERS:
            raise ValueError(f'teacher must be one of {", ".join(TEACHERS)}, got {self.name!r}')
        if self.name in FEATURES and self.weights is not None:
            raise ValueError(f'{self.name} reads its weights from a folder, got {self.weights}')
        if self.name not in FEATURES and self.folder is not None:
            raise ValueError(f'{self.name} needs no published files, got folder {self.folder}')
        if self.name == RENDERER and (self.depth == LIDAR or self.weights is not None):
            raise ValueError('the renderer has exact depth and no weights')

    @property
    def label(self) -> str:
        """What its folder in a cache is called, before the digest."""
        return f'{self.name}-{LIDAR}' if self.depth == LIDAR else self.name

    def load(self, device: torch.device | str = 'cpu') -> FoundationNetwork:
        """Load the networks.

        Raises:
            ValueError: a file is missing or does not fit, or the device is absent.
        """
        present_device(device)
        if self.name in FEATURES:
            depth = NO_DEPTH if self.depth == LIDAR else self.depth
            return cast(FoundationNetwork, FEATURES[self.name](self.folder, depth).to(device))
        if self.name == RENDERER:
            return RendererNetwork().to(device)
        model = build(self.name)
        if self.weights != UNTRAINED:
            path = Path(self.weights) if self.weights else shipped_weights(self.name)
            load_weights(model, path, self.name)
        foundation = model.foundation
        return cast(FoundationNetwork, foundation.eval().requires_grad_(False).to(device))


def identity(name: str, network: FoundationNetwork, settings: CodecSettings) -> str:
    """A name that is the same for the same networks and codec settings on any machine.

    Such as talk2dino-4f1c2a90b3d7: the name of the teacher, and a digest of its weights, the
    sizes, the settings and the format of the files.
    """
    assert isinstance(network, nn.Module)
    digest = blake2b(digest_size=6)
    about = [MAGIC.decode(), name, network.input_size, network.feature_dim, asdict(settings)]
    digest.update(json.dumps(about, sort_keys=True).encode())
    for parameter, value in sorted(network.state_dict().items()):
        digest.update(f'{parameter} {value.dtype} {tuple(value.shape)}'.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    for module in network.modules():
        if isinstance(module, OnnxGraph):
            # large graphs keep their weights in a file beside them
            for ending in ('', '_data', '.data'):
                path = module.path.with_name(module.path.name + ending)
                if path.is_file():
                    digest.update(f'{ending} {file_hash(path)}'.encode())
    return f'{name}-{digest.hexdigest()}'


def card(name: str, network: FoundationNetwork, settings: CodecSettings) -> dict[str, Any]:
    """What people should know of a teacher; `name` as in `TeacherSpec.label`."""
    parts: list[FeatureNetwork | DepthNetwork] = []
    if isinstance(network, CombinedFoundation):
        parts = [network.features, *([network.depth] if network.depth else [])]
    return {
        'networks': [part.name for part in parts],
        'input_size': list(network.input_size),
        'feature_dim': network.feature_dim,
        'words': WORDS.get(name.removesuffix(f'-{LIDAR}')),
        'codec': asdict(settings),
    }


def words_of(card: Mapping[str, Any]) -> str:
    """Whose words the features of a folder are compared with: a value of `WORDS`.

    Folders that were filled before cards said so are known by their names.

    Raises:
        ValueError: the card does not say, or names words that nobody here can encode.
    """
    teacher = str(card['teacher'])
    found = card.get('words') or WORDS.get(
        teacher.rpartition('-')[0].removesuffix(f'-{LIDAR}'), 'nothing'
    )
    if found not in WORDS.values():
        raise ValueError(
            f'the features of {teacher} are of a space whose words are unknown: expected one of '
            f'{", ".join(sorted(set(WORDS.values())))} under words in its card, got {found}'
        )
    return str(found)


def sizes_of(card: Mapping[str, Any]) -> tuple[tuple[int, int], int]:
    """Input size (height, width) and channels of the features that a card states.

    Raises:
        ValueError: it does not state them.
    """
    try:
        height, width = card['input_size']
        return (int(height), int(width)), int(card['feature_dim'])
    except (LookupError, TypeError, ValueError):
        raise ValueError(f'the card of {card.get("teacher")} lacks sizes: {card}') from None
