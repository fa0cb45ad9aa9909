"""A pretended Apple GPU: tensors that say they are on "mps", compute on the CPU, and refuse float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

MPS = torch.device("mps")
REFUSAL = "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."


class OnMps(torch.Tensor):
    """A tensor of the pretended device; `held` is what it holds, on the CPU."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Any:
        if held.dtype == torch.float64:
            raise TypeError(REFUSAL)
        made = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, held.shape, dtype=held.dtype, device=MPS, strides=held.stride()
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What `nn.Parameter` does, below the mode."""
        return OnMps(func(*tree_map(_held, args), **tree_map(_held, kwargs or {})))


class PretendedMps(TorchFunctionMode):
    """While it is entered, functions of such tensors give such tensors, and `.to(MPS)` makes them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in ("__get__", "__set__", "detach"):  # shape, device, dtype, ...
            return func(*args, **kwargs)
        there = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.device)]
        here = any(isinstance(x, OnMps) for x in tree_leaves((args, kwargs)))
        here = there[-1] == MPS if there else here and func is not torch.Tensor.cpu
        results = func(*tree_map(_held, args), **tree_map(_held, kwargs))
        return tree_map(lambda x: OnMps(x) if here and isinstance(x, torch.Tensor) else x, results)


def on_mps(module: nn.Module) -> nn.Module:
    """Move a module's weights there, as `module.to("mps")` would."""
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            setattr(part, name, nn.Parameter(OnMps(parameter.detach()), requires_grad=False))
    return module


def _held(value: Any) -> Any:
    if isinstance(value, torch.device) and value == MPS:
        return torch.device("cpu")
    return value.held if isinstance(value, OnMps) else value
