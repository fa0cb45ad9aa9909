"""Frames a second: which to keep for a wanted rate, and what rate they come at."""

from __future__ import annotations

from collections import deque

_JITTER = 0.02  # seconds


class RateChoice:
    """Which frames to keep for about `rate` of them a second; depends on nothing but the frames' times."""

    def __init__(self, rate: float | None) -> None:
        self._step = 1.0 / rate if rate else 0.0
        self._due: float | None = None

    def reset(self) -> None:
        """The time line begins anew; the next frame is kept."""
        self._due = None

    def keeps(self, time: float) -> bool:
        """True for a frame to keep. A little early is on time: cameras are not punctual."""
        if not self._step:
            return True
        if self._due is not None and time < self._due - min(self._step / 4, _JITTER):
            return False
        due = time if self._due is None else self._due
        self._due = max(due + self._step, time + self._step / 2)
        return True


class RateMeter:
    """Frames a second over the last `span` seconds, as (N-1) / (last - first)."""

    def __init__(self, span: float = 5.0, most: int = 256) -> None:
        self._span = span
        self._times: deque[float] = deque(maxlen=most)

    def add(self, time: float) -> None:
        self._times.append(time)
        while self._times[0] < time - self._span and len(self._times) > 2:
            self._times.popleft()

    def clear(self) -> None:
        self._times.clear()

    @property
    def fps(self) -> float | None:
        """None until two frames have come."""
        if len(self._times) < 2 or self._times[-1] <= self._times[0]:
            return None
        return (len(self._times) - 1) / (self._times[-1] - self._times[0])
