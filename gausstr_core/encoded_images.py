"""What the foundation network made of the images of a set, or of some of its cameras."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import FoundationMaps


@dataclass(frozen=True)
class EncodedImages:
    """The first half of `OccupancyPipeline.run`: what `encode` gives and `map` takes.

    Each camera is encoded by itself, so that a set may be put together of parts that were encoded
    at different times.
    """

    maps: FoundationMaps  # at network size
    known: Tensor | None  # bool [N, H, W] where depth was measured; None: the network's own depth
    rig: CameraRig  # at network size
    seconds: dict[str, float] = field(default_factory=dict)  # wall time per stage
    # bool [N, H, W] of the known pixels those that show a surface; None: all of them
    surface: Tensor | None = None

    @staticmethod
    def join(parts: Sequence[EncodedImages]) -> EncodedImages:
        """One set of the cameras of all parts, in their order; the times add up.

        Raises:
            ValueError: there is no part, a camera comes twice, or depth was measured for some
                parts only.
        """
        if not parts:
            raise ValueError('expected at least one camera that was encoded, got none')
        known = [part.known for part in parts if part.known is not None]
        surface = [part.surface for part in parts if part.surface is not None]
        if len(known) not in (0, len(parts)):
            raise ValueError(
                f'expected measured depth for all {len(parts)} parts or for none, '
                f'got it for {len(known)}'
            )
        seconds: Counter[str] = Counter()
        for part in parts:
            seconds.update(part.seconds)
        return EncodedImages(
            FoundationMaps.join([part.maps for part in parts]),
            torch.cat(known) if known else None,
            CameraRig.join([part.rig for part in parts]),
            dict(seconds),
            torch.cat(surface) if surface else None,
        )

    def split(self) -> list[EncodedImages]:
        """Each camera by itself, not copied, with its share of the time."""
        seconds = {stage: time / len(self.rig) for stage, time in self.seconds.items()}
        return [
            EncodedImages(
                self.maps.select(slice(place, place + 1)),
                None if self.known is None else self.known[place : place + 1],
                self.rig.select((name,)),
                seconds,
                None if self.surface is None else self.surface[place : place + 1],
            )
            for place, name in enumerate(self.rig.names)
        ]

    def posed(self, ego_from_camera: Tensor) -> EncodedImages:
        """The same with the cameras where they were in the ego frame of the set.

        Args:
            ego_from_camera: [N, 4, 4] optical camera -> ego, metres.

        Raises:
            ValueError: one is no rigid transform; the camera is named.
        """
        poses = ego_from_camera.to(self.rig.ego_from_camera)
        return replace(self, rig=replace(self.rig, ego_from_camera=poses))
