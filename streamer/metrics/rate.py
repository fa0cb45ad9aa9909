"""How often something happened, and how long it took, over the last seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

RATE_SPAN_S = 10.0  # rates are taken over about this many recent seconds
RATE_ENTRIES = 256


class Rate:
    """How often something happens, per second, now.

    (N-1) / (last - first) over about `span` seconds. When the next one is overdue the missing time counts,
    so the rate sinks while nothing comes, and is 0 after `span` seconds (or three intervals, if longer).
    """

    def __init__(self, span: float = RATE_SPAN_S, entries: int = RATE_ENTRIES) -> None:
        self._span = span
        self._times: deque[float] = deque(maxlen=entries)

    def add(self, now: float) -> None:
        """It happened at `now` (monotonic seconds)."""
        times = self._times
        times.append(now)
        while len(times) > 2 and times[0] < now - self._span:
            times.popleft()

    def value(self, now: float) -> float:
        """Times per second, at `now`."""
        times = self._times
        if len(times) < 2 or times[-1] <= times[0]:
            return 0.0
        length = times[-1] - times[0]
        interval = length / (len(times) - 1)
        age = now - times[-1]
        if age > max(self._span, 3 * interval):
            return 0.0
        return (len(times) - 1) / (length + max(0.0, age - interval))


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """(p50, p95) by nearest rank; `values` must hold one value at least."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return ordered[round(0.50 * last)], ordered[round(0.95 * last)]
