"""Metric3D v2 (arXiv 2404.15506): metric depth with a canonical camera, as GaussTR uses it.

Any image size. The image, normalised with ImageNet's mean and std, is scaled to fit into 616x1064
and padded evenly with the mean colour; the network answers as if the focal length were 1000
pixels, and the real one at that scale turns the answer into metres. Weights BSD-2-Clause.
The network is an ONNX file, run by onnxruntime.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gausstr_core.camera.rig import CameraRig
from gausstr_core.foundation.interface import check_size, normalised
from gausstr_core.foundation.onnx_network import OnnxNetwork
from gausstr_core.weights.catalogue import METRIC3D
from gausstr_core.weights.fetch import RemoteFile, locate

CANONICAL_FOCAL = 1000.0  # pixels
MIN_DEPTH, MAX_DEPTH = 1e-3, 300.0  # metres; the authors cut at 300
LETTER_BOX = (616, 1064)  # of the ViT variants, as the authors evaluate them
STRIDE = 28  # two patches: the decoder halves the map of patches once

CanonicalNetwork = Callable[[Tensor], Tensor]


class Metric3DDepth(nn.Module):
    """uint8 images [N, H, W, 3], rig -> z-depth [N, H, W] in metres."""

    def __init__(
        self,
        network: CanonicalNetwork,
        input_size: tuple[int, int] = LETTER_BOX,
        name: str = 'Metric3D v2 ViT-L',
    ) -> None:
        """Wrap a network.

        Args:
            network: normalised images [N, 3, h, w] at `input_size` -> depth [N, h, w] for the
                canonical focal length.
            input_size: (h, w) of the letter-box; 544x1216 for the ConvNeXt variants.
            name: which variant it is, for people.
        """
        super().__init__()
        self.network, self.input_size, self.name = network, input_size, name

    @classmethod
    def from_onnx(
        cls,
        path: Path | str | None = None,
        published: RemoteFile = METRIC3D,
        name: str = 'Metric3D v2 ViT-L',
        input_size: tuple[int, int] | None = None,
    ) -> Metric3DDepth:
        """Run an ONNX file.

        Args:
            path: the file, or a folder with the published one; None fetches it.
            published: which published file.
            name: of the variant.
            input_size: (h, w) of the letter-box, multiples of 28: a smaller one costs less. None:
                what the graph asks for, 616x1064 where it takes any.

        Raises:
            ValueError: onnxruntime is missing, the file is missing or another network, or it does
                not take that size.
        """
        file = Path(path) if path else None
        if file is None or file.is_dir():
            file = locate(published, file)
        # both public exports normalise inside the graph, so it wants pixels 0..255
        network = OnnxNetwork(file, pixels_in=True)
        own = network.image_size
        if input_size and own and input_size != own:
            raise ValueError(
                f'depth_size {list(input_size)}: the graph of {file} takes {list(own)} only'
            )
        if input_size and not own:
            check_size(input_size, STRIDE, 'depth_size', name)
        return cls(network, input_size or own or LETTER_BOX, name)

    @torch.no_grad()
    def forward(self, images: Tensor, rig: CameraRig) -> Tensor:
        """See `DepthNetwork`."""
        return self.from_normalised(normalised(images), rig.intrinsics[:, 0, 0])

    def from_normalised(self, planes: Tensor, focal: Tensor) -> Tensor:
        """Depth [N, H, W] of normalised images [N, 3, H, W]; focal [N] in pixels at that size."""
        height, width = planes.shape[2:]
        scale = min(self.input_size[0] / height, self.input_size[1] / width)
        # with the factor itself, not the ratio of whole sizes: so GaussTR's depth was made
        small = F.interpolate(planes, scale_factor=scale, mode='bilinear')
        rows, columns = small.shape[2:]
        top, left = (self.input_size[0] - rows) // 2, (self.input_size[1] - columns) // 2
        below, right = self.input_size[0] - rows - top, self.input_size[1] - columns - left
        canonical = self.network(F.pad(small, (left, right, top, below)))
        if canonical.shape[-2:] != self.input_size:
            raise ValueError(
                f'Metric3D: expected depth {self.input_size} from the network, '
                f'got {tuple(canonical.shape)}'
            )
        inside = canonical[:, None, top : top + rows, left : left + columns]
        depth = F.interpolate(inside, (height, width), mode='bilinear')[:, 0]
        factor = focal.to(depth) * scale / CANONICAL_FOCAL
        return (depth * factor[:, None, None]).clamp(MIN_DEPTH, MAX_DEPTH)
