"""TimeSformer's forward pass for inference: the weights of transformers, fewer and better steps.

Bertasius, Wang and Torresani, "Is Space-Time Attention All You Need for Video Understanding?" (ICML 2021).
One block with divided attention (joint and space-only attention have no time step):

    x ─┬─ norm ─ attention over time ─ out ─ + ─┬─ norm ─ attention over space ─ out ─ + ─┬─ norm ─ mlp ─ + ─
       └─────────────────────────────────────┘  └──────────────────────────────────────┘  └──────────────┘

The same sums as transformers' `TimesformerForVideoClassification`, and less work:

* The time step's two linear maps in a row, W2 (W1 a + b1) + b2, are one: (W2 W1) a + (W2 b1 + b2).
* Tokens stay in one layout, (B, T, S, D), from the first block to the last: nothing is permuted. Place 0 of
  each frame holds the class token, so that no step concatenates; its T copies are always equal.
* Only the class token leaves the last block, so there each frame asks one question instead of S. For one
  question q, the scores (W_k x) · q are x · (W_kᵀ q) and the answer Σ p (W_v x) is W_v (Σ p x): no keys, no
  values.

Axes: B windows, T frames, N patches of a frame, S = N + 1 with the class token, D width, H heads,
d = D / H width of a head, L labels, R = rows that attend on their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, scaled_dot_product_attention

from streamer.errors import WindowShapeError

# Above this many tokens the score matrices outgrow the caches and SDPA's blocks win.
_SHORT = 512


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q kᵀ / √d) v; all (R, H, S, d)."""
    if q.device.type == "cpu" and q.dtype != torch.float32 and q.shape[-2] <= _SHORT:
        # SDPA on a CPU computes bf16 and fp16 in small fp32 steps; whole matrices take half the time.
        scores: Tensor = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)  # (R, H, S, S)
        return torch.matmul(scores.softmax(-1), v)
    return scaled_dot_product_attention(q, k, v)


