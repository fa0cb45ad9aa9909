"""Where a TimeSformer looked: attention rollout over its divided attention.

Abnar and Zuidema, "Quantifying Attention Flow in Transformers" (ACL 2020): each block passes half of what a
token holds straight on and half by attention (heads averaged), and the blocks' matrices are multiplied. Only
the class token's row is wanted, so a row is carried back through the blocks instead of multiplying matrices
of (1 + T N)²: a block costs T S² + N T² here. A block attends over time first and then over space, where each
frame has the class token at place 0, and its answers are averaged over the frames.

A streaming TimeSformer is looked into in the same way, over the stretch that its answer depends on: each
frame has a class token of its own there, which takes on what those of the frames before it saw.

It says what the answer could draw on, not what it was caused by: a hint, not a proof.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from streamer.errors import ModelError
from streamer.recognition.families.streaming_timesformer import StreamingTimesformer


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


def stream_rollout(model: StreamingTimesformer, pixel_values: Tensor) -> Tensor:
    """How much the answer at a stretch's newest frame draws on each place of its frames: (S, N).

    Args:
        model: in fp32.
        pixel_values: (1, S, C, H, W), oldest first; complete with `model.reach` + 1 frames.
    """
    made: dict[tuple[int, str], Tensor] = {}
    blocks = model.layers
    hooks = [
        linear.register_forward_hook(lambda _, __, out, key=(number, kind): made.__setitem__(key, out))
        for number, block in enumerate(blocks)
        for kind, linear in (("time", block.time_qkv), ("space", block.space_qkv))
    ]
    try:
        with torch.no_grad():
            model.parallel(pixel_values)
    finally:
        for hook in hooks:
            hook.remove()
    ages, seen = model.ages_in(pixel_values.shape[1])
    of_class = torch.zeros(len(ages))
    of_class[-1] = 1.0
    of_places = torch.zeros(len(ages), made[0, "space"].shape[1] - 1)
    with torch.no_grad():
        for number, block in reversed(list(enumerate(blocks))):
            shares = block.tables.answers[ages].masked_fill(~seen, float("-inf")).softmax(-1)  # (S, S)
            weights = _attention(made[number, "space"], block.heads)
            drawn = (of_class @ shares)[:, None] * weights[:, 0]  # (S, P)
            drawn = drawn + torch.einsum("tm,tms->ts", of_places, weights[:, 1:])
            of_class, of_places = 0.5 * (of_class + drawn[:, 0]), 0.5 * (of_places + drawn[:, 1:])
            weights = _attention(made[number, "time"], block.heads, (block.tables.keys, ages, seen))
            of_places = _back_through_time(of_places, weights)
    return of_places


def _weights(attention: Any, x: Tensor) -> Tensor:
    """Attention of rows (R, S, D), averaged over the heads: (R, S, S)."""
    return _attention(attention.qkv(x), attention.num_heads)


def _attention(qkv: Tensor, heads: int, by_age: tuple[Tensor, Tensor, Tensor] | None = None) -> Tensor:
    """Of queries, keys and values (R, S, 3 D), averaged over the heads: (R, S, S). `by_age`: what is added to
    keys by age (T, D), how old each frame is to each, and which may be asked, (S, S).
    """
    rows, size, width = qkv.shape
    each = width // (3 * heads)
    query, key, _ = qkv.view(rows, size, 3, heads, each).permute(2, 0, 3, 1, 4)
    scores = query @ key.transpose(-1, -2)
    if by_age is not None:
        tables, ages, seen = by_age
        added = query @ tables.view(-1, heads, each).permute(1, 2, 0)  # (R, H, S, T)
        scores = scores + added.gather(-1, ages.expand(rows, heads, -1, -1))
        scores = scores.masked_fill(~seen, float("-inf"))
    averaged: Tensor = (scores * each**-0.5).softmax(-1).mean(1).float().cpu()
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
