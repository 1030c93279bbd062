"""DINOv2 ViT-B/14 with registers: patch features for the `talk2dino` preset.

Input 504x896 RGB, ImageNet mean and std; stride 14 -> 36x64 patches of 768 channels, after the
last layer norm, without class and register tokens. The features are DINOv2's own: Talk2DINO
(arXiv 2411.19331) moves the words into this space, see clip_text.py. Weights Apache-2.0, from
facebook/dinov2-with-registers-base.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gausstr_core.camera.rig import CameraRig
from gausstr_core.foundation.interface import check_patches, check_size, normalised
from gausstr_core.foundation.pretrained import load_pretrained
from gausstr_core.weights.catalogue import DINOV2, locate_folder


class DinoV2Features(nn.Module):
    """uint8 images [N, H, W, 3] -> normalised patch tokens [N, C, H / 14, W / 14]."""

    name = 'DINOv2 ViT-B/14 with registers'

    def __init__(self, network: Any, input_size: tuple[int, int] = (504, 896)) -> None:
        super().__init__()
        self.network = network.eval()
        patch = network.config.patch_size
        self.input_size = check_size(input_size, patch, 'input_size', self.name)
        self.feature_dim = int(network.config.hidden_size)

    @classmethod
    def from_folder(
        cls, folder: Path | str | None = None, input_size: tuple[int, int] = (504, 896)
    ) -> DinoV2Features:
        """Load config.json and model.safetensors; None fetches them.

        Raises:
            ValueError: transformers is missing, the files are missing or do not fit, or
                `input_size` is no multiple of the patch.
        """
        path = locate_folder(DINOV2, folder)
        return cls(load_pretrained('Dinov2WithRegistersModel', path), input_size)

    def forward(self, images: Tensor, rig: CameraRig) -> Tensor:
        """See `FeatureNetwork`.

        Raises:
            ValueError: the sides are no multiples of the patch.
        """
        check_patches(images, self.network.config.patch_size, self.name)
        return self.dense(normalised(images))

    def dense(self, planes: Tensor) -> Tensor:
        """The part that an engine may run: normalised images [N, 3, H, W] -> as `forward`."""
        config = self.network.config
        # whole numbers, not what an export traces: an exported file has one size
        rows, columns = (int(side) // config.patch_size for side in planes.shape[2:])
        tokens = self.network(pixel_values=planes).last_hidden_state
        patches = tokens[:, 1 + config.num_register_tokens :]
        return patches.transpose(1, 2).unflatten(2, (rows, columns)).contiguous()
