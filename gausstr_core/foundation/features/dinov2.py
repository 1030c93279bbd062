"""DINOv2 ViT-B/14 with registers: patch features for the `talk2dino` preset.

Input 504x896 RGB, ImageNet mean and std; stride 14 -> 36x64 patches of 768 channels, after the
last layer norm, without class and register tokens. The features are DINOv2's own: Talk2DINO
(arXiv 2411.19331) moves the words into this space, see clip_text.py. Weights Apache-2.0, from
facebook/dinov2-with-registers-base; the .pth of the DINOv2 repository and the `backbone.*` part
of a GaussTR checkpoint load too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gausstr_core.camera.rig import CameraRig
from gausstr_core.foundation.interface import NetworkCard, check_patches, normalised
from gausstr_core.foundation.pretrained import configuration, load_pretrained
from gausstr_core.weights.catalogue import DINOV2, locate_folder
from gausstr_core.weights.tensors import read_tensors

CARD = NetworkCard(
    'DINOv2 ViT-B/14 with registers', 'features', (504, 896), 'ImageNet mean and std',
    14, 768, 'Apache-2.0', DINOV2,
)  # fmt: skip

# (pattern in the official names, name in the published folder); qkv is split separately
RENAMES = (
    (r'^cls_token$', 'embeddings.cls_token'),
    (r'^mask_token$', 'embeddings.mask_token'),
    (r'^register_tokens$', 'embeddings.register_tokens'),
    (r'^pos_embed$', 'embeddings.position_embeddings'),
    (r'^patch_embed\.proj\.', 'embeddings.patch_embeddings.projection.'),
    (r'^blocks\.(\d+)\.norm([12])\.', r'encoder.layer.\1.norm\2.'),
    (r'^blocks\.(\d+)\.attn\.proj\.', r'encoder.layer.\1.attention.output.dense.'),
    (r'^blocks\.(\d+)\.ls([12])\.gamma$', r'encoder.layer.\1.layer_scale\2.lambda1'),
    (r'^blocks\.(\d+)\.mlp\.fc([12])\.', r'encoder.layer.\1.mlp.fc\2.'),
    (r'^norm\.', 'layernorm.'),
)


class DinoV2Features(nn.Module):
    """uint8 images [N, H, W, 3] -> normalised patch tokens [N, C, H / 14, W / 14]."""

    card = CARD

    def __init__(self, network: Any, input_size: tuple[int, int] = (504, 896)) -> None:
        super().__init__()
        self.network = network.eval()
        self.input_size, self.feature_dim = input_size, int(network.config.hidden_size)

    @classmethod
    def from_folder(
        cls, folder: Path | str | None = None, input_size: tuple[int, int] = (504, 896)
    ) -> DinoV2Features:
        """Load config.json and model.safetensors; None fetches them.

        Raises:
            ValueError: transformers is missing, or the files are missing or do not fit.
        """
        path = locate_folder(DINOV2, folder)
        return cls(load_pretrained('Dinov2WithRegistersModel', path), input_size)

    @classmethod
    def from_official(
        cls,
        tensors: Mapping[str, Tensor] | Path,
        heads: int = 12,
        input_size: tuple[int, int] = (504, 896),
    ) -> DinoV2Features:
        """Load parameters with DINOv2's own names, e.g. dinov2_vitb14_reg4_pretrain.pth.

        Sizes come from the tensors; only the number of attention heads cannot.

        Raises:
            ValueError: a name is missing or unknown, or a shape does not fit.
        """
        named = read_tensors(tensors) if isinstance(tensors, Path) else tensors
        renamed = from_official_names(named)
        config = _config(named, heads)
        return cls(load_pretrained('Dinov2WithRegistersModel', config, renamed), input_size)

    def forward(self, images: Tensor, rig: CameraRig) -> Tensor:
        """See `FeatureNetwork`.

        Raises:
            ValueError: the sides are no multiples of the patch.
        """
        config = self.network.config
        rows, columns = check_patches(images, config.patch_size, CARD.name)
        tokens = self.network(pixel_values=normalised(images)).last_hidden_state
        patches = tokens[:, 1 + config.num_register_tokens :]
        return patches.transpose(1, 2).unflatten(2, (rows, columns)).contiguous()


def from_official_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename DINOv2's parameters to those of the published folder.

    Raises:
        ValueError: a name is not one of DINOv2's.
    """
    renamed = {}
    for name, value in tensors.items():
        packed = re.match(r'^blocks\.(\d+)\.attn\.qkv\.(weight|bias)$', name)
        if packed:
            prefix = f'encoder.layer.{packed[1]}.attention.attention'
            for part, rows in zip(('query', 'key', 'value'), value.chunk(3), strict=True):
                renamed[f'{prefix}.{part}.{packed[2]}'] = rows.contiguous()
            continue
        for pattern, replacement in RENAMES:
            new, count = re.subn(pattern, replacement, name)
            if count:
                renamed[new] = value
                break
        else:
            raise ValueError(f'{name!r} is not the name of a DINOv2 parameter')
    return renamed


def _config(tensors: Mapping[str, Tensor], heads: int) -> Any:
    for name in ('pos_embed', 'register_tokens', 'patch_embed.proj.weight'):
        if name not in tensors:
            raise ValueError(f'these are no weights of DINOv2 with registers: no {name!r}')
    patch = tensors['patch_embed.proj.weight'].shape[-1]
    grid = round((tensors['pos_embed'].shape[1] - 1) ** 0.5)
    return configuration(
        'Dinov2WithRegistersConfig',
        hidden_size=tensors['pos_embed'].shape[2],
        num_hidden_layers=len([name for name in tensors if name.endswith('norm1.weight')]),
        num_attention_heads=heads,
        patch_size=patch,
        image_size=grid * patch,
        num_register_tokens=tensors['register_tokens'].shape[1],
    )
