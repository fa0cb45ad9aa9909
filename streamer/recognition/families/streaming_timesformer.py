"""A TimeSformer that computes the newest frame only, and attends to earlier ones from a cache.

A window model computes T frames at each hop, of which T-1 were there the hop before. Here every frame enters
once, as if it were the newest of its window, and leaves behind what later frames may ask of it. One layer:

* Over time: each patch asks the patches at its own place of frames t-T+1 .. t. Their keys and values are
  cached. What a frame's age changes is added to its key and value when it is asked, from tables by layer and
  age: relative by construction, so nothing that is cached ever goes stale.
* Over space: each place asks all places of its own frame. The class token's answer is cached, and what it
  takes on is the mean of its last T answers, weighted by age; the weights are learned.
* Then the mlp, as in the window model.

A frame's answer depends on the (L+1) (T-1) frames before it and on nothing older: each of the L layers
reaches T-1 frames further back over time, and the last class token's mean T-1 more. Before T frames were
seen, the ages that are missing are masked. The head looks at the newest frame's class token.

`parallel` computes whole stretches at once, as training does; `step` one frame of each camera, as live
recognition does. They are the same function, up to rounding.

Axes: B stretches or cameras, S frames of a stretch, T ages (the checkpoint's number of frames), N patches of
a frame, P = N + 1 places with the class token in place 0, D width, H heads, d = D / H, L labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from streamer.errors import WindowShapeError
from streamer.recognition.families.stream_state import LayerCache, StreamState
from streamer.recognition.families.timesformer import _fuse as fuse
from streamer.recognition.families.timesformer import attend

PREFIX = "streaming."  # of the tensors in model.safetensors that plain transformers does not know
TABLES = ("keys", "values", "answers")


def _cut(x: Tensor, count: int) -> Tensor:
    """(..., count · d) -> (..., count, d)."""
    return x.reshape(*x.shape[:-1], count, -1)


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
        return _cut(x, self.heads)

    def _split(self, qkv: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values. (R, S, 3 D) -> three of (R, H, S, d)."""
        return _cut(qkv, 3 * self.heads).transpose(1, 2).chunk(3, 1)

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

    def step(self, x: Tensor, cache: LayerCache, ages: Tensor, seen: Tensor, *, last: bool) -> Tensor:
        """The newest frame of B cameras. (B, P, D) -> (B, P, D), or (B, 1, D) from the last layer.

        Args:
            x: places of the frames.
            cache: of this layer and these cameras; the newest slot is written.
            ages: (B, T) int64, the age of each slot.
            seen: (B, 1, 1, T) bool, True where the slot holds a frame of this stream.
            last: only the class token is wanted.
        """
        patches = x[:, 1:]  # (B, N, D)
        q, k, v = _cut(self.time_qkv(self.time_norm(patches)), 3 * self.heads).chunk(3, 2)
        cache.write(k, v)
        by_slot = self._heads(self.tables.keys[ages]).permute(0, 2, 3, 1)  # (B, H, d, T)
        table = q.transpose(1, 2) @ by_slot  # (B, H, N, T)
        scores = (cache.keys @ q.unsqueeze(-1)).squeeze(-1) + table.transpose(1, 2)  # (B, N, H, T)
        weights = (scores * q.shape[-1] ** -0.5).masked_fill(~seen, float("-inf")).softmax(-1)
        y = (weights.unsqueeze(-2) @ cache.values).squeeze(-2)  # (B, N, H, d)
        by_slot = self._heads(self.tables.values[ages]).transpose(1, 2)  # (B, H, T, d)
        y = y + (weights.transpose(1, 2) @ by_slot).transpose(1, 2)
        x = torch.cat((x[:, :1], patches + self.time_out(y.flatten(2))), 1)

        space = self._space_of_class(x) if last else self._space(x)  # (B, 1 or P, D)
        answers = cache.write_answer(space[:, 0])  # (B, T, D)
        shares = self.tables.answers[ages].masked_fill(~seen[:, 0, 0], float("-inf")).softmax(-1)  # (B, T)
        answer = (shares.unsqueeze(1) @ answers).to(x.dtype)  # (B, 1, D)
        if last:
            return self._finish(x[:, :1], answer)
        return self._finish(x, torch.cat((answer, space[:, 1:]), 1))

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


def _by_age(weights: Tensor, ages: Tensor, count: int) -> Tensor:
    """Attention weights by frame (..., S, S) -> by age (..., S, T)."""
    out = weights.new_zeros(*weights.shape[:-1], count)
    return out.scatter_add(-1, ages.expand_as(weights), weights)


