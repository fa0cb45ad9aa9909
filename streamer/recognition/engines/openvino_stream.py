"""Steps of a streaming model by OpenVINO: the cache goes in, what the newest frame leaves behind comes out.

The cache stays where it is: OpenVINO reads each stream's ring in place, and its outputs, a T-th of it, are
copied into the ring's next slot. As variables of the model (its "stateful" form) the whole cache would be
written anew at each step; docs/performance.md has both times.

Axes as in `streaming_timesformer`; one stream at a time, B = 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from streamer.errors import ModelError
from streamer.recognition.engines.cache import Cache
from streamer.recognition.engines.openvino import compiled, load_converted, one_line
from streamer.recognition.families.stream_state import (
    StreamState,
    ages_of,
    answered_by_age,
    asked_by_age,
    by_head,
)

INPUTS = ("pixel_values", "keys", "values", "answers", "ages", "seen")
# Not quantised: the products of the cache, element by element, would be rounded at each age.
FLOATING = ("Multiply", "ReduceSum", "Select")
HIDDEN = -1e30  # as a score: minus infinity, in every precision, but 0 x it is 0
SAMPLED = 4  # every so many ticks of a stretch are one sample for int8


class OpenVinoStream:
    """See `StreamEngine`.

    Args:
        model: `openvino.Model` of a `StepModule`.
        shapes: `StreamState` of one stream, without memory of its own: what the rings look like.
        size: (C, H, W) of a frame.
        precision: "fp32", "bf16" or "int8".
    """

    def __init__(self, model: Any, shapes: StreamState, size: tuple[int, ...], precision: str) -> None:
        self._shapes = shapes
        self._rings: list[StreamState] = []
        layers, _, ages, *patches = shapes.keys.shape
        self._ages = ages
        dtype = shapes.keys.dtype
        self._new = [torch.zeros(layers, *patches, dtype=dtype) for _ in range(2)]
        self._new.append(torch.zeros(layers, patches[-1], dtype=dtype))
        try:
            self._request = compiled(model, precision).create_infer_request()
            for number, output in enumerate(self._new, start=1):
                self._request.set_output_tensor(number, _shared(output))
            self.grow(1)
            self._one(torch.zeros(1, *size), self._rings[0])  # what cannot run here says so now
            self.reset(0)
        except RuntimeError as error:
            raise ModelError(f"OpenVINO failed on {size}: {one_line(error)}") from error

    @classmethod
    def of(
        cls,
        model: Any,
        size: tuple[int, ...],
        precision: str,
        stretches: Tensor | None = None,
        cache: Cache | None = None,
    ) -> OpenVinoStream:
        """Convert, or take from the cache of converted models.

        Args:
            model: `StreamingTimesformer` for inference, fp32 on the CPU, unpacked; it is only read.
            size: (C, H, W) of a frame.
            precision: "fp32", "bf16" or "int8".
            stretches: float32 (n, S, C, H, W); int8 is calibrated on them.
            cache: None: the user's.

        Raises:
            ModelLoadError: OpenVINO cannot compute this model, or int8 lacks pictures.
        """
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        state = model.new_state(1)
        shapes = StreamState(state.keys.to(dtype), state.values.to(dtype), state.answers.to(dtype), [0])
        module = StepModule(model, dtype).eval()
        picture = torch.zeros(1, *size)
        return load_converted(
            lambda converted: cls(converted, shapes, size, precision),
            module, (picture, *_inputs(shapes)), precision, stretches, cache,
            samples=lambda: StreamSamples(model, stretches if stretches is not None else picture[None]),
            floating=FLOATING,
        )  # fmt: skip

    def grow(self, rows: int) -> None:
        """See `StreamEngine.grow`."""
        like, empty = self._shapes, torch.zeros_like
        while len(self._rings) < rows:
            ring = StreamState(empty(like.keys), empty(like.values), empty(like.answers), [0])
            self._rings.append(ring)

    def reset(self, row: int) -> None:
        """See `StreamEngine.reset`."""
        self._rings[row].reset(0)

    def step(self, pixel_values: Tensor, rows: Sequence[int]) -> Tensor:
        """See `StreamEngine.step`; stream by stream, as one keeps all cores busy."""
        frames = pixel_values.float()
        try:
            return torch.cat([self._one(frames[n : n + 1], self._rings[row]) for n, row in enumerate(rows)])
        except RuntimeError as error:
            raise ModelError(f"OpenVINO failed on {tuple(pixel_values.shape)}: {one_line(error)}") from error

    def _one(self, frame: Tensor, ring: StreamState) -> Tensor:
        given = (frame.contiguous(), *_inputs(ring))
        for number, value in enumerate(given):
            self._request.set_input_tensor(number, _shared(value))
        self._request.infer()  # `given` holds the memory until here
        slot = ring.frames[0] % self._ages
        for kept, new in zip((ring.keys, ring.values, ring.answers), self._new, strict=True):
            kept[:, 0, slot] = new
        ring.frames[0] += 1
        return torch.from_numpy(self._request.get_output_tensor(0).data.copy())  # its memory is used again


def _inputs(ring: StreamState) -> tuple[Tensor, ...]:
    """Of a step of one stream, but for the picture; see `StepModule.forward`."""
    frames, count = ring.frames[0], ring.keys.shape[2]
    ages = torch.tensor(ages_of(frames, count))
    return ring.keys[:, 0], ring.values[:, 0], ring.answers[:, 0], ages, torch.tensor([min(frames, count)])


def _shared(values: Tensor) -> Any:
    """The same memory as an OpenVINO tensor; who calls keeps `values` alive."""
    import openvino

    if values.dtype == torch.bfloat16:  # numpy has no such type
        array = values.view(torch.int16).numpy()
        return openvino.Tensor(array, openvino.Shape(list(values.shape)), openvino.Type.bf16)
    return openvino.Tensor(values.numpy(), shared_memory=True)


class StepModule(nn.Module):
    """`StreamingTimesformer.step` without a state: what is cached comes in, the newest frame's part goes out.

    Args:
        model: `StreamingTimesformer`, shared.
        dtype: of the cache.
    """

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = model
        self.dtype = dtype

    def forward(
        self, pixel_values: Tensor, keys: Tensor, values: Tensor, answers: Tensor, ages: Tensor, seen: Tensor
    ) -> tuple[Tensor, ...]:
        """(logits (1, L), the newest frame's keys and values (layers, N, D), answers (layers, D)).

        Args:
            pixel_values: (1, C, H, W).
            keys, values: (layers, T, N, D); what is in the newest frame's slot does not matter.
            answers: (layers, T, D).
            ages: (T,) int64 of each slot, 0 where the newest frame goes.
            seen: (1,) int64, frames before this one.
        """
        hidden = torch.where(ages > seen, HIDDEN, 0.0)
        layers = [
            _CachedLayer(keys[n].float(), values[n].float(), answers[n].float(), ages, hidden)
            for n in range(len(keys))
        ]
        logits = self.model.through(self.model.embed(pixel_values), layers)
        newest = zip(*(layer.newest for layer in layers), strict=True)
        return logits, *(torch.cat(parts).to(self.dtype) for parts in newest)


class _CachedLayer:
    """See `LayerCache`: the newest frame is computed beside the ring, which is only read."""

    def __init__(self, keys: Tensor, values: Tensor, answers: Tensor, ages: Tensor, hidden: Tensor) -> None:
        self._keys, self._values, self._answers = keys, values, answers  # (T, ...) each
        self._ages = ages
        self._is_newest = (ages == 0).view(1, -1, 1, 1)
        self._hidden = hidden
        self.newest: list[Tensor] = []  # (1, N, D), (1, N, D), (1, D)

    def asked(self, q: Tensor, k: Tensor, by_age: Tensor) -> Tensor:
        """See `LayerCache.asked`."""
        self.newest.append(k)

        def scores(keys: Tensor) -> Tensor:
            return by_head(keys * q.flatten(2).unsqueeze(1), q.shape[2]).sum(-1)

        found = torch.where(self._is_newest, scores(k.unsqueeze(1)), scores(self._keys.unsqueeze(0)))
        found = found + asked_by_age(q, by_age[self._ages].unsqueeze(0))
        return found + self._hidden.view(1, -1, 1, 1)

    def answered(self, weights: Tensor, v: Tensor, by_age: Tensor) -> Tensor:
        """See `LayerCache.answered`."""
        self.newest.append(v)
        heads = weights.shape[-1]
        values = by_head(self._values.unsqueeze(0), heads)
        old = (values * weights.masked_fill(self._is_newest, 0.0).unsqueeze(-1)).sum(1)
        share = weights.masked_fill(~self._is_newest, 0.0).sum(1)  # (1, N, H)
        new = by_head(v, heads) * share.unsqueeze(-1)
        return (old + new).flatten(2) + answered_by_age(weights, by_age[self._ages].unsqueeze(0))

    def mean_answer(self, answer: Tensor, by_age: Tensor) -> Tensor:
        """See `LayerCache.mean_answer`."""
        self.newest.append(answer.clone())  # the caller writes over it
        answers = torch.where(self._is_newest.view(1, -1, 1), answer.unsqueeze(1), self._answers)
        shares = (by_age[self._ages] + self._hidden).softmax(-1)  # (T,)
        return (shares.view(1, 1, -1) @ answers).squeeze(1)


class StreamSamples:
    """Inputs of steps over stretches, as often as they are asked for; one cache in memory at a time.

    Args:
        model: `StreamingTimesformer` for inference, fp32.
        stretches: (n, S, C, H, W).
    """

    def __init__(self, model: Any, stretches: Tensor) -> None:
        self._model = model
        self._stretches = stretches

    def __len__(self) -> int:
        return len(self._stretches) * len(range(0, self._stretches.shape[1], SAMPLED))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for stretch in self._stretches:
            state = self._model.new_state(1)
            for tick, frame in enumerate(stretch):
                given = dict(zip(INPUTS, (frame[None], *_inputs(state)), strict=True))
                if tick % SAMPLED == 0:
                    yield {name: value.numpy() for name, value in given.items()}
                with torch.inference_mode():
                    self._model.step(frame[None], state, [0])
