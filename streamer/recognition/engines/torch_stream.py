"""Steps of a streaming model by torch, with packed weights on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from streamer.recognition.engines.packing import pack_streaming

FIRST_ROWS = 1  # streams that there is memory for before a camera is known


class TorchStream:
    """See `StreamEngine`; the caches are one tensor for all streams, written in place.

    Args:
        model: `StreamingTimesformer` for inference, on its device and in its dtype; the engine becomes its
            owner.
    """

    def __init__(self, model: Any) -> None:
        self.model = model.eval().requires_grad_(False)
        pack_streaming(model)
        self.state = model.new_state(FIRST_ROWS)

    def grow(self, rows: int) -> None:
        """See `StreamEngine.grow`."""
        self.state = self.state.grown(rows)

    def reset(self, row: int) -> None:
        """See `StreamEngine.reset`."""
        self.state.reset(row)

    def step(self, pixel_values: Tensor, rows: Sequence[int]) -> Tensor:
        """See `StreamEngine.step`."""
        logits: Tensor = self.model.step(pixel_values.to(self.state.keys.dtype), self.state, rows)
        return logits
