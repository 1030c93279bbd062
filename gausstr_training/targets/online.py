"""Targets of frames while training runs: from the cache, or made and put there on first use.

What is made is returned as it will be read, packed and unpacked again: so a training does not
depend on which of its frames were in the cache.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import FoundationMaps
from gausstr_core.foundation.interface import FoundationNetwork
from gausstr_training.targets.cache import TargetCache, read_card
from gausstr_training.targets.codec import CodecSettings, PackedTargets, encode
from gausstr_training.targets.container import DamagedFile
from gausstr_training.targets.inputs import Inputs
from gausstr_training.targets.networks import TeacherSpec, card, identity, sizes_of
from gausstr_training.targets.sights import Sight

log = logging.getLogger(__name__)

KEPT, MADE, AGAIN = 'kept', 'made', 'made again'
MaskSource = Callable[[tuple[int, int]], Tensor]  # (height, width) -> [N, height, width] uint8


@dataclass(frozen=True)
class TargetMaps:
    """What the views of a frame should show, and the rig that they belong to."""

    maps: FoundationMaps  # [N, C, h, w], [N, H, W]
    masks: Tensor | None  # [N, H, W] uint8 labels
    rig: CameraRig  # at [H, W]


class Teacher:
    """A foundation network whose maps are kept.

    Args:
        network: what looks at frames that are not in the cache; None: there must be no such.
        cache: where maps are kept; None: nowhere, every frame is looked at every time.
        settings: of the codec; without a cache too, so that the maps are the same.
        device: where the network computes and the maps come out.

    Attributes:
        input_size: (height, width) of the depth.
        feature_dim: channels of the features.
        counts: frames that were kept, made, or made again.

    Raises:
        ValueError: there is neither network nor cache, or the cache's card is damaged.
    """

    input_size: tuple[int, int]
    feature_dim: int

    def __init__(
        self,
        network: FoundationNetwork | None,
        cache: TargetCache | None = None,
        settings: CodecSettings | None = None,
        device: torch.device | str = 'cpu',
    ) -> None:
        if network is not None:
            self.input_size, self.feature_dim = network.input_size, network.feature_dim
        elif cache is not None:
            self.input_size, self.feature_dim = sizes_of(read_card(cache.folder))
        else:
            raise ValueError('a teacher needs a network, or a cache that is full')
        self._network, self._cache, self._device = network, cache, device
        self._settings = settings or CodecSettings()
        self.counts: Counter[str] = Counter()

    @classmethod
    def load(
        cls,
        spec: TeacherSpec,
        root: Path | None = None,
        settings: CodecSettings | None = None,
        device: torch.device | str = 'cpu',
    ) -> Teacher:
        """Load the networks of a teacher and open its folder below `root`.

        Raises:
            ValueError: a file of weights is missing or does not fit.
            OSError: the folder cannot be written.
        """
        return cls.of(spec.label, spec.load(device), root, settings, device)

    @classmethod
    def of(
        cls,
        name: str,
        network: FoundationNetwork,
        root: Path | None,
        settings: CodecSettings | None = None,
        device: torch.device | str = 'cpu',
    ) -> Teacher:
        """A network that is loaded already, called `name`, with its folder below `root`.

        Raises:
            OSError: the folder cannot be written.
        """
        settings = settings or CodecSettings()
        if root is None:
            return cls(network, None, settings, device)
        named = identity(name, network, settings)
        cache = TargetCache.of(root, named, card(name, network, settings))
        return cls(network, cache, settings, device)

    @property
    def cache(self) -> TargetCache | None:
        """Where maps are kept."""
        return self._cache

    def maps_for(
        self,
        key: str,
        images: Sequence[Tensor],
        rig: CameraRig,
        masks: MaskSource | None = None,
    ) -> TargetMaps:
        """The targets of a frame.

        Args:
            key: the same for the same frame; see `TargetCache.path`.
            images: as they are in the bag, uint8 RGB [H_i, W_i, 3]: neither resized nor augmented.
            rig: the cameras at the size of their images.
            masks: gives the labels of a frame that is not in the cache, where they are wanted.

        Raises:
            ValueError: the frame is not in the cache and there is no network, or the network's
                maps cannot be stored.
            OSError: the cache cannot be written.
        """
        packed, _ = self.packed_for(key, images, rig, masks)
        size = (packed.depth.codes.shape[1], packed.depth.codes.shape[2])
        packed = packed.to(self._device)
        return TargetMaps(packed.maps(), packed.masks, rig.resized(*size).to(self._device))

    def packed_for(
        self,
        key: str,
        images: Sequence[Tensor],
        rig: CameraRig,
        masks: MaskSource | None = None,
        sight: Sight | None = None,
    ) -> tuple[PackedTargets, str]:
        """The targets of a frame as they are stored, and how they were come by; see `maps_for`.

        Args:
            key, images, rig, masks: as there.
            sight: in place of the network's own look at the images.

        Returns:
            The targets on the CPU, and 'kept', 'made', or 'made again: ' with the reason.
        """
        inputs = Inputs.of(images, rig)
        found, fault = self._kept(key, inputs, with_masks=masks is not None)
        if found is not None:
            self.counts[KEPT] += 1
            return found, KEPT
        if fault:
            log.warning('%s: made again', fault)
        packed = self._made(key, images, rig, inputs, masks, sight)
        self.counts[AGAIN if fault else MADE] += 1
        return packed, f'{AGAIN}: {fault}' if fault else MADE

    def _kept(
        self, key: str, inputs: Inputs, *, with_masks: bool
    ) -> tuple[PackedTargets | None, str]:
        """What the cache holds, or why that is of no use; '' where there is nothing."""
        if self._cache is None:
            return None, ''
        try:
            found = self._cache.read(key)
        except DamagedFile as error:
            return None, str(error)
        if found is None:
            return None, ''
        fault = found.inputs.difference(inputs)
        if with_masks and found.masks is None:
            fault = 'no masks'
        return (None, f'{self._cache.path(key)} has {fault}') if fault else (found, '')

    def _made(
        self,
        key: str,
        images: Sequence[Tensor],
        rig: CameraRig,
        inputs: Inputs,
        masks: MaskSource | None,
        sight: Sight | None,
    ) -> PackedTargets:
        if self._network is None:
            assert self._cache is not None
            raise ValueError(
                f'{self._cache.path(key)} is missing or not usable, and there is no network to '
                'make it: fill the cache with gausstr-make-targets'
            )
        if sight is None:
            maps, _ = self._network.encode(images, rig, self._device)
        else:
            maps = sight(self._network, self._device)
        size = (maps.depth.shape[1], maps.depth.shape[2])
        labels = masks(size) if masks else None
        teacher = self._cache.teacher if self._cache else ''
        packed, data = encode(key, teacher, maps, inputs, labels, self._settings)
        if self._cache is not None:
            self._cache.write(key, data)
        return packed
