"""transformers' TimeSformer as strong as torch alone makes it: SDPA for its own attention, and compiled."""

from __future__ import annotations

import copy
from types import MethodType
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def with_sdpa(model: Any) -> Any:
    """A copy (weights shared) whose attention is torch's; transformers has none for this family."""
    from transformers.models.timesformer.modeling_timesformer import TimesformerSelfAttention

    shared = {id(parameter): parameter for parameter in model.parameters()}
    changed = copy.deepcopy(model, shared)
    for module in changed.modules():
        if isinstance(module, TimesformerSelfAttention):
            module.forward = MethodType(_attention, module)
    return changed


def compiled(model: Any) -> Any:
    """The same, compiled by torch at its first call, which takes a minute."""
    return torch.compile(with_sdpa(model))


def _attention(self: Any, hidden_states: Tensor, output_attentions: bool = False) -> tuple[Tensor]:
    rows, tokens, width = hidden_states.shape
    qkv = self.qkv(hidden_states).reshape(rows, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
    found = scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
    return (found.transpose(1, 2).reshape(rows, tokens, width),)