def _share(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer over existing (out, in) and (out,) tensors; nothing is copied."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return layer


def _fuse(first: nn.Linear, second: nn.Linear) -> nn.Linear:
    """second(first(x)) as one layer: summed in float64 on the host (Apple's GPUs have none), rounded once."""
    w1, w2 = (_wide(layer.weight) for layer in (first, second))
    b1, b2 = (None if layer.bias is None else _wide(layer.bias) for layer in (first, second))
    bias = torch.zeros(len(w2), dtype=torch.float64, device=w2.device)
    if b1 is not None:
        bias = w2 @ b1
    if b2 is not None:
        bias = bias + b2
    dtype, device = second.weight.dtype, second.weight.device
    return _share((w2 @ w1).to(dtype).to(device), bias.to(dtype).to(device))


def _wide(values: Tensor) -> Tensor:
    """In float64 on the host; of a model without weights (for counting its operations) as it is."""
    return values.detach().double() if values.is_meta else values.detach().cpu().double()


class Attention(nn.Module):
    """A norm, then heads in which each token of a row attends to all of them, then (by the caller) `out`."""

    def __init__(self, norm: nn.Module, attention: Any, out: nn.Linear) -> None:
        super().__init__()
        self.heads: int = attention.num_heads
        weights = attention.qkv.weight.chunk(3)  # views: own layers for q, k and v, shared memory
        biases = (None,) * 3 if attention.qkv.bias is None else attention.qkv.bias.chunk(3)
        self.norm = norm
        self.query, self.key, self.value = (_share(w, b) for w, b in zip(weights, biases, strict=True))
        self.out = out

    def over_time(self, x: Tensor) -> Tensor:
        """Each place looks along its own frames. (B, T, S, D) -> (B, T, S, D), before `out`."""
        b, t, s, _ = x.shape
        x = self.norm(x)

        def split(y: Tensor) -> Tensor:  # (B, T, S, H·d) -> (B·S, H, T, d)
            return y.view(b, t, s, self.heads, -1).permute(0, 2, 3, 1, 4).reshape(b * s, self.heads, t, -1)

        y = attend(split(self.query(x)), split(self.key(x)), split(self.value(x)))  # (B·S, H, T, d)
        return y.reshape(b, s, self.heads, t, -1).permute(0, 3, 1, 2, 4).reshape(b, t, s, -1)

    def over_space(self, x: Tensor) -> Tensor:
        """Each frame looks at its own places. (B, T, S, D) -> (B, T, S, D), before `out`."""
        b, t, s, _ = x.shape
        x = self.norm(x)

        def split(y: Tensor) -> Tensor:  # (B, T, S, H·d) -> (B·T, H, S, d)
            return y.view(b * t, s, self.heads, -1).transpose(1, 2)

        y = attend(split(self.query(x)), split(self.key(x)), split(self.value(x)))  # (B·T, H, S, d)
        return y.transpose(1, 2).reshape(b, t, s, -1)

    def of_class(self, x: Tensor) -> Tensor:
        """What only each frame's class token sees. (B, T, S, D) -> (B, T, 1, D), before `out`."""
        b, t, s, width = x.shape
        x = self.norm(x).view(b * t, s, width)  # (R, S, D)
        key = self.key.weight.view(self.heads, -1, width)  # (H, d, D); its bias moves all scores alike
        value = self.value.weight.view(self.heads, -1, width)  # (H, d, D)
        q = self.query(x[:, 0]).view(b * t, self.heads, 1, -1)  # (R, H, 1, d)
        asked = (q @ key).squeeze(2)  # (R, H, D)
        scores = asked @ x.transpose(1, 2) * key.shape[1] ** -0.5  # (R, H, S)
        seen = scores.softmax(-1) @ x  # (R, H, D)
        y = torch.matmul(seen.unsqueeze(2), value.transpose(1, 2)).reshape(b, t, 1, width)  # (B, T, 1, H·d)
        return y if self.value.bias is None else y + self.value.bias


class Block(nn.Module):
    """One layer. `time` is None where attention is joint or space-only."""

    def __init__(self, layer: Any, divided: bool) -> None:
        super().__init__()
        self.time: Attention | None = None
        if divided:
            attention = layer.temporal_attention
            out = _fuse(attention.output.dense, layer.temporal_dense)
            self.time = Attention(layer.temporal_layernorm, attention.attention, out)
        attention = layer.attention
        self.space = Attention(layer.layernorm_before, attention.attention, attention.output.dense)
        self.norm = layer.layernorm_after
        self.widen: nn.Linear = layer.intermediate.dense  # D -> 4 D
        self.act: Callable[[Tensor], Tensor] = layer.intermediate.intermediate_act_fn
        self.narrow: nn.Linear = layer.output.dense  # 4 D -> D

    def forward(self, x: Tensor) -> Tensor:
        """All tokens. (B, T, S, D) -> (B, T, S, D)."""
        x = self._time(x)
        y = self.space.over_space(x)  # (B, T, S, D)
        if self.time is not None:  # the class token sees all frames: the mean of what it saw in each
            y = _replace_class(y, y[:, :, :1].mean(1, keepdim=True))
        return self._mlp(x + self.space.out(y))

    def class_token(self, x: Tensor) -> Tensor:
        """The class token alone. (B, T, S, D) -> (B, T, 1, D); T = 1 where attention is divided."""
        x = self._time(x)
        y = self.space.of_class(x)  # (B, T, 1, D)
        x = x[:, :, :1]
        if self.time is not None:
            x, y = x[:, :1], y.mean(1, keepdim=True)
        return self._mlp(x + self.space.out(y))

    def _time(self, x: Tensor) -> Tensor:
        """The time step: patches only, the class token goes round it."""
        if self.time is None:
            return x
        return _replace_class(x + self.time.out(self.time.over_time(x)), x[:, :, :1])

    def _mlp(self, x: Tensor) -> Tensor:
        y: Tensor = self.narrow(self.act(self.widen(self.norm(x))))
        return x + y


def _replace_class(x: Tensor, token: Tensor) -> Tensor:
    """(B, T, S, D) with (B, T or 1, 1, D) in place 0 of each frame. Eager code writes into `x`."""
    if torch.compiler.is_compiling():  # or exporting
        return torch.cat((token.expand(-1, x.shape[1], -1, -1), x[:, :, 1:]), 2)
    x[:, :, :1] = token
    return x


class FusedTimesformer(nn.Module):
    """Inference only, over the parameters of a transformers model (any attention type, any input size).

    Parameters are shared, not copied. The only new ones are the fused time projections (D·D a layer), which
    stand for two each; those two are freed once the caller lets go of `model`.

    `space_only` checkpoints: class tokens are averaged over the frames before the last norm, as in the
    paper's own code and training. transformers leaves that out and returns one row of logits for each frame.

    Args:
        model: `transformers.TimesformerForVideoClassification`, in any floating dtype, on any device.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        config, inner = model.config, model.timesformer
        self.frames: int = config.num_frames
        self.patch: int = config.patch_size
        self.channels: int = config.num_channels
        self.attention_type: str = config.attention_type
        self.projection: nn.Conv2d = inner.embeddings.patch_embeddings.projection
        token = inner.embeddings.cls_token.detach()  # (1, 1, D)
        self.class_embedding = nn.Parameter(token, requires_grad=False)
        places = inner.embeddings.position_embeddings.detach()  # (1, S, D)
        self.place_embedding = nn.Parameter(places, requires_grad=False)
        self.time_embedding: nn.Parameter | None = None
        if self.attention_type != "space_only":
            times = inner.embeddings.time_embeddings.detach()  # (1, T, D)
            self.time_embedding = nn.Parameter(times, requires_grad=False)
        divided = self.attention_type == "divided_space_time"
        self.blocks = nn.ModuleList(Block(layer, divided) for layer in inner.encoder.layer)
        self.norm = inner.layernorm
        self.classifier = model.classifier
        self.eval().requires_grad_(False)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Logits of B windows.

        Args:
            pixel_values: float (B, T, C, height, width), normalised; on the weights' device, in their dtype.

        Returns:
            (B, L), in the weights' dtype.

        Raises:
            WindowShapeError: T is not the checkpoint's number of frames (transformers would group the tokens
                wrongly and say nothing), or a frame has other channels or is smaller than one patch.
        """
        self._check(pixel_values)
        x = self._embed(pixel_values)  # (B, T, S, D); joint: (B, 1, 1 + T·N, D)
        for block in self.blocks[:-1]:
            x = block(x)
        last = self.blocks[-1]
        assert isinstance(last, Block)
        token = last.class_token(x)[:, :, 0].mean(1)  # (B, D): the mean is over frames only in space-only
        logits: Tensor = self.classifier(self.norm(token))
        return logits

    def _embed(self, pixel_values: Tensor) -> Tensor:
        """Patches, places and times."""
        b, t, c, height, width = pixel_values.shape
        x = self.projection(pixel_values.reshape(b * t, c, height, width))  # (B·T, D, rows, columns)
        places = self._places(x.shape[2], x.shape[3])  # (1, S, D)
        x = x.flatten(2).transpose(1, 2).reshape(b, t, -1, x.shape[1]) + places[:, 1:]  # (B, T, N, D)
        token = (self.class_embedding + places[:, :1]).unsqueeze(1)  # (1, 1, 1, D)
        if self.time_embedding is not None:
            x = x + self.time_embedding.unsqueeze(2)  # (1, T, 1, D)
        if self.attention_type == "joint_space_time":
            x = x.reshape(b, 1, -1, x.shape[-1])  # every frame's places in one row
        return torch.cat((token.expand(b, x.shape[1], -1, -1), x), 2)

    def _places(self, rows: int, columns: int) -> Tensor:
        """(1, 1 + rows·columns, D); the trained square is stretched as transformers does it (nearest)."""
        places: Tensor = self.place_embedding
        if places.shape[1] == 1 + rows * columns:
            return places
        side = int((places.shape[1] - 1) ** 0.5)
        grid = places[:, 1:].transpose(1, 2).reshape(1, -1, side, side)  # (1, D, side, side)
        grid = interpolate(grid, size=(rows, columns), mode="nearest")
        return torch.cat((places[:, :1], grid.flatten(2).transpose(1, 2)), 1)

    def _check(self, pixel_values: Tensor) -> None:
        shape = tuple(pixel_values.shape)
        wanted = f"(windows, {self.frames}, {self.channels}, at least {self.patch}, at least {self.patch})"
        if len(shape) != 5:
            raise WindowShapeError(f"a clip has 5 axes, {wanted}; got {shape}")
        if shape[1] != self.frames:
            raise WindowShapeError(
                f"this TimeSformer was made for windows of {self.frames} frames, got {shape[1]}; "
                f"give it {self.frames} or use a checkpoint made for {shape[1]}"
            )
        if shape[2] != self.channels or min(shape[3:]) < self.patch:
            raise WindowShapeError(f"the clip should have the shape {wanted}; got {shape}")