class StreamingTimesformer(nn.Module):
    """A TimeSformer with divided attention, as the module's text defines it.

    Args:
        model: `transformers.TimesformerForVideoClassification`; its modules are shared, not copied.
        fused: for inference.

    Raises:
        ValueError: its attention is not divided: then there is no step over time to cache.
    """

    def __init__(self, model: Any, *, fused: bool) -> None:
        super().__init__()
        config, inner = model.config, model.timesformer
        if config.attention_type != "divided_space_time":
            raise ValueError(f"only divided attention can be streamed, not {config.attention_type}")
        self.ages: int = config.num_frames
        self.channels: int = config.num_channels
        self.patch: int = config.patch_size
        self.projection = inner.embeddings.patch_embeddings.projection
        self.class_embedding = inner.embeddings.cls_token  # (1, 1, D)
        self.place_embedding = inner.embeddings.position_embeddings  # (1, P, D)
        newest = inner.embeddings.time_embeddings[:, -1:].detach()  # (1, 1, D)
        self.newest_embedding = nn.Parameter(newest.clone())
        width = config.hidden_size
        self.blocks = nn.ModuleList(
            Block(layer, AgeTables(self.ages, width), fused=fused) for layer in inner.encoder.layer
        )
        self.norm = inner.layernorm
        self.classifier = model.classifier

    @property
    def reach(self) -> int:
        """How many frames before the newest its answer depends on."""
        return (len(self.blocks) + 1) * (self.ages - 1)

    def own_tensors(self) -> dict[str, Tensor]:
        """What it has beside the window model, for model.safetensors: `newest` (D,), `keys` and `values`
        (layers, T, D), `answers` (layers, T), each under PREFIX.
        """
        tables = [block.tables for block in self._layers()]
        stacked = {name: torch.stack([getattr(table, name) for table in tables]) for name in TABLES}
        own = {"newest": self.newest_embedding[0, 0], **stacked}
        return {PREFIX + name: tensor.detach().clone().contiguous() for name, tensor in own.items()}

    def adopt(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over `own_tensors` of another.

        Raises:
            ValueError: one is missing, or has another shape.
        """
        for name, own in self.own_tensors().items():
            given = tensors.get(name)
            if given is None or given.shape != own.shape:
                shape = "missing" if given is None else f"of shape {tuple(given.shape)}"
                raise ValueError(f"tensor {name} is {shape}; the model asks for {tuple(own.shape)}")
        with torch.no_grad():
            self.newest_embedding.copy_(tensors[PREFIX + "newest"].view_as(self.newest_embedding))
            for number, block in enumerate(self._layers()):
                for name in TABLES:
                    getattr(block.tables, name).copy_(tensors[PREFIX + name][number])

    def _layers(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]

    def embed(self, pixel_values: Tensor) -> Tensor:
        """Every frame as if it were the newest. (R, C, H, W) -> (R, P, D)."""
        x = self.projection(pixel_values).flatten(2).transpose(1, 2)  # (R, N, D)
        if x.shape[1] + 1 != self.place_embedding.shape[1]:
            raise WindowShapeError(
                f"this model has {self.place_embedding.shape[1] - 1} places, frames of "
                f"{tuple(pixel_values.shape[2:])} give {x.shape[1]}"
            )
        x = x + self.place_embedding[:, 1:] + self.newest_embedding
        token = self.class_embedding + self.place_embedding[:, :1]
        return torch.cat((token.expand(len(x), -1, -1), x), 1)

    def parallel(self, pixel_values: Tensor) -> Tensor:
        """Logits at every frame of stretches that begin cold.

        Args:
            pixel_values: float (B, S, C, H, W), normalised.

        Returns:
            (B, S, L).
        """
        b, s = pixel_values.shape[:2]
        x = self.embed(pixel_values.flatten(0, 1)).view(
            b, s, -1, self.place_embedding.shape[2]
        )  # (B, S, P, D)
        now = torch.arange(s, device=x.device)
        age = now[:, None] - now  # (S, S)
        seen = (age >= 0) & (age < self.ages)
        ages = age.clamp(0, self.ages - 1)
        for block in self._layers():
            x = block.parallel(x, ages, seen)
        logits: Tensor = self.classifier(self.norm(x[:, :, 0]))
        return logits

    def new_state(self, cameras: int) -> StreamState:
        """Memory for so many cameras, in the weights' dtype and on their device."""
        weight = self.place_embedding
        places, width = weight.shape[1] - 1, weight.shape[2]
        heads = self._layers()[0].heads
        shape = (len(self.blocks), cameras, places, heads, self.ages, width // heads)
        return StreamState(
            keys=weight.new_zeros(shape),
            values=weight.new_zeros(shape),
            answers=weight.new_zeros(len(self.blocks), cameras, self.ages, width),
            frames=[0] * cameras,
        )

    def step(self, pixel_values: Tensor, state: StreamState, cameras: Sequence[int]) -> Tensor:
        """Logits at the newest frame of each of B cameras, whose state goes on by one frame.

        Args:
            pixel_values: float (B, C, H, W), normalised.
            state: of `new_state`.
            cameras: B rows of the state, each once.

        Returns:
            (B, L).
        """
        x = self.embed(pixel_values)
        device = x.device
        counts = [state.frames[camera] for camera in cameras]
        slots = torch.tensor([count % self.ages for count in counts], device=device)
        ages = (slots[:, None] - torch.arange(self.ages, device=device)) % self.ages  # (B, T)
        seen = (ages <= torch.tensor(counts, device=device)[:, None])[:, None, None]  # (B, 1, 1, T)
        rows = torch.arange(len(cameras), device=device)
        in_a_row = list(cameras) == list(range(cameras[0], cameras[0] + len(cameras)))
        chosen: Any = slice(cameras[0], cameras[0] + len(cameras)) if in_a_row else list(cameras)
        for number, block in enumerate(self._layers()):
            keys, values, answers = state.keys[number], state.values[number], state.answers[number]
            cache = LayerCache(keys[chosen], values[chosen], answers[chosen], rows, slots)
            x = block.step(x, cache, ages, seen, last=number == len(self.blocks) - 1)
            if not in_a_row:  # what was written went into copies
                keys[chosen], values[chosen], answers[chosen] = cache.keys, cache.values, cache.answers
        for camera in cameras:
            state.frames[camera] += 1
        logits: Tensor = self.classifier(self.norm(x[:, 0]))
        return logits
