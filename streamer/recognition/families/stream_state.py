"""What a streaming model remembers of each camera: rings of T slots, written in place.

Axes as in `streaming_timesformer`; M cameras' memory, of which B are in a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


class LayerCache(Protocol):
    """What one layer asks of the frames before, in one step; the newest frame is among those that answer."""

    def asked(self, q: Tensor, k: Tensor, by_age: Tensor) -> Tensor:
        """Scores of each slot's frame, minus infinity where it holds none.

        Args:
            q: (B, N, H, d), scaled.
            k: (B, N, D), the newest frame's keys; they are kept.
            by_age: (T, D), what a frame's age adds to its keys.

        Returns:
            (B, T, N, H).
        """

    def answered(self, weights: Tensor, v: Tensor, by_age: Tensor) -> Tensor:
        """Weighted values. (B, T, N, H), the newest frame's (B, N, D), (T, D) by age -> (B, N, D)."""

    def mean_answer(self, answer: Tensor, by_age: Tensor) -> Tensor:
        """The class token's weighted mean. The newest (B, D), logits (T,) by age -> (B, D)."""


@dataclass(slots=True)
class StreamState:
    """What the last T frames of each camera left behind, for M cameras; a ring of T slots.

    Attributes:
        keys, values: (layers, M, T, N, D), of the attention over time.
        answers: (layers, M, T, D), what each frame's class token saw in its own frame.
        frames: of each camera since its last reset; the newest is in slot (frames - 1) % T.
    """

    keys: Tensor
    values: Tensor
    answers: Tensor
    frames: list[int]

    @property
    def bytes_per_camera(self) -> int:
        """Memory that one camera takes."""
        parts = (self.keys, self.values, self.answers)
        return sum(part.nbytes for part in parts) // len(self.frames)

    def reset(self, camera: int) -> None:
        """Forget a camera's frames: its next one is its first. The memory stays."""
        self.frames[camera] = 0

    def grown(self, cameras: int) -> StreamState:
        """Memory for so many cameras at least, with what is remembered."""
        count = len(self.frames)
        if cameras <= count:
            return self

        def larger(old: Tensor) -> Tensor:
            new = old.new_zeros(old.shape[0], cameras, *old.shape[2:])
            new[:, :count] = old
            return new

        frames = [*self.frames, *[0] * (cameras - count)]
        return StreamState(larger(self.keys), larger(self.values), larger(self.answers), frames)


def ages_of(frames: int, ages: int) -> list[int]:
    """The age of the frame in each of T slots while frame number `frames`, from 0, is computed."""
    return [(frames - slot) % ages for slot in range(ages)]


def by_head(x: Tensor, heads: int) -> Tensor:
    """(..., D) -> (..., H, d)."""
    return x.reshape(*x.shape[:-1], heads, -1)


class RingCache:
    """A step of B cameras over a `StreamState`.

    Args:
        state: written in place.
        cameras: rows of the state, each once.
    """

    def __init__(self, state: StreamState, cameras: Sequence[int]) -> None:
        self._state = state
        count = state.keys.shape[2]
        device = state.keys.device
        frames = [state.frames[camera] for camera in cameras]
        self.ages = torch.tensor([ages_of(n, count) for n in frames], device=device)  # (B, T)
        self.unseen = self.ages > torch.tensor(frames, device=device)[:, None]  # (B, T)
        self.slots = torch.tensor([n % count for n in frames], device=device)
        self.cameras = torch.tensor(list(cameras), device=device)
        in_a_row = list(cameras) == list(range(cameras[0], cameras[0] + len(cameras)))
        self.chosen: Any = slice(cameras[0], cameras[0] + len(cameras)) if in_a_row else self.cameras

    def layer(self, number: int) -> _RingLayer:
        """The cache of one layer."""
        state = self._state
        return _RingLayer(self, state.keys[number], state.values[number], state.answers[number])


class _RingLayer:
    """See `LayerCache`: the newest frame is written to its slot first, then all slots are asked alike."""

    def __init__(self, step: RingCache, keys: Tensor, values: Tensor, answers: Tensor) -> None:
        self._step = step
        self._keys, self._values, self._answers = keys, values, answers  # (M, T, ...) each

    def _written(self, ring: Tensor, newest: Tensor) -> Tensor:
        """(M, T, ...) with (B, ...) in the newest slots -> the step's cameras (B, T, ...)."""
        ring[self._step.cameras, self._step.slots] = newest
        return ring[self._step.chosen]

    def asked(self, q: Tensor, k: Tensor, by_age: Tensor) -> Tensor:
        """See `LayerCache.asked`."""
        keys = self._written(self._keys, k) + by_age[self._step.ages].unsqueeze(2)  # (B, T, N, D)
        scores = by_head(keys * q.flatten(2).unsqueeze(1), q.shape[2]).sum(-1)
        return scores.masked_fill(self._step.unseen[:, :, None, None], float("-inf"))

    def answered(self, weights: Tensor, v: Tensor, by_age: Tensor) -> Tensor:
        """See `LayerCache.answered`."""
        values = self._written(self._values, v) + by_age[self._step.ages].unsqueeze(2)
        return (by_head(values, weights.shape[-1]) * weights.unsqueeze(-1)).sum(1).flatten(2)

    def mean_answer(self, answer: Tensor, by_age: Tensor) -> Tensor:
        """See `LayerCache.mean_answer`."""
        answers = self._written(self._answers, answer)  # (B, T, D)
        shares = by_age[self._step.ages].masked_fill(self._step.unseen, float("-inf")).softmax(-1)
        return (shares.unsqueeze(1) @ answers).squeeze(1)
