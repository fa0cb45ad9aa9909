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

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from streamer.errors import WindowShapeError
from streamer.recognition.families.stream_state import LayerCache, RingCache, StreamState
from streamer.recognition.families.streaming_block import AgeTables, Block

PREFIX = "streaming."  # of the tensors in model.safetensors that plain transformers does not know
TABLES = ("keys", "values", "answers")


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
        tables = [block.tables for block in self.layers]
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
            for number, block in enumerate(self.layers):
                for name in TABLES:
                    getattr(block.tables, name).copy_(tensors[PREFIX + name][number])

    @property
    def layers(self) -> list[Block]:
        """Its blocks, first to last."""
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
        ages, seen = self.ages_in(s, x.device)
        for block in self.layers:
            x = block.parallel(x, ages, seen)
        logits: Tensor = self.classifier(self.norm(x[:, :, 0]))
        return logits

    def ages_in(self, frames: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """Of a stretch, (S, S) both: how old frame s is at frame t, 0 to T-1, and whether t may ask s."""
        now = torch.arange(frames, device=device)
        age = now[:, None] - now
        return age.clamp(0, self.ages - 1), (age >= 0) & (age < self.ages)

    def new_state(self, cameras: int) -> StreamState:
        """Memory for so many cameras, in the weights' dtype and on their device."""
        weight = self.place_embedding
        shape = (len(self.blocks), cameras, self.ages)
        patches = (weight.shape[1] - 1, weight.shape[2])
        return StreamState(
            keys=weight.new_zeros(*shape, *patches),
            values=weight.new_zeros(*shape, *patches),
            answers=weight.new_zeros(*shape, patches[1]),
            frames=[0] * cameras,
        )

    def step(self, pixel_values: Tensor, state: StreamState, cameras: Sequence[int]) -> Tensor:
        """Logits at the newest frame of each of B cameras, whose state goes on by one frame. No gradients.

        Args:
            pixel_values: float (B, C, H, W), normalised.
            state: of `new_state`.
            cameras: B rows of the state, each once.

        Returns:
            (B, L).
        """
        cache = RingCache(state, cameras)
        x = self.embed(pixel_values)
        logits = self.through(x, (cache.layer(number) for number in range(len(self.blocks))))
        for camera in cameras:
            state.frames[camera] += 1
        return logits

    def through(self, x: Tensor, caches: Iterable[LayerCache]) -> Tensor:
        """Newest frames through all layers. (B, P, D) of `embed`, written to -> logits (B, L)."""
        for block, cache in zip(self.layers, caches, strict=True):
            x = block.step(x, cache, last=block is self.blocks[-1])
        logits: Tensor = self.classifier(self.norm(x[:, 0]))
        return logits
