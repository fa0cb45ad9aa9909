"""What a streaming model remembers of each camera: rings of T slots, written in place."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(slots=True)
class LayerCache:
    """One layer's part of the state, for the cameras of one step.

    Attributes:
        keys, values: (B, N, H, T, d), views of the state, or copies where the cameras do not lie in a row.
        answers: (B, T, D).
        rows, slots: which camera of these, and where its newest frame goes; (B,) int64 each.
    """

    keys: Tensor
    values: Tensor
    answers: Tensor
    rows: Tensor
    slots: Tensor

    def write(self, keys: Tensor, values: Tensor) -> None:
        """The newest frame's, (B, N, H, d) each."""
        self.keys[self.rows, :, :, self.slots] = keys
        self.values[self.rows, :, :, self.slots] = values

    def write_answer(self, answer: Tensor) -> Tensor:
        """The newest frame's (B, D); returns all of them, (B, T, D)."""
        self.answers[self.rows, self.slots] = answer
        return self.answers


@dataclass(slots=True)
class StreamState:
    """What the last T frames of each camera left behind, for C cameras; a ring of T slots.

    Attributes:
        keys, values: (layers, C, N, H, T, d), of the attention over time.
        answers: (layers, C, T, D), what each frame's class token saw in its own frame.
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
