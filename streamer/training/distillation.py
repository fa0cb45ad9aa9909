"""Distilling a window model into a streaming one: loss, steps, and a state to go on from.

The student is `StreamingTimesformer` in its parallel form over stretches of several spans, begun cold. At
each tick its scores are drawn towards the teacher's on the window that ends there, or a little later
(`ahead`: the student then says so much sooner what the teacher would), and towards the truth where there is
one.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from streamer.recognition.families.streaming_block import AgeTables
from streamer.recognition.families.streaming_timesformer import StreamingTimesformer

UNKNOWN = -1  # a tick whose label is not known, or changes just there
_KEPT = ("student", "average", "optimizer")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive ticks of one video, an interval apart."""

    frames: NDArray[np.uint8]  # (S, H, W, 3) RGB, in the model's size
    scores: NDArray[np.float32]  # (S, L) of the teacher; not a number where it has none
    labels: NDArray[np.int64]  # (S,); UNKNOWN where there is none


class Source(Protocol):
    """Where stretches come from."""

    def draw(self, rng: np.random.Generator) -> Stretch:
        """One stretch of the run's length; the same for the same random numbers."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the steps depend on."""

    steps: int
    batch: int = 8
    rate: float = 4e-4
    table_rate: float = 2e-3
    age_rate: float = 2e-2  # of the class token's weights by age
    warmup: int = 100
    truth: float = 0.5  # weight of the cross entropy beside the divergence from the teacher
    weight_decay: float = 0.02
    smoothing: float = 0.999  # of the averaged weights that are kept
    bf16: bool = True
    seed: int = 0
    save_every: float = 120.0  # seconds


def start_tables(student: StreamingTimesformer, model: Any, windows: Iterable[Tensor]) -> None:
    """Set each layer's tables to what a frame's place in the window changes in the teacher's keys and values.

    Args:
        student: its tables are written.
        model: `TimesformerForVideoClassification`, the teacher.
        windows: a few batches of `pixel_values` (B, T, C, H, W).
    """
    width = model.config.hidden_size
    means: list[Tensor] = []
    layers = [layer.temporal_attention.attention.qkv for layer in model.timesformer.encoder.layer]
    sums = [torch.zeros(model.config.num_frames, 3 * width) for _ in layers]
    count = 0

    def listener(number: int) -> Callable[..., None]:
        def heard(_: Any, __: Any, out: Tensor) -> None:
            sums[number] += out.detach().float().mean(0).cpu()  # (T, 3 D): every place of every window

        return heard

    hooks = [layer.register_forward_hook(listener(n)) for n, layer in enumerate(layers)]
    try:
        with torch.no_grad():
            for window in windows:
                model(pixel_values=window)
                count += 1
    finally:
        for hook in hooks:
            hook.remove()
    means = [(total / max(1, count)).flip(0) for total in sums]  # by age
    for block, mean in zip(student.blocks, means, strict=True):
        tables: AgeTables = block.tables  # type: ignore[assignment]
        with torch.no_grad():
            tables.keys.copy_(mean[:, width : 2 * width] - mean[:1, width : 2 * width])
            tables.values.copy_(mean[:, 2 * width :] - mean[:1, 2 * width :])


def loss_of(logits: Tensor, scores: Tensor, labels: Tensor, truth: float) -> Tensor:
    """Divergence from the teacher plus `truth` times the cross entropy.

    Args:
        logits: (B, S, L) of the student.
        scores: (B, S, L) of the teacher, not a number where it has none.
        labels: (B, S), UNKNOWN where there is none.
    """
    logits, scores, labels = logits.flatten(0, 1).float(), scores.flatten(0, 1), labels.flatten()
    taught = ~scores[:, 0].isnan()
    loss = logits.new_zeros(())
    if bool(taught.any()):
        loss = kl_div(log_softmax(logits[taught], -1), scores[taught], reduction="batchmean")
    if truth > 0 and bool((labels != UNKNOWN).any()):
        loss = loss + truth * cross_entropy(logits, labels, ignore_index=UNKNOWN)
    return loss


