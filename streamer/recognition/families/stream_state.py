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
            q: (B, N, H, d).
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


def asked_by_age(q: Tensor, table: Tensor) -> Tensor:
    """What a table of keys adds to the scores: T questions a place, not T x N keys that a sum would write.

    (B, N, H, d), (B, T, D) -> (B, T, N, H).
    """
    keys = by_head(table, q.shape[2]).permute(0, 2, 3, 1)  # (B, H, d, T)
    return (q.transpose(1, 2) @ keys).permute(0, 3, 2, 1)


def answered_by_age(weights: Tensor, table: Tensor) -> Tensor:
    """What a table of values adds to the answers. (B, T, N, H), (B, T, D) -> (B, N, D)."""
    values = by_head(table, weights.shape[-1]).transpose(1, 2)  # (B, H, T, d)
    return (weights.permute(0, 3, 2, 1) @ values).transpose(1, 2).flatten(2)


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
        self.places = [(camera, n % count) for camera, n in zip(cameras, frames, strict=True)]
        in_a_row = list(cameras) == list(range(cameras[0], cameras[0] + len(cameras)))
        chosen = slice(cameras[0], cameras[0] + len(cameras))
        self.chosen: Any = chosen if in_a_row else torch.tensor(list(cameras), device=device)

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
        for place, new in zip(self._step.places, newest, strict=True):
            ring[place] = new  # an index of tensors would copy number by number
        return ring[self._step.chosen]

    def asked(self, q: Tensor, k: Tensor, by_age: Tensor) -> Tensor:
        """See `LayerCache.asked`."""
        keys, flat = self._written(self._keys, k), q.flatten(2)
        # age by age: what is computed stays in the processor's cache
        scores = [by_head(key * flat, q.shape[2]).sum(-1) for key in keys.unbind(1)]
        found = torch.stack(scores, 1) + asked_by_age(q, by_age[self._step.ages])
        return found.masked_fill_(self._step.unseen[:, :, None, None], float("-inf"))

    def answered(self, weights: Tensor, v: Tensor, by_age: Tensor) -> Tensor:
        """See `LayerCache.answered`."""
        values = by_head(self._written(self._values, v), weights.shape[-1])  # (B, T, N, H, d)
        found = answered_by_age(weights, by_age[self._step.ages])
        heads = by_head(found, weights.shape[-1])
        for value, weight in zip(values.unbind(1), weights.unbind(1), strict=True):
            heads.addcmul_(value, weight.unsqueeze(-1))
        return found

    def mean_answer(self, answer: Tensor, by_age: Tensor) -> Tensor:
        """See `LayerCache.mean_answer`."""
        answers = self._written(self._answers, answer)  # (B, T, D)
        shares = by_age[self._step.ages].masked_fill(self._step.unseen, float("-inf")).softmax(-1)
        return (shares.unsqueeze(1) @ answers).squeeze(1)
