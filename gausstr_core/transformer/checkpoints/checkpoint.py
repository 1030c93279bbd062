"""Released checkpoints: official names to ours and back, nothing lost and nothing guessed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from gausstr_core.transformer.checkpoints.files import read_tensors, write_tensors
from gausstr_core.transformer.checkpoints.official_names import (
    IGNORED,
    PROTOTYPES,
    config_of,
    official_names,
)
from gausstr_core.transformer.full.formulation import Formulation
from gausstr_core.transformer.full.transformer import FullConfig, FullTransformer

OURS = 'gausstr-'  # what the formats of all our files begin with
FORMAT = f'{OURS}full-1'
TRANSFORMER = 'transformer.'
TEXT = 'text_prototypes'


@dataclass(frozen=True)
class TrainedOn:
    """The foundation networks whose maps the weights were trained on.

    Raises:
        ValueError: a value is none that a training run writes.
    """

    features: str  # a name in `released.FEATURES`
    input_size: tuple[int, int]  # (height, width) of their images
    depth: str  # a name in `released.DEPTH_NETWORKS`

    def __post_init__(self) -> None:
        size = self.input_size
        if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
            raise ValueError(f'input_size must be two sides > 0, got {size}')
        for name in ('features', 'depth'):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f'{name} must be a name, got {getattr(self, name)!r}')


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a full-size model under our names."""

    config: FullConfig
    state: dict[str, Tensor]  # as `FullTransformer.state_dict()`
    prototypes: Tensor | None  # [K, C] one row per prompt, not normalised; None: not in the file
    trained_on: TrainedOn | None = None  # None: not known

    def model(self) -> FullTransformer:
        """The transformer with these weights, in evaluation mode."""
        model = FullTransformer(self.config)
        model.load_state_dict(self.state)
        return model.eval()


def from_official(
    tensors: Mapping[str, Tensor],
    source: str,
    config: FullConfig | None = None,
    prototypes: Tensor | None = None,
) -> Checkpoint:
    """Rename an official state dict.

    Args:
        tensors: with or without `backbone.*`, `vol_range`, `grid_coords` and text prototypes.
        source: what to call it in errors: the file.
        config: which sizes are wanted; None takes those of the tensors.
        prototypes: [C, K] as the released text files have them, instead of the tensors' own.

    Raises:
        ValueError: keys are missing, unexpected, misshapen or not finite; all are listed.
    """
    config = config or config_of(tensors, source)
    pairs = official_names(config)
    known = {
        name: value
        for name, value in tensors.items()
        if not IGNORED.fullmatch(name) and not PROTOTYPES.fullmatch(name)
    }
    shapes = {name: tuple(value.shape) for name, value in _empty(config).items()}
    wanted = {name: _packed_shape([shapes[part] for part in ours]) for name, ours in pairs.items()}
    if prototypes is None:
        prototypes = _own_prototypes(tensors, source)
    faults = _faults(known, wanted) + _prototype_faults(prototypes, config)
    if faults:
        listed = '\n  '.join(faults)
        raise ValueError(f'{source} is not a checkpoint of this model:\n  {listed}')
    state: dict[str, Tensor] = {}
    for name, ours in pairs.items():
        parts = known[name].float().split([shapes[part][0] for part in ours])
        state |= {part: value.clone() for part, value in zip(ours, parts, strict=True)}
    rows = None if prototypes is None else prototypes.float().T.contiguous()
    return Checkpoint(config, state, rows)


