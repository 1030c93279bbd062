"""One network for features, one for depth, behind the one interface."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import FoundationMaps
from gausstr_core.foundation.interface import DepthNetwork, FeatureNetwork, resize_images

FAR = 51.2  # metres: where the released models end, and the depth of what nothing measures


class CombinedFoundation(nn.Module):
    """A feature network and a depth network as a `FoundationNetwork`. Both stay frozen.

    Without a depth network (None) every pixel is at `FAR`, until measured depth takes its place.
    """

    def __init__(self, features: FeatureNetwork, depth: DepthNetwork | None) -> None:
        super().__init__()
        self.features, self.depth = features, depth
        self.input_size, self.feature_dim = features.input_size, features.feature_dim
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor, rig: CameraRig) -> FoundationMaps:
        """See `FoundationNetwork`: both networks see the same small images."""
        with torch.no_grad():
            return FoundationMaps(self.features(images, rig), self._depth(images, rig))

    @torch.no_grad()
    def encode(
        self, images: Sequence[Tensor], rig: CameraRig, device: torch.device | str = 'cpu'
    ) -> tuple[FoundationMaps, CameraRig]:
        """Encode the original images, as the released models were trained.

        Depth is estimated at the camera's own resolution and then brought to `input_size`;
        features see images shrunk with the bicubic filter.

        Args:
            images: uint8 RGB [H_i, W_i, 3], one per camera of the rig.
            rig: the cameras at the size of their images.
            device: where to compute.

        Returns:
            The maps, and the rig at `input_size`.
        """
        height, width = self.input_size
        small = rig.resized(height, width).to(device)
        batch = resize_images([image.cpu() for image in images], height, width, 'bicubic')
        planes = []
        # one camera at a time: sizes may differ, and depth networks are large
        for name, image in zip(rig.names, images, strict=True):
            one = rig.select((name,)).to(device)
            depth = self._depth(image[None].to(device), one)
            planes.append(F.interpolate(depth[None], (height, width), mode='bilinear')[0])
        return FoundationMaps(self.features(batch.to(device), small), torch.cat(planes)), small

    @property
    def predicts_depth(self) -> bool:
        """Whether depth comes from a network."""
        return self.depth is not None

    def _depth(self, images: Tensor, rig: CameraRig) -> Tensor:
        if self.depth is None:
            return torch.full(images.shape[:3], FAR, device=images.device)
        return self.depth(images, rig)

    def train(self, mode: bool = True) -> CombinedFoundation:
        """Stay in eval mode: the networks are frozen, whatever is trained on top of them."""
        return super().train(False)

    def optimise_for_inference(self) -> CombinedFoundation:
        """Nothing to fold in transformers; here so that every foundation network has it."""
        return self
