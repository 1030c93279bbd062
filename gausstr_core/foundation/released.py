"""Foundation networks from published files, by name: features, depth, and what runs them.

The image networks come from here, the words from clip_text.py. Depth is Metric3D v2 as in the
released models, or another network by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from gausstr_core.foundation.combined import CombinedFoundation
from gausstr_core.foundation.depth.depth_anything import DepthAnythingDepth
from gausstr_core.foundation.depth.depth_pro import DepthProDepth
from gausstr_core.foundation.depth.metric3d import Metric3DDepth
from gausstr_core.foundation.exported import ExportedFeatures, Facts, open_exported
from gausstr_core.foundation.features.dinov2 import DinoV2Features
from gausstr_core.foundation.features.maskclip import MaskClipFeatures
from gausstr_core.foundation.interface import (
    CLIP_MEAN,
    CLIP_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    DepthNetwork,
    FeatureNetwork,
    check_size,
)
from gausstr_core.weights.catalogue import (
    METRIC3D,
    METRIC3D_HALF,
    METRIC3D_SMALL,
    METRIC3D_SMALL_HALF,
)

NO_DEPTH = 'none'
TORCH, ONNXRUNTIME = 'torch', 'onnxruntime'
ENGINES = (TORCH, ONNXRUNTIME)
DEPTH_ANYTHING_SIZE = (518, 924)  # at which it looks at a 16:9 image

Folder = Path | str | None
Size = tuple[int, int]  # (height, width)


@dataclass(frozen=True)
class _Features:
    """A network for features."""

    load: Callable[[Folder, Size], DinoV2Features | MaskClipFeatures]
    size: Size  # its own: at which the released models were trained
    stride: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    exports: bool = True  # whether it can be written as an ONNX file


# Networks by the name that recipes and trained weights call them.
_FEATURES: dict[str, _Features] = {
    'talk2dino': _Features(
        DinoV2Features.from_folder, (504, 896), 14, IMAGENET_MEAN, IMAGENET_STD
    ),
    'featup': _Features(
        MaskClipFeatures.from_folder, (432, 768), 16, CLIP_MEAN, CLIP_STD, exports=False
    ),
    'maskclip': _Features(
        partial(MaskClipFeatures.from_folder, sharpened=False),
        (432, 768), 16, CLIP_MEAN, CLIP_STD,
    ),
}  # fmt: skip

_METRIC3D = {
    'metric3d': (METRIC3D, 'Metric3D v2 ViT-L'),
    'metric3d-fp16': (METRIC3D_HALF, 'Metric3D v2 ViT-L fp16'),
    'metric3d-small': (METRIC3D_SMALL, 'Metric3D v2 ViT-S'),
    'metric3d-small-fp16': (METRIC3D_SMALL_HALF, 'Metric3D v2 ViT-S fp16'),
}
DEPTH_NETWORKS = (*_METRIC3D, 'depth-anything', 'depth-pro')
EXPORTABLE = (*(name for name, part in _FEATURES.items() if part.exports), 'depth-anything')


def load_depth(
    name: str, folder: Folder = None, size: Size | None = None, engine: str = TORCH
) -> DepthNetwork:
    """A depth network by name.

    Args:
        name: one of `DEPTH_NETWORKS`.
        folder: of files; None fetches them.
        size: (height, width) at which it looks; None: its own.
        engine: one of `ENGINES`. Metric3D is published as ONNX and always run by onnxruntime.

    Raises:
        ValueError: no network has that name, its files are missing or do not fit, it does not
            take that size, or the engine does not run it.
    """
    if name not in DEPTH_NETWORKS:
        names = ', '.join((*DEPTH_NETWORKS, NO_DEPTH))
        raise ValueError(f'depth must be one of {names}, got {name!r}')
    _check_engine(engine)
    if name in _METRIC3D:
        published, title = _METRIC3D[name]
        return Metric3DDepth.from_onnx(folder, published, title, size)
    if name == 'depth-pro':
        if size or engine != TORCH:
            raise ValueError(
                f'depth-pro looks at 1536x1536 and runs in torch, got size {size}, engine {engine}'
            )
        return DepthProDepth.from_folder(folder)
    if engine == TORCH:
        return DepthAnythingDepth.from_folder(folder, size=size)
    size = check_size(size or DEPTH_ANYTHING_SIZE, 14, 'depth_size', name)
    return DepthAnythingDepth(open_exported(name, size, folder)[0], size=size)


def load_features(
    name: str, folder: Folder = None, size: Size | None = None, engine: str = TORCH
) -> FeatureNetwork:
    """A feature network by name, talk2dino, featup or maskclip; arguments as `load_depth`.

    Raises:
        ValueError: as `load_depth`.
    """
    if name not in _FEATURES:
        raise ValueError(f'features must be one of {", ".join(_FEATURES)}, got {name!r}')
    _check_engine(engine)
    parts = _FEATURES[name]
    size = check_size(size or parts.size, parts.stride, 'input_size', name)
    if engine == TORCH:
        return parts.load(folder, size)
    if not parts.exports:
        raise ValueError(f'features {name} cannot be exported: use engine {TORCH}, or maskclip')
    graph, facts, sample = open_exported(name, size, folder)
    return ExportedFeatures(graph, facts, sample.shape[1])


def _check_engine(engine: str) -> None:
    if engine not in ENGINES:
        raise ValueError(f'engine must be one of {", ".join(ENGINES)}, got {engine!r}')


def exportable(
    name: str, folder: Folder = None, size: Size | None = None
) -> tuple[nn.Module, Facts]:
    """A network of `EXPORTABLE` as a function of normalised planes, for `write_exported`.

    Raises:
        ValueError: as `load_depth`.
    """
    if name not in EXPORTABLE:
        raise ValueError(f'expected one of {", ".join(EXPORTABLE)}, got {name!r}')
    if name == 'depth-anything':
        size = check_size(size or DEPTH_ANYTHING_SIZE, 14, 'size', name)
        depth = DepthAnythingDepth.from_folder(folder, size=size)
        return depth.predict, Facts(name, depth.name, *size, IMAGENET_MEAN, IMAGENET_STD)
    parts = _FEATURES[name]
    size = check_size(size or parts.size, parts.stride, 'size', name)
    features = parts.load(folder, size)
    return _Dense(features), Facts(name, features.name, *size, parts.mean, parts.std)


class _Dense(nn.Module):
    """What an engine runs of a feature network."""

    def __init__(self, features: DinoV2Features | MaskClipFeatures) -> None:
        super().__init__()
        self.features = features

    def forward(self, planes: Tensor) -> Tensor:
        """Normalised planes [1, 3, h, w] -> features [1, C, h / stride, w / stride]."""
        return self.features.dense(planes)


def foundation(
    features: str,
    folder: Folder = None,
    depth: str | DepthNetwork = 'metric3d',
    input_size: Size | None = None,
    *,
    depth_size: Size | None = None,
    engine: str = TORCH,
) -> CombinedFoundation:
    """A network for features and one for depth.

    Args:
        features: talk2dino (DINOv2, 768 channels, 504x896 -> 36x64), maskclip (CLIP's patches, 512
            channels, 432x768 -> 27x48) or featup (the same, sharpened by FeatUp).
        folder: where the published files lie; None fetches them into the cache.
        depth: a name in `DEPTH_NETWORKS`, a network, or 'none' where depth is always measured.
        input_size: (height, width) of what the feature network sees, multiples of its stride;
            None: its own.
        depth_size: the same of a depth network by name.
        engine: what runs them, one of `ENGINES`.

    Raises:
        ValueError: a name is unknown, a file is missing or does not fit, a size is no multiple,
            or an engine is not installed; the message says what to do.
    """
    seen = load_features(features, folder, input_size, engine)
    if depth == NO_DEPTH:
        return CombinedFoundation(seen, None)
    if isinstance(depth, str):
        depth = load_depth(depth, folder, depth_size, engine)
    return CombinedFoundation(seen, depth)


talk2dino = partial(foundation, 'talk2dino')
featup = partial(foundation, 'featup')
maskclip = partial(foundation, 'maskclip')
FEATURES: dict[str, Callable[..., CombinedFoundation]] = {
    'talk2dino': talk2dino,
    'featup': featup,
    'maskclip': maskclip,
}