def to_official(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The official state dict, without `backbone.*` and the voxeliser's buffers.

    Raises:
        ValueError: the formulation has parameters that the released code does not know.
    """
    config, state = checkpoint.config, checkpoint.state
    pairs = official_names(config)
    foreign = sorted(state.keys() - {part for ours in pairs.values() for part in ours})
    if foreign:
        raise ValueError(f'the released code has no place for {", ".join(foreign)}')
    tensors = {name: torch.cat([state[part] for part in ours]) for name, ours in pairs.items()}
    if checkpoint.prototypes is not None:
        for i in range(config.layers):  # each with memory of its own: safetensors wants it so
            columns = checkpoint.prototypes.T.clone(memory_format=torch.contiguous_format)
            tensors[f'gauss_heads.{i}.text_proto_embeds'] = columns
    return tensors


def load_official(path: Path, prototypes: Path | None = None) -> Checkpoint:
    """Read an official .pth or .safetensors file, and a file of text prototypes if they are apart.

    Raises:
        ValueError: a file cannot be read safely or does not fit; the message names it.
    """
    tensors, _ = read_tensors(path)
    apart = None if prototypes is None else load_prototypes(prototypes)
    return from_official(tensors, str(path), prototypes=apart)


def load_prototypes(path: Path) -> Tensor:
    """[C, K] text prototypes from a file that holds that one tensor.

    Raises:
        ValueError: the file holds something else.
    """
    tensors, _ = read_tensors(path)
    if len(tensors) != 1 or next(iter(tensors.values())).dim() != 2:
        shapes = {name: tuple(value.shape) for name, value in tensors.items()}
        raise ValueError(f'{path} must hold one tensor [channels, prompts], got {shapes}')
    return next(iter(tensors.values()))


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write our own file: safetensors with the configuration in its metadata."""
    tensors = {TRANSFORMER + name: value for name, value in checkpoint.state.items()}
    if checkpoint.prototypes is not None:
        tensors[TEXT] = checkpoint.prototypes
    metadata = {'format': FORMAT, 'config': asdict(checkpoint.config)}
    if checkpoint.trained_on is not None:
        metadata['trained_on'] = asdict(checkpoint.trained_on)
    write_tensors(path, tensors, metadata)


def load(path: Path) -> Checkpoint:
    """Read a file of `save`.

    Raises:
        ValueError: it is not such a file, or its tensors do not fit its configuration.
    """
    return _from_own(*read_tensors(path), path)


def load_any(path: Path) -> Checkpoint:
    """Read a file of `save`, or an official one with its own text prototypes.

    Raises:
        ValueError: as `load` and `load_official`.
    """
    tensors, metadata = read_tensors(path)
    own = metadata.get('format', '').startswith(OURS)  # others write 'pt' there
    return _from_own(tensors, metadata, path) if own else from_official(tensors, str(path))


def _from_own(tensors: dict[str, Tensor], metadata: Mapping[str, str], path: Path) -> Checkpoint:
    if metadata.get('format') != FORMAT:
        raise ValueError(
            f'{path} must be a file of format {FORMAT}, got {metadata.get("format")}: official '
            'files go through gausstr-convert-checkpoint first'
        )
    try:
        values = json.loads(metadata['config'])
        config = FullConfig(**{**values, 'formulation': Formulation(**values['formulation'])})
        trained_on = _trained_on(metadata)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{path} has a damaged configuration: {error}') from None
    prototypes = tensors.pop(TEXT, None)
    wanted = {TRANSFORMER + k: tuple(v.shape) for k, v in _empty(config).items()}
    faults = _faults(tensors, wanted)
    if faults:
        raise ValueError(f'{path} is damaged:\n  ' + '\n  '.join(faults))
    state = {name.removeprefix(TRANSFORMER): value for name, value in tensors.items()}
    return Checkpoint(config, state, prototypes, trained_on)


def _trained_on(metadata: Mapping[str, str]) -> TrainedOn | None:
    if 'trained_on' not in metadata:
        return None
    values = json.loads(metadata['trained_on'])
    return TrainedOn(**{**values, 'input_size': tuple(values['input_size'])})


def _empty(config: FullConfig) -> dict[str, Tensor]:
    """Our parameters by name, with shapes but without memory."""
    with torch.device('meta'):
        return FullTransformer(config).state_dict()


def _packed_shape(shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    return (sum(shape[0] for shape in shapes), *shapes[0][1:])


def _faults(tensors: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Everything that is wrong, one line each."""
    faults = [f'missing: {name} {list(wanted[name])}' for name in wanted if name not in tensors]
    faults += [
        f'unexpected: {name} {list(tensors[name].shape)}' for name in tensors if name not in wanted
    ]
    for name, expected in wanted.items():
        if name in tensors:
            faults += _tensor_faults(name, tensors[name], expected)
    return faults


def _tensor_faults(name: str, value: Tensor, expected: tuple[int, ...]) -> list[str]:
    got = tuple(value.shape)
    if got != expected:
        swapped = (expected[1], expected[0], *expected[2:]) if len(expected) > 1 else ()
        hint = ', it is transposed' if got == swapped else ''
        return [f'misshapen: {name} must be {list(expected)}, got {list(got)}{hint}']
    bad = int((~torch.isfinite(value)).sum())
    return [f'not finite: {name} has {bad} NaN or infinite values'] if bad else []


def _own_prototypes(tensors: Mapping[str, Tensor], source: str) -> Tensor | None:
    """[C, K] of the heads, which all carry the same."""
    found = {name: value for name, value in tensors.items() if PROTOTYPES.fullmatch(name)}
    if not found:
        return None
    first, *others = found
    for name in others:
        if not torch.equal(found[name], found[first]):
            raise ValueError(f'{source}: the text prototypes {first} and {name} differ')
    return found[first]


def _prototype_faults(prototypes: Tensor | None, config: FullConfig) -> list[str]:
    if prototypes is None:
        return []
    if prototypes.dim() != 2 or prototypes.shape[0] != config.feature_dim:
        shape, turned = list(prototypes.shape), list(prototypes.shape)[::-1]
        hint = ', they are transposed' if turned[:1] == [config.feature_dim] else ''
        return [f'misshapen: text prototypes must be [{config.feature_dim}, K], got {shape}{hint}']
    bad = int((~torch.isfinite(prototypes)).sum())
    return [f'not finite: text prototypes have {bad} NaN or infinite values'] if bad else []
