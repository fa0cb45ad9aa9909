"""What has been counted since the start: numbers that only grow, for whoever computes rates from them.

Cheap enough for every window: a few additions each, and memory bounded by the number of cameras, models and
`LABELS`. Not thread-safe by itself: `Metrics` guards it.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, replace

# Upper bounds of the histograms, seconds: from a tiny model on a GPU to a huge one on a CPU
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LABELS = 1000  # different (camera, label) that are counted apart; what comes later counts as OTHER
OTHER = "other labels"


@dataclass(slots=True)
class Histogram:
    """How often a duration fell between two of `BOUNDS`; the last count is of those above all of them."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    sum: float = 0.0  # seconds

    def add(self, seconds: float) -> None:
        """A bound belongs to the bucket below it, as Prometheus' `le` wants it."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    def copy(self) -> Histogram:
        return Histogram(list(self.counts), self.sum)


@dataclass(slots=True)
class Given:
    """Windows of one camera that one model has recognised."""

    windows: int = 0
    held: int = 0  # of these, answered by the motion gate
    last: float = 0.0  # monotonic seconds of the newest


@dataclass(slots=True)
class Totals:
    """All counters; `copy` is what others get."""

    given: dict[tuple[str, str], Given] = field(default_factory=dict)  # (camera, model)
    latency: dict[tuple[str, str], Histogram] = field(default_factory=dict)  # (stage, model)
    events: dict[tuple[str, str], int] = field(default_factory=dict)  # (camera, label) -> events started

    def window(self, camera: str, model: str, now: float, *, held: bool, latency: dict[str, float]) -> None:
        """One window was recognised at `now` (monotonic); `latency`: stage -> seconds."""
        given = self.given.setdefault((camera, model), Given())
        given.windows += 1
        given.held += held
        given.last = now
        for stage, seconds in latency.items():
            histogram = self.latency.get((stage, model))
            if histogram is None:
                histogram = self.latency[stage, model] = Histogram()
            histogram.add(seconds)

    def event(self, camera: str, label: str) -> None:
        """An event has started. Words may change for ever while the program runs: their number is bounded."""
        key = camera, label
        if key not in self.events and len(self.events) >= LABELS:
            key = camera, OTHER
        self.events[key] = self.events.get(key, 0) + 1

    def copy(self) -> Totals:
        return Totals(
            {key: replace(given) for key, given in self.given.items()},
            {key: histogram.copy() for key, histogram in self.latency.items()},
            dict(self.events),
        )
