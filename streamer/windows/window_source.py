"""What makes windows of a camera's frames: `Windows` for models of windows, `Ticks` for streaming models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from streamer.types import Frame, Window


class WindowSource(Protocol):
    """One camera for one model. One thread adds frames, one takes windows; the rest is for any."""

    on_ready: Callable[[], None] | None

    def add(self, frame: Frame) -> bool:
        """Give the newest frame; False if it was not stored."""

    def ready_since(self) -> float | None:
        """Monotonic time since when a window waits, None if none does."""

    def take(self) -> Window | None:
        """What is to be computed next; None if nothing is."""

    @property
    def parts(self) -> Sequence[WindowSource]:
        """What windows are taken from: itself, or each of those that it stands for."""

    def close(self) -> None:
        """No more frames. What waits can still be taken."""

    @property
    def finished(self) -> bool:
        """Closed, and nothing further to take."""

    @property
    def waiting(self) -> float | None:
        """Seconds of video still needed before the next window; None while they flow."""

    @property
    def due(self) -> int:
        """Hops that came due."""

    @property
    def skipped(self) -> Mapping[str, int]:
        """Cause -> hops without a window."""
