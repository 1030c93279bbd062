"""Frames of one's own bags with the targets that gausstr-make-targets stored, for the compact run.

A teacher's features lie in another space than those of the compact presets. Its own text encoder
tells how likely each class's words name a feature; from there on a pixel is what the compact run
knows from streets, classes that are called by the words of MiniLM, each as much as it is likely.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from gausstr_core.foundation.interface import resize_images
from gausstr_core.surface_preset import WORDS
from gausstr_core.vocabulary.text_encoder import TextEncoder
from gausstr_core.vocabulary.vocabulary import Vocabulary
from gausstr_training.bags.dataset import BagDataset, open_frames
from gausstr_training.bags.frame import BagFrame
from gausstr_training.bags.sets import BagSettings
from gausstr_training.compact.batch import LIKELY_STRIDE, Batch, thinned
from gausstr_training.compact.frames import FrameStore
from gausstr_training.streets.classes import CLASSES, SKY
from gausstr_training.targets.cache import CARD, TargetCache, read_card
from gausstr_training.targets.codec import PackedTargets
from gausstr_training.targets.container import DamagedFile
from gausstr_training.targets.inputs import Inputs
from gausstr_training.targets.networks import CLIP, MINILM, words_of
from gausstr_training.targets.sights import BEYOND

PERIOD = 0.4  # seconds between frames, at least, of bags that name no keyframes
MAKE = 'make them with gausstr-make-targets'


@dataclass(frozen=True)
class Recordings:
    """Where a run's own frames and their targets lie.

    Attributes:
        bags: bags, or folders of bags.
        targets: of one teacher: its folder, or the cache that holds no other.
        folder: where the published text encoder of the teacher lies; None fetches it.
    """

    bags: tuple[Path, ...]
    targets: Path
    folder: Path | None = None


def teacher_folder(root: Path) -> Path:
    """The folder of the one teacher in a cache.

    Raises:
        ValueError: there is none, or several, which are named.
    """
    if (root / CARD).is_file():
        return root
    found = sorted(path.parent for path in root.glob(f'*/{CARD}'))
    if len(found) == 1:
        return found[0]
    if not found:
        raise ValueError(f'--targets {root} holds no targets: {MAKE} --cache {root}')
    names = ', '.join(path.name for path in found)
    raise ValueError(f'--targets {root} holds targets of {names}: give the folder of one')


def vocabulary_of(card: dict[str, Any], folder: Path | None) -> Vocabulary:
    """The classes of the compact run in the words of a teacher.

    Raises:
        ValueError: nobody knows the words of its features, or they cannot be encoded.
    """
    words = words_of(card)
    if words == MINILM:
        encoder = TextEncoder.default()
    else:
        # as preset surface compares them, which is where their temperatures were chosen
        compared = WORDS['featup' if words == CLIP else 'talk2dino']
        encoder = compared.encoder(folder, centred=False, temperature=compared.temperature)
    vocabulary = Vocabulary.from_yaml(encoder=encoder)
    assert vocabulary.names == CLASSES
    if vocabulary.dimension != card.get('feature_dim'):
        raise ValueError(
            f'the features of {card["teacher"]} have {card.get("feature_dim")} channels, '
            f'the words of {words} {vocabulary.dimension}: they are of another space'
        )
    return vocabulary


class RecordedFrames(Dataset[tuple[Batch, Tensor]]):
    """Frames at the network's size, each with its odom_from_ego [4, 4].

    Args:
        recordings: bags and targets.
        height, width: of the images, pixels.

    Raises:
        ValueError: bags or targets cannot be read, a bag has other cameras than the first, a
            frame has no targets, or the words of the features are unknown.
    """

    def __init__(self, recordings: Recordings, height: int, width: int) -> None:
        self._size = height, width
        self._frames = open_frames(list(recordings.bags), BagSettings(period=PERIOD))
        _check_cameras(self._frames)
        self._cache = TargetCache.open(teacher_folder(recordings.targets))
        self._vocabulary = vocabulary_of(read_card(self._cache.folder), recordings.folder)
        self.keys = self._frames.keys
        _check_complete(self._cache, self.keys)
        bags = [key.rsplit('/', 1)[0] for key in self.keys]
        names = list(dict.fromkeys(bags))
        self.bags = [names.index(bag) for bag in bags]  # of each frame, by number
        self.names = names

    @property
    def teacher(self) -> str:
        """The identity of the networks that made the targets."""
        return self._cache.teacher

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> tuple[Batch, Tensor]:
        """Read a frame and what its teacher saw.

        Raises:
            ValueError: its images or targets are damaged or do not belong together; named.
        """
        frame = self._frames[index]
        packed = self._packed(frame)
        shares = self._shares(packed)
        semantics = F.interpolate(shares, self._size, mode='bilinear', align_corners=False).argmax(
            1
        )
        batch = Batch(
            resize_images(frame.images, *self._size),
            self._depth(packed, semantics),
            semantics.to(torch.uint8),
            frame.rig.resized(*self._size),
            self._likely(shares),
        )
        return batch, frame.odom_from_ego

    def _packed(self, frame: BagFrame) -> PackedTargets:
        path = self._cache.path(frame.key)
        try:
            packed = self._cache.read(frame.key)
        except DamagedFile as error:
            raise ValueError(f'{error}: {MAKE} again') from None
        if packed is None:
            raise ValueError(f'{path} is missing: {MAKE}')
        fault = packed.inputs.difference(Inputs.of(frame.images, frame.rig))
        if fault:
            raise ValueError(
                f'{path} are targets of another rig or recording, it was made from {fault}: '
                f'{MAKE} again'
            )
        return packed

    def _shares(self, packed: PackedTargets) -> Tensor:
        """[N, classes, h, w] how likely each class's words name a feature of the teacher."""
        features = packed.features.unpacked().permute(0, 2, 3, 1)
        return self._vocabulary.probabilities(features).permute(0, 3, 1, 2)

    def _likely(self, shares: Tensor) -> Tensor:
        """As `Batch.likely`."""
        size = tuple(-(-side // LIKELY_STRIDE) for side in self._size)
        small = F.interpolate(shares, size, mode='bilinear', align_corners=False, antialias=True)
        return (255 * small + 0.5).to(torch.uint8)

    def _depth(self, packed: PackedTargets, semantics: Tensor) -> Tensor:
        """[N, height, width] float16 metres; 0 for the sky, NaN where nobody knows."""
        depth = thinned(packed.depth.metres(), *self._size)
        depth = torch.where(depth < BEYOND, depth, torch.nan)
        return torch.where(semantics == SKY, 0.0, depth).half()


class RecordedStore(FrameStore):
    """All frames of one's own bags in memory, as `FrameStore` has those of streets."""

    def __init__(self, source: RecordedFrames, workers: int = 0) -> None:
        self.seeds = []
        self.teacher, self.bags = source.teacher, source.names
        self.digest = blake2b(json.dumps(source.keys).encode(), digest_size=6).hexdigest()
        self._read(source, source.bags, workers, 'reading bags and targets')


def _check_cameras(frames: BagDataset) -> None:
    first = frames.bags[0]
    for bag in frames.bags:
        if bag.cameras != first.cameras:
            raise ValueError(
                f'{bag.path} has the cameras {", ".join(bag.cameras)}, {first.path} has '
                f'{", ".join(first.cameras)}: teach one rig at a time'
            )


def _check_complete(cache: TargetCache, keys: Sequence[str]) -> None:
    """Before anything is read: an hour of reading should not end in a file that is not there."""
    missing = [key for key in keys if not cache.path(key).is_file()]
    if missing:
        raise ValueError(
            f'{len(missing)} of {len(keys)} frames have no targets in {cache.folder}, such as '
            f'{missing[0]}: {MAKE} of these bags'
        )
