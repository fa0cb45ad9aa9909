"""One layer of a streaming TimeSformer: over time, over space, mlp; a stretch at once, or the newest frame.

The axes are those of `streaming_timesformer`, which says what a layer computes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from streamer.recognition.families.stream_state import LayerCache, by_head
from streamer.recognition.families.timesformer import _fuse as fuse
from streamer.recognition.families.timesformer import attend


class AgeTables(nn.Module):
    """What one layer adds for a frame's age, 0 = the newest. All start without effect of their own.

    Args:
        ages: T.
        width: D.
    """

    def __init__(self, ages: int, width: int) -> None:
        super().__init__()
        self.keys = nn.Parameter(torch.zeros(ages, width))
        self.values = nn.Parameter(torch.zeros(ages, width))
        self.answers = nn.Parameter(torch.zeros(ages))  # logits of the class token's weights: the plain mean


class Block(nn.Module):
    """One layer with divided attention over `transformers`' modules, which it shares.

    Args:
        layer: `TimesformerLayer`.
        tables: what it adds by age.
        fused: the time step's two linear maps in a row as one; for inference, as no gradient goes through it.
    """

    def __init__(self, layer: Any, tables: AgeTables, *, fused: bool) -> None:
        super().__init__()
        over_time, over_space = layer.temporal_attention, layer.attention
        self.heads: int = over_space.attention.num_heads
        self.tables = tables
        self.time_norm = layer.temporal_layernorm
        self.time_qkv = over_time.attention.qkv
        self.time_out: nn.Module = (
            fuse(over_time.output.dense, layer.temporal_dense)
            if fused
            else nn.Sequential(over_time.output.dense, layer.temporal_dense)
        )
        self.space_norm = layer.layernorm_before
        self.space_qkv = over_space.attention.qkv
        self.space_out = over_space.output.dense
        self.mlp_norm = layer.layernorm_after
        self.widen = layer.intermediate.dense  # D -> 4 D
        self.act = layer.intermediate.intermediate_act_fn
        self.narrow = layer.output.dense  # 4 D -> D

    def _heads(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., H, d)."""
        return by_head(x, self.heads)

    def _split(self, qkv: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values. (R, S, 3 D) -> three of (R, H, S, d)."""
        return by_head(qkv, 3 * self.heads).transpose(1, 2).chunk(3, 1)

    def _space(self, x: Tensor) -> Tensor:
        """Each frame looks at its own places. (R, P, D) -> (R, P, D), before `space_out`."""
        q, k, v = self._split(self.space_qkv(self.space_norm(x)))  # (R, H, P, d)
        return attend(q, k, v).transpose(1, 2).flatten(2)

    def _finish(self, x: Tensor, seen: Tensor) -> Tensor:
        """What was seen over space, then the mlp. (..., D) -> (..., D)."""
        x = x + self.space_out(seen)
        y: Tensor = self.narrow(self.act(self.widen(self.mlp_norm(x))))
        return x + y

    def parallel(self, x: Tensor, ages: Tensor, seen: Tensor) -> Tensor:
        """Whole stretches. (B, S, P, D) -> (B, S, P, D).

        Args:
            x: places of every frame.
            ages: (S, S) int64, how old frame s is at frame t, clamped to 0 .. T-1.
            seen: (S, S) bool, True where frame t may ask frame s.
        """
        b, s, p, width = x.shape
        patches = x[:, :, 1:].transpose(1, 2).reshape(b * (p - 1), s, width)  # (B·N, S, D)
        q, k, v = self._split(self.time_qkv(self.time_norm(patches)))  # (B·N, H, S, d)
        by_age = self._heads(self.tables.keys).transpose(0, 1)  # (H, T, d)
        table = (q @ by_age.transpose(-1, -2)).gather(-1, ages.expand(*q.shape[:2], -1, -1))
        scores = (q @ k.transpose(-1, -2) + table) * q.shape[-1] ** -0.5  # (B·N, H, S, S)
        weights = scores.masked_fill(~seen, float("-inf")).softmax(-1)
        by_age = self._heads(self.tables.values).transpose(0, 1)
        y = weights @ v + _by_age(weights, ages, len(self.tables.values)) @ by_age  # (B·N, H, S, d)
        y = self.time_out(y.transpose(1, 2).flatten(2))  # (B·N, S, D)
        patches = (patches + y).view(b, p - 1, s, width).transpose(1, 2)
        x = torch.cat((x[:, :, :1], patches), 2)

        space = self._space(x.reshape(b * s, p, width)).view(b, s, p, width)
        shares = self.tables.answers[ages].masked_fill(~seen, float("-inf")).softmax(-1)  # (S, S)
        answers = shares @ space[:, :, 0]  # (B, S, D)
        return self._finish(x, torch.cat((answers.unsqueeze(2), space[:, :, 1:]), 2))

    def step(self, x: Tensor, cache: LayerCache, *, last: bool) -> Tensor:
        """The newest frame of B streams. (B, P, D) -> (B, P, D), or (B, 1, D) from the last layer.

        Args:
            x: places of the frames; written to.
            cache: of this layer and these streams; the newest frame goes into it.
            last: only the class token is wanted.
        """
        patches = x[:, 1:]  # (B, N, D)
        q, k, v = self.time_qkv(self.time_norm(patches)).chunk(3, -1)
        tables = self.tables
        q = self._heads(q)  # (B, N, H, d)
        scores = cache.asked(q, k, tables.keys) * q.shape[-1] ** -0.5  # (B, T, N, H)
        y = cache.answered(scores.softmax(1), v, tables.values)  # (B, N, D)
        x = _added(x, self.time_out(y))

        space = self._space_of_class(x) if last else self._space(x)  # (B, 1 or P, D)
        answer = cache.mean_answer(space[:, 0], tables.answers)  # (B, D)
        if last:
            return self._finish(x[:, :1], answer.unsqueeze(1))
        return self._finish(x, _with_class(space, answer))

    def _space_of_class(self, x: Tensor) -> Tensor:
        """What only the class token sees of its frame. (B, P, D) -> (B, 1, D), before `space_out`.

        For one question q, the scores (W_k x) q are x (W_kᵀ q) and the answer is W_v (Σ weights x): neither
        keys nor values of the places are computed. The keys' bias moves all scores alike.
        """
        b, _, width = x.shape
        x = self.space_norm(x)
        weight_q, weight_k, weight_v = self.space_qkv.weight.chunk(3)
        bias = self.space_qkv.bias
        biases = (None,) * 3 if bias is None else bias.chunk(3)
        q = self._heads(torch.nn.functional.linear(x[:, 0], weight_q, biases[0]))  # (B, H, d)
        asked = (q.unsqueeze(2) @ weight_k.view(self.heads, -1, width)).squeeze(2)  # (B, H, D)
        scores = asked @ x.transpose(1, 2) * q.shape[-1] ** -0.5  # (B, H, P)
        seen = (scores.softmax(-1) @ x).unsqueeze(2)  # (B, H, 1, D)
        y = (seen @ weight_v.view(self.heads, -1, width).transpose(1, 2)).reshape(b, 1, width)
        out: Tensor = y if biases[2] is None else y + biases[2]
        return out


def _added(x: Tensor, y: Tensor) -> Tensor:
    """(B, P, D) with (B, N, D) added to its patches. Eager code writes into `x`."""
    if torch.compiler.is_compiling():  # or exporting, where writing into a part copies the whole first
        return torch.cat((x[:, :1], x[:, 1:] + y), 1)
    x[:, 1:] += y
    return x


def _with_class(x: Tensor, token: Tensor) -> Tensor:
    """(B, P, D) with (B, D) in the class token's place. Eager code writes into `x`."""
    if torch.compiler.is_compiling():
        return torch.cat((token.unsqueeze(1), x[:, 1:]), 1)
    x[:, 0] = token
    return x


def _by_age(weights: Tensor, ages: Tensor, count: int) -> Tensor:
    """Attention weights by frame (..., S, S) -> by age (..., S, T)."""
    out = weights.new_zeros(*weights.shape[:-1], count)
    return out.scatter_add(-1, ages.expand_as(weights), weights)
