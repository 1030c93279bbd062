"""Gradients taken on the spot: what a splatted image needs in memory is freed at once.

The loss of one layer at full size keeps gigabytes of splatted pixels alive until the backward
pass; three layers and six views are the largest part of the released code's 25.9 GB. Here each
part of the loss is differentiated as soon as it is computed, with respect to the few Gaussians it
was drawn from, and only their gradients are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def immediately(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """`function(*inputs)`, a scalar, differentiated now with respect to the inputs.

    The function must not reach parameters in any other way: they would get no gradient.
    """
    if not torch.is_grad_enabled():
        return function(*inputs)
    result: Tensor = _Immediate.apply(function, *inputs)
    return result


class _Immediate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        with torch.enable_grad():
            leaves = [
                value.detach().requires_grad_(needed)
                for value, needed in zip(inputs, ctx.needs_input_grad[1:], strict=True)
            ]
            loss = function(*leaves)
            wanted = [leaf for leaf in leaves if leaf.requires_grad]
            found = iter(torch.autograd.grad(loss, wanted, allow_unused=True) if wanted else ())
        gradients = [next(found) if leaf.requires_grad else None for leaf in leaves]
        ctx.save_for_backward(*gradients)
        return loss.detach()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.saved_tensors
        return None, *(None if part is None else upstream * part for part in gradients)
