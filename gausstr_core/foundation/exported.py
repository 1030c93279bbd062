"""Networks exported to ONNX files, each beside what torch computed when it was written.

`<folder>/engines/<network>_<height>x<width>.onnx` holds a network from normalised planes
[1, 3, h, w] to its output, and `.check.safetensors` beside it a seeded sample with torch's answer.
Whoever opens the pair runs the sample again: another build of onnxruntime, another processor or a
file that was swapped shows before the first image, not in the map. The largest difference may be
a thousandth of the largest value.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pooch
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from gausstr_core.camera.rig import CameraRig
from gausstr_core.foundation.interface import normalised
from gausstr_core.foundation.onnx_network import OnnxGraph
from gausstr_core.weights.fetch import cache_folder
from gausstr_core.weights.opening import open_weights

FORMAT = 'gausstr-engine-1'
FOLDER = 'engines'
TOLERANCE = 1e-3  # of the largest value of torch's output
SAMPLE_SEED = 20261130
OPSET = 17


@dataclass(frozen=True)
class Facts:
    """What a file says of the network in it."""

    network: str  # by the name that parameters use
    name: str  # for people
    height: int
    width: int
    mean: tuple[float, ...]  # of the normalisation of images
    std: tuple[float, ...]


class ExportedFeatures(nn.Module):
    """A `FeatureNetwork` whose graph is run by onnxruntime; see `open_exported`."""

    def __init__(self, graph: OnnxGraph, facts: Facts, feature_dim: int) -> None:
        super().__init__()
        self.graph, self.feature_dim = graph, feature_dim
        self.name = f'{facts.name}, onnxruntime'
        self.input_size = (facts.height, facts.width)
        self._mean, self._std = facts.mean, facts.std

    def forward(self, images: Tensor, rig: CameraRig) -> Tensor:
        """See `FeatureNetwork`.

        Raises:
            ValueError: the images have another size than the file.
        """
        if tuple(images.shape[1:3]) != self.input_size:
            raise ValueError(
                f'{self.name} was exported for images {self.input_size} (HxW), '
                f'got {tuple(images.shape[1:3])}'
            )
        features: Tensor = self.graph(normalised(images, self._mean, self._std))
        return features


def exported_path(network: str, size: tuple[int, int], folder: Path | str | None) -> Path:
    """Where the file of a network lies; below the cache folder where `folder` is None."""
    below = Path(folder) if folder else cache_folder()
    return below / FOLDER / f'{network}_{size[0]}x{size[1]}.onnx'


def write_exported(
    module: nn.Module, facts: Facts, folder: Path | str | None
) -> tuple[Path, float]:
    """Export a network, compare it with torch, and put both files in place.

    Args:
        module: normalised planes [1, 3, h, w] -> one tensor.
        facts: what it is, and its size.
        folder: see `exported_path`.

    Returns:
        The path, and the largest difference as a share of torch's largest value.

    Raises:
        ValueError: torch cannot export it, onnxruntime is missing, or the two differ.
    """
    size = (facts.height, facts.width)
    path = exported_path(facts.network, size, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside, stored = path.with_suffix('.partial'), check_path(path)
    stored_aside = stored.with_suffix('.partial')
    planes = sample_planes(size)
    try:
        with torch.no_grad():
            expected = module(planes)
            export_graph(module, planes, aside)
        difference = _difference(OnnxGraph(aside)(planes), expected, path)
        metadata = {'format': FORMAT, 'facts': json.dumps(asdict(facts))}
        metadata['sha256'] = pooch.file_hash(str(aside))
        save_file({'expected': expected.contiguous()}, stored_aside, metadata=metadata)
        # the graph last: what lies under its name has been compared
        os.replace(stored_aside, stored)
        os.replace(aside, path)
    finally:
        for left in (aside, stored_aside):
            left.unlink(missing_ok=True)
    return path, difference


def open_exported(
    network: str, size: tuple[int, int], folder: Path | str | None
) -> tuple[OnnxGraph, Facts, Tensor]:
    """A network that was exported, after its sample gave what torch gives.

    Returns:
        The graph, what it is, and torch's output of the sample.

    Raises:
        ValueError: onnxruntime or a file is missing, the two files are no pair, or their outputs
            differ; the message says how to export it.
    """
    path = exported_path(network, size, folder)
    if not path.is_file():
        raise ValueError(
            f'there is no {path}: export the network there first, with gausstr-export {network} '
            f'--size {size[1]}x{size[0]}'
        )
    facts, digest, expected = _read_check(check_path(path))
    if (facts.network, facts.height, facts.width) != (network, *size):
        raise ValueError(
            f'{check_path(path)} is of {facts.network} for {facts.height}x{facts.width}, '
            f'expected {network} for {size[0]}x{size[1]}'
        )
    if pooch.file_hash(str(path)) != digest:
        raise ValueError(f'{path} is not the file that was compared with torch: export it again')
    graph = OnnxGraph(path)
    _difference(graph(sample_planes(size)), expected, path)
    return graph, facts, expected


def check_path(path: Path) -> Path:
    """Where torch's output of the sample lies."""
    return path.with_suffix('.check.safetensors')