class Distiller:
    """Student, averaged weights, optimiser and progress. Step n depends on the seed and n alone.

    Args:
        model: the teacher, `TimesformerForVideoClassification`; it is copied.
        source: of training's stretches.
        pixels: (B, S, H, W, 3) uint8 -> (B, S, C, H, W) float32, normalised.
        folder: where the state is kept.
    """

    def __init__(
        self, model: Any, source: Source, pixels: Callable[[Tensor], Tensor], settings: Settings, folder: Path
    ) -> None:
        self.settings = settings
        self.source = source
        self.pixels = pixels
        self.folder = folder
        self.model = copy.deepcopy(model).requires_grad_(True)
        self.student = StreamingTimesformer(self.model, fused=False)
        self.average_model = copy.deepcopy(self.model)
        self.average = StreamingTimesformer(self.average_model, fused=False).requires_grad_(False)
        self.step, self.seconds = 0, 0.0
        self.optimizer = torch.optim.AdamW(self._groups(), betas=(0.9, 0.98), fused=True)

    def _groups(self) -> list[dict[str, Any]]:
        settings = self.settings
        named = dict(self.student.named_parameters())
        ages = [p for name, p in named.items() if name.endswith("tables.answers")]
        tables = [p for name, p in named.items() if name.endswith(("tables.keys", "tables.values"))]
        special = {id(p) for p in (*ages, *tables)}
        rest = [p for p in named.values() if id(p) not in special]
        return [
            {"params": rest, "rate": settings.rate, "weight_decay": settings.weight_decay},
            {"params": tables, "rate": settings.table_rate, "weight_decay": 0.0},
            {"params": ages, "rate": settings.age_rate, "weight_decay": 0.0},
        ]

    def adopt(self) -> None:
        """The averaged weights begin where the student does; after its tables were set."""
        self.average.load_state_dict(self.student.state_dict())

    def learn(self) -> float:
        """One step; returns its loss."""
        settings = self.settings
        rng = np.random.default_rng([settings.seed, 9001, self.step])
        drawn = [self.source.draw(rng) for _ in range(settings.batch)]
        warm = min(1.0, (self.step + 1) / settings.warmup)
        fade = 0.5 * (1 + math.cos(math.pi * min(1.0, self.step / settings.steps)))
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * warm * max(0.01, fade)
        pixels = self.pixels(torch.from_numpy(np.stack([s.frames for s in drawn])))
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=settings.bf16):
            logits = self.student.parallel(pixels)
        scores = torch.from_numpy(np.stack([s.scores for s in drawn])).to(logits.device)
        labels = torch.from_numpy(np.stack([s.labels for s in drawn])).to(logits.device)
        loss = loss_of(logits, scores, labels, settings.truth)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        keep = min(settings.smoothing, (1 + self.step) / (20 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.student.parameters()), 1 - keep)
        return loss.item()

    def run(self, until: Callable[[], bool]) -> Iterator[float]:
        """Steps until the settings' number is reached or `until`; yields each loss, and keeps the state."""
        saved, last = self.seconds, time.monotonic()
        while self.step < self.settings.steps and not until():
            loss = self.learn()
            now = time.monotonic()
            self.seconds, last = self.seconds + now - last, now
            if self.seconds - saved > self.settings.save_every or self.step == self.settings.steps:
                self.save()
                saved = self.seconds
            yield loss
            last = time.monotonic()

    def save(self) -> None:
        """Everything needed to go on, replaced as a whole. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / "state.part"
        parts = {name: getattr(self, name).state_dict() for name in _KEPT}
        torch.save({**parts, "step": self.step, "seconds": self.seconds}, part)
        part.replace(self.folder / "state.pt")

    def begin_with(self, folder: Path) -> None:
        """Begin with the averaged weights of another run. Raises FileNotFoundError where there is none."""
        average = torch.load(folder / "state.pt", weights_only=True)["average"]
        self.student.load_state_dict(average)
        self.average.load_state_dict(average)

    def load(self) -> None:
        """Go on from `save`. Raises FileNotFoundError where there is nothing."""
        state = torch.load(self.folder / "state.pt", weights_only=True)
        for name in _KEPT:
            getattr(self, name).load_state_dict(state[name])
        self.step, self.seconds = state["step"], state["seconds"]


def save_checkpoint(model: Any, student: StreamingTimesformer, folder: Path, own: dict[str, Any]) -> None:
    """Write a checkpoint that streamer runs as a stream, and plain transformers as a model of windows.

    Args:
        model: the transformers model whose modules `student` shares.
        student: with the trained tables.
        folder: made where it is not there.
        own: what config.json says under "streamer", such as interval and licence.

    Raises:
        OSError: it cannot be written.
    """
    from safetensors.torch import load_file, save_file

    model.config.streamer = {**own, "streaming": True}
    model.save_pretrained(folder)
    weights = folder / "model.safetensors"
    tensors = load_file(weights) | student.own_tensors()
    part = weights.with_suffix(".part")
    save_file(tensors, part, metadata={"format": "pt"})
    part.replace(weights)
