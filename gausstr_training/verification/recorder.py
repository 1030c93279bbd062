"""Intermediate tensors of a forward, by the names of the reference files."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from gausstr_core.transformer.decoder import DecoderLayer
from gausstr_core.transformer.full.gaussian_head import GaussianHead
from gausstr_core.transformer.full.transformer import FullTransformer


class Recorder:
    """Listens to the parts of a model while it runs: `with Recorder(model) as seen: ...`.

    Hooks, so that the model itself knows nothing of being watched.
    """

    def __init__(self, model: FullTransformer) -> None:
        self.arrays: dict[str, Tensor] = {}
        self._model = model
        self._handles: list[Any] = []

    def __enter__(self) -> Recorder:
        model = self._model
        self._after(model.neck, self._levels)
        for index, part in enumerate(model.layers):
            assert isinstance(part, DecoderLayer)
            stage = f'layer{index}'
            for number, name in enumerate(('cross_attn', 'self_attn')):
                norm = part.norms[number]
                self._before(norm, f'{stage}.{name}')
                self._after(norm, self._once(f'{stage}.after_norm{number}'))
            self._after(part, self._once(f'{stage}.query'))
        for index, head in enumerate(model.heads):
            assert isinstance(head, GaussianHead)
            # the first call is the decoder's, on the raw query; the second the head's own
            self._after(head.regress, self._once(f'layer{index}.regress_raw'))
        layers = range(len(model.layers))
        self._after(model.position, self._in_turn([f'layer{i}.query_pos' for i in layers]))
        self._after(model.norm, self._in_turn([f'layer{i}.query_normed' for i in layers]))
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _after(self, module: nn.Module, keep: Any) -> None:
        self._handles.append(module.register_forward_hook(lambda _, __, output: keep(output)))

    def _before(self, module: nn.Module, name: str) -> None:
        keep = self._once(name)
        self._handles.append(module.register_forward_pre_hook(lambda _, inputs: keep(inputs[0])))

    def _levels(self, output: list[Tensor]) -> None:
        self.arrays |= {f'neck.level{i}': level.detach() for i, level in enumerate(output)}

    def _once(self, name: str) -> Any:
        def keep(tensor: Tensor) -> None:
            self.arrays.setdefault(name, tensor.detach())

        return keep

    def _in_turn(self, names: list[str]) -> Any:
        waiting = iter(names)

        def keep(tensor: Tensor) -> None:
            self.arrays[next(waiting)] = tensor.detach()

        return keep