def sample_planes(size: tuple[int, int]) -> Tensor:
    """The seeded sample [1, 3, h, w], as bright and as varied as normalised images are."""
    generator = torch.Generator().manual_seed(SAMPLE_SEED)
    coarse = torch.randn(1, 3, -(-size[0] // 16), -(-size[1] // 16), generator=generator)
    return nn.functional.interpolate(coarse, size, mode='bilinear')


def _difference(got: Tensor, expected: Tensor, path: Path) -> float:
    if got.shape != expected.shape:
        raise ValueError(
            f'{path} gives {tuple(got.shape)} where torch gives {tuple(expected.shape)}'
        )
    share = float((got - expected).abs().max() / expected.abs().max().clamp_min(1e-9))
    if not share <= TOLERANCE:  # nan as well
        raise ValueError(
            f'{path} differs from torch by {share:.2g} of the largest value, at most '
            f'{TOLERANCE:g} is allowed: export it again, or use engine torch'
        )
    return share


def _read_check(path: Path) -> tuple[Facts, str, Tensor]:
    tensors, metadata = open_weights(path)
    try:
        if metadata['format'] != FORMAT:
            raise ValueError(metadata['format'])
        given: dict[str, Any] = json.loads(metadata['facts'])
        facts = Facts(
            str(given['network']), str(given['name']), int(given['height']), int(given['width']),
            tuple(map(float, given['mean'])), tuple(map(float, given['std'])),
        )  # fmt: skip
        return facts, metadata['sha256'], tensors['expected'].float()
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f'{path} is not of {FORMAT}: {error}') from None


def export_graph(
    module: nn.Module, planes: Tensor, path: Path, names: tuple[str, str] = ('planes', 'output')
) -> None:
    """Write a network as an ONNX file for the size of `planes` [1, 3, h, w]; nothing is compared.

    Args:
        module: planes -> one tensor.
        planes: any of that size.
        path: of the file.
        names: of input and output.

    Raises:
        ValueError: onnx is missing, or torch cannot export the network.
    """
    try:
        import onnx  # noqa: F401, of torch's exporter
    except ImportError:
        raise ValueError("exporting needs onnx: pip install 'gausstr_ros[foundation]'") from None
    with _traceable(module, (int(planes.shape[2]), int(planes.shape[3]))), _without_warnings():
        try:
            # the exporter that needs no further package, for every torch that we support
            torch.onnx.export(
                module, (planes,), str(path), dynamo=False, opset_version=OPSET,
                input_names=[names[0]], output_names=[names[1]],
            )  # fmt: skip
        except Exception as error:  # torch raises many kinds
            reason = str(error).strip().splitlines()[-1:]
            raise ValueError(f'torch cannot export {path.stem}: {"".join(reason)}') from error


@contextmanager
def _traceable(module: nn.Module, size: tuple[int, int]) -> Iterator[None]:
    """Without what ONNX has no operators for: fused attention, antialiased position codes."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    fixed: list[Any] = []
    try:
        part: Any
        for part in module.modules():
            if hasattr(part, 'interpolate_pos_encoding'):
                constant = _position_codes(part, part.interpolate_pos_encoding, size)
                # of one size they are constants
                part.interpolate_pos_encoding = lambda *_, constant=constant, **__: constant
                fixed.append(part)
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for part in fixed:
            del part.interpolate_pos_encoding


def _position_codes(part: Any, codes: Callable[..., Tensor], size: tuple[int, int]) -> Tensor:
    patch = part.patch_size
    tokens = 1 + (size[0] // patch) * (size[1] // patch)
    with torch.no_grad():
        return codes(torch.zeros(1, tokens, part.position_embeddings.shape[-1]), *size).clone()


@contextmanager
def _without_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        # that sizes become constants is what we want; that tracing is deprecated users cannot help
        warnings.simplefilter('ignore')
        yield
