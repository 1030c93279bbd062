"""One frame of a bag: what the cameras saw at an instant, and from where."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gausstr_core.camera.rig import CameraRig


@dataclass(frozen=True)
class BagFrame:
    """A complete set of images; everything is in the ego frame at `stamp`.

    `frame.resized(height, width)` of `gausstr_training.bags.augment` gives all images one size;
    then `frame.stacked()` and `frame.rig` are the `images` and `rig` of a
    `gausstr_training.compact.frames.Batch`, whose depth and semantics come from a teacher.
    """

    key: str  # '<bag>/<stamp>': the same wherever the data lies
    stamp: int  # ns: of the keyframe, or of the newest image
    token: str  # of the keyframe, '' where there is none
    images: list[Tensor]  # per camera [H, W, 3] uint8 RGB, undistorted
    image_stamps: tuple[int, ...]  # ns
    rig: CameraRig  # cameras at their own stamps; float32
    odom_from_ego: Tensor  # [4, 4] float64, metres; a frame that stands still over a bag
    points: Tensor | None = (
        None  # [P, 3] float32 lidar points in metres, where they were asked for
    )
    previous: BagFrame | None = None  # where neighbours were asked for and lie near enough
    following: BagFrame | None = None

    @property
    def neighbours(self) -> tuple[BagFrame, ...]:
        """The frames before and after, as far as there are any."""
        return tuple(frame for frame in (self.previous, self.following) if frame is not None)

    def stacked(self) -> Tensor:
        """The images as one batch [N, H, W, 3] uint8.

        Raises:
            ValueError: their sizes differ.
        """
        sizes = {tuple(image.shape[:2]) for image in self.images}
        if len(sizes) > 1:
            raise ValueError(
                f'{self.key}: expected images of one size, got {sorted(sizes)} (HxW): resize first'
            )
        return torch.stack(self.images)

    def ego_from(self, other: BagFrame) -> Tensor:
        """[4, 4] float64: from the ego frame of another frame of the bag to this one's."""
        return torch.linalg.inv(self.odom_from_ego) @ other.odom_from_ego

    def rig_of(self, other: BagFrame) -> CameraRig:
        """Another frame's cameras in this frame's ego frame.

        What this frame's Gaussians are splatted into for supervision over time.
        """
        moved = self.ego_from(other) @ other.rig.ego_from_camera.double()
        return replace(other.rig, ego_from_camera=moved.float())
