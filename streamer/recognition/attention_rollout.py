"""Where a TimeSformer looked: attention rollout over its divided attention.

Abnar and Zuidema, "Quantifying Attention Flow in Transformers" (ACL 2020): each block passes half of what a
token holds straight on and half by attention (heads averaged), and the blocks' matrices are multiplied. Only
the class token's row is wanted, so a row is carried back through the blocks instead of multiplying matrices
of (1 + T N)²: a block costs T S² + N T² here. A block attends over time first and then over space, where each
frame has the class token at place 0, and its answers are averaged over the frames.

It says what the answer could draw on, not what it was caused by: a hint, not a proof.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from streamer.errors import ModelError


def rollout(model: Any, pixel_values: Tensor) -> Tensor:
    """How much the class token's answer draws on each place: (T, N), not negative; with what stays with the
    class token itself it would sum to one.

    Args:
        model: transformers' `TimesformerForVideoClassification` with divided attention.
        pixel_values: one window, (1, T, C, H, W).

    Raises:
        ModelError: the model attends in another way.
    """
    if getattr(model.config, "attention_type", None) != "divided_space_time":
        raise ModelError("where it looked can be shown of TimeSformers with divided attention")
    layers = model.timesformer.encoder.layer
    seen: dict[int, Tensor] = {}
    modules = [
        one for layer in layers for one in (layer.temporal_attention.attention, layer.attention.attention)
    ]
    hooks = [
        module.register_forward_pre_hook(
            lambda made, given, number=number: seen.__setitem__(number, _weights(made, given[0]))
        )
        for number, module in enumerate(modules)
    ]
    try:
        with torch.no_grad():
            model(pixel_values)
    finally:
        for hook in hooks:
            hook.remove()
    frames = pixel_values.shape[1]
    places = seen[1].shape[-1] - 1
    of_class, of_places = torch.ones(()), torch.zeros(frames, places)
    for number in reversed(range(len(layers))):
        of_class, of_places = _back_through_space(of_class, of_places, seen[2 * number + 1])
        of_places = _back_through_time(of_places, seen[2 * number])
    return of_places


def _weights(attention: Any, x: Tensor) -> Tensor:
    """Attention of rows (R, S, D), averaged over the heads: (R, S, S)."""
    rows, size, width = x.shape
    heads = attention.num_heads
    query, key, _ = attention.qkv(x).view(rows, size, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    scores = (query @ key.transpose(-1, -2)) * (width // heads) ** -0.5
    averaged: Tensor = scores.softmax(-1).mean(1).float().cpu()
    return averaged


def _back_through_space(of_class: Tensor, of_places: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """`weights` (T, S, S), the class token at place 0 of each frame."""
    frames = len(weights)
    from_class = of_class / frames * weights[:, 0, :]  # (T, S): the answers are averaged
    from_places = torch.einsum("tm,tms->ts", of_places, weights[:, 1:, :])
    drawn = from_class + from_places
    return 0.5 * (of_class + drawn[:, 0].sum()), 0.5 * (of_places + drawn[:, 1:])


def _back_through_time(of_places: Tensor, weights: Tensor) -> Tensor:
    """`weights` (N, T, T): each place attends along its own frames; the class token takes no part."""
    return 0.5 * (of_places + torch.einsum("tn,ntu->un", of_places, weights))
