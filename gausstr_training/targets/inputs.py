"""What a frame's targets were made from, in short: enough to notice that the frame has changed.

A key names a frame; it does not say that a bag was recorded or rendered anew under the same name,
or calibrated again. Pictures are compared by the mean colours of a few patches, with a tolerance,
because decoders of JPEG differ in the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gausstr_core.camera.rig import CameraRig
from gausstr_training.targets.container import DamagedFile, Section

PATCHES = 8  # along each side of an image
COLOUR = 3  # of 255: what decoders may differ by, on the mean of a patch
RELATIVE = 1e-4  # of intrinsics
METRES = 1e-3  # of poses, and as much of the cosines in their rotations


@dataclass(frozen=True)
class Inputs:
    """Pictures and rig of a frame."""

    colours: NDArray[np.uint8]  # [N, PATCHES, PATCHES, 3] mean RGB
    intrinsics: NDArray[np.float32]  # [N, 3, 3] in pixels of the original images
    poses: NDArray[np.float32]  # [N, 4, 4] ego_from_camera

    @classmethod
    def of(cls, images: Sequence[Tensor], rig: CameraRig) -> Inputs:
        """Of original images, uint8 RGB [H_i, W_i, 3], and the rig at their sizes."""
        size = (PATCHES, PATCHES)
        means = [cv2.resize(i.cpu().numpy(), size, interpolation=cv2.INTER_AREA) for i in images]
        intrinsics, poses = (
            tensor.cpu().numpy().astype(np.float32)
            for tensor in (rig.intrinsics, rig.ego_from_camera)
        )
        return cls(np.stack(means), intrinsics, poses)

    @classmethod
    def unpacked(cls, sections: dict[str, Section]) -> Inputs:
        """From `sections`.

        Raises:
            DamagedFile: their shapes are wrong.
        """
        inputs = cls(*(sections[name].array() for name in ('colours', 'intrinsics', 'poses')))
        views = len(inputs.colours)
        shapes = (inputs.colours.shape, inputs.intrinsics.shape, inputs.poses.shape)
        if shapes != ((views, PATCHES, PATCHES, 3), (views, 3, 3), (views, 4, 4)):
            raise DamagedFile(
                f'expected colours, intrinsics and poses of some views, got {shapes}'
            )
        return inputs

    def sections(self) -> dict[str, Section]:
        """To be stored."""
        arrays: dict[str, NDArray[Any]] = {
            'colours': self.colours, 'intrinsics': self.intrinsics, 'poses': self.poses
        }  # fmt: skip
        return {name: Section.of(array) for name, array in arrays.items()}

    def difference(self, other: Inputs) -> str:
        """What is not the same, in words; '' where nothing is."""
        if len(self.colours) != len(other.colours):
            return f'{len(self.colours)} cameras, then {len(other.colours)}'
        colours = self.colours.astype(int) - other.colours
        if np.abs(colours).max() > COLOUR:
            return 'other images'
        focal = np.abs(self.intrinsics).max((1, 2), keepdims=True)
        if (np.abs(self.intrinsics - other.intrinsics) > RELATIVE * focal).any():
            return 'other intrinsics'
        return 'other camera poses' if np.abs(self.poses - other.poses).max() > METRES else ''
