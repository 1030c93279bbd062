"""The foundation side of the `talk2dino` and `featup` presets, from published files.

The image networks come from here, the words from clip_text.py. Depth is Metric3D v2 as in the
released models, or another network by name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gausstr_core.foundation.combined import CombinedFoundation
from gausstr_core.foundation.depth.depth_anything import DepthAnythingDepth
from gausstr_core.foundation.depth.depth_pro import DepthProDepth
from gausstr_core.foundation.depth.metric3d import Metric3DDepth
from gausstr_core.foundation.features.dinov2 import DinoV2Features
from gausstr_core.foundation.features.maskclip import MaskClipFeatures
from gausstr_core.foundation.interface import DepthNetwork

NO_DEPTH = 'none'

DEPTH_NETWORKS: dict[str, Callable[[Path | str | None], DepthNetwork]] = {
    'metric3d': Metric3DDepth.from_onnx,
    'depth-anything': DepthAnythingDepth.from_folder,
    'depth-pro': DepthProDepth.from_folder,
}


def load_depth(name: str, folder: Path | str | None = None) -> DepthNetwork:
    """A depth network by name; a folder of files, or None to fetch them.

    Raises:
        ValueError: no network has that name, or its files are missing or do not fit.
    """
    if name not in DEPTH_NETWORKS:
        names = ', '.join((*DEPTH_NETWORKS, NO_DEPTH))
        raise ValueError(f'depth must be one of {names}, got {name!r}')
    return DEPTH_NETWORKS[name](folder)


def talk2dino(
    folder: Path | str | None = None,
    depth: str | DepthNetwork = 'metric3d',
    input_size: tuple[int, int] = (504, 896),
) -> CombinedFoundation:
    """DINOv2 features (768 channels, 504x896 -> 36x64) and depth.

    Args:
        folder: where the published files lie; None fetches them into the cache.
        depth: a name in `DEPTH_NETWORKS`, a network, or 'none' where depth is always measured.
        input_size: (height, width) of what the network sees, multiples of its stride.

    Raises:
        ValueError: a file is missing or does not fit; the message says what to place where.
    """
    return CombinedFoundation(
        DinoV2Features.from_folder(folder, input_size), _depth(depth, folder)
    )


def featup(
    folder: Path | str | None = None,
    depth: str | DepthNetwork = 'metric3d',
    input_size: tuple[int, int] = (432, 768),
) -> CombinedFoundation:
    """MaskCLIP features through FeatUp (512 channels, 432x768 -> 27x48) and depth; see above."""
    features = MaskClipFeatures.from_folder(folder, input_size)
    return CombinedFoundation(features, _depth(depth, folder))


def maskclip(
    folder: Path | str | None = None,
    depth: str | DepthNetwork = 'metric3d',
    input_size: tuple[int, int] = (432, 768),
) -> CombinedFoundation:
    """MaskCLIP features as CLIP's patches give them, and depth; see above."""
    features = MaskClipFeatures.from_folder(folder, input_size, sharpened=False)
    return CombinedFoundation(features, _depth(depth, folder))


# Networks by the name that recipes and trained weights call them.
FEATURES: dict[str, Callable[..., CombinedFoundation]] = {
    'talk2dino': talk2dino,
    'featup': featup,
    'maskclip': maskclip,
}


def _depth(depth: str | DepthNetwork, folder: Path | str | None) -> DepthNetwork | None:
    if depth == NO_DEPTH:
        return None
    return load_depth(depth, folder) if isinstance(depth, str) else depth
