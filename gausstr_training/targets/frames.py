"""What the targets need to know of frames, wherever these come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from gausstr_core.camera.rig import CameraRig


class TargetFrame(Protocol):
    """One frame as it was recorded; `gausstr_training.bags.frame.BagFrame` is one."""

    @property
    def key(self) -> str:
        """The same for the same frame, wherever the data lies: '<bag>/<stamp>'."""
        ...

    @property
    def images(self) -> Sequence[Tensor]:
        """Per camera [H_i, W_i, 3] uint8 RGB."""
        ...

    @property
    def image_stamps(self) -> Sequence[int]:
        """Per camera, in ns."""
        ...

    @property
    def rig(self) -> CameraRig:
        """The cameras at the size of their images."""
        ...


class FrameSource(Protocol):
    """Frames by index; `gausstr_training.bags.dataset.BagDataset` is one. Must be picklable."""

    @property
    def keys(self) -> Sequence[str]:
        """The key of every frame, without reading any."""
        ...

    def __getitem__(self, index: int) -> TargetFrame:
        """Read a frame; ValueError where it cannot be read."""
        ...
