"""Numbers for streams of windows and events against ground truth. Pure functions.

Event matching: a predicted and a true segment match when they have the same label and their intersection over
union (IoU) in time is at least a limit; each is matched once, the best pairs first (as ActivityNet and THUMOS
count, without a ranking by score: a live system has said what it has said).

Frame mAP: as in online action detection (De Geest et al. 2016, "Online Action Detection"): at each moment
only what has been seen until then counts; the average precision of each action's score over all moments,
averaged over actions. The moments here are the ends of the windows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.training.ground_truth import Segment
from streamer.types import Track

TOLERANCE = 1e-6  # seconds
IOU_LIMITS = (0.3, 0.5, 0.7)  # of IoU


@dataclass(frozen=True, slots=True)
class DetectedEvent:
    """A published event; seconds of the file."""

    label: str
    started: float
    decided: float
    ended: float
    peak: float = 1.0
    track: int | None = None  # whose; None: of the whole picture


@dataclass(frozen=True, slots=True)
class ScoredWindow:
    """A window: seconds of the file, scores (L,) in the order of `VideoResult.labels`, the stable label."""

    start: float
    end: float
    scores: NDArray[Any] = field(repr=False)
    stable: str | None = None


@dataclass(frozen=True, slots=True)
class TrackedPicture:
    """Who was said to be where at one moment, seconds of the file."""

    time: float
    tracks: tuple[Track, ...]


@dataclass(frozen=True, slots=True)
class VideoResult:
    """What the program said of one video."""

    name: str
    labels: tuple[str, ...]  # the model's, with its groups in the place of their members
    windows: tuple[ScoredWindow, ...] = field(repr=False)
    events: tuple[DetectedEvent, ...] = field(repr=False)
    seconds: float  # of video seen
    pictures: tuple[TrackedPicture, ...] = field(default=(), repr=False)  # in which people were looked for


@dataclass(frozen=True, slots=True)
class Counts:
    """True positives, false positives, false negatives. A share of nothing is None."""

    tp: int
    fp: int
    fn: int

    @property
    def precision(self) -> float | None:
        return share(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float | None:
        return share(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float | None:
        return share(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)


def share(part: float, whole: float) -> float | None:
    """part / whole; None where whole is 0."""
    return part / whole if whole else None


def iou(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Intersection over union of two intervals, 0 where they do not meet."""
    common = min(a[1], b[1]) - max(a[0], b[0])
    union = max(a[1], b[1]) - min(a[0], b[0])
    return common / union if common > 0.0 and union > 0.0 else 0.0


def match(truth: Sequence[Segment], events: Sequence[DetectedEvent], limit: float) -> list[tuple[int, int]]:
    """(index of truth, index of event) of the pairs with IoU >= limit, best first, each index once."""
    pairs = [
        (iou((t.start, t.end), (e.started, e.ended)), i, j)
        for i, t in enumerate(truth)
        for j, e in enumerate(events)
        if t.label == e.label
    ]
    matched: list[tuple[int, int]] = []
    for overlap, i, j in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
        if overlap <= 0.0 or overlap < limit - TOLERANCE:
            break
        if all(i != a and j != b for a, b in matched):
            matched.append((i, j))
    return matched


def count_events(truth: Sequence[Segment], events: Sequence[DetectedEvent], limit: float) -> Counts:
    """How many true actions were found, and how many events are wrong, at an IoU limit."""
    hits = len(match(truth, events, limit))
    return Counts(hits, len(events) - hits, len(truth) - hits)


def delays(truth: Sequence[Segment], events: Sequence[DetectedEvent]) -> tuple[list[float], list[float]]:
    """Seconds from each matched action's true start to its event's `started` and to `decided`.

    Matched at the lowest of LIMITS. Negative: said before it began.
    """
    pairs = match(truth, events, IOU_LIMITS[0])
    started = [events[j].started - truth[i].start for i, j in pairs]
    decided = [events[j].decided - truth[i].start for i, j in pairs]
    return started, decided


def windows_inside(
    windows: Iterable[ScoredWindow], truth: Sequence[Segment]
) -> list[tuple[ScoredWindow, list[str]]]:
    """The windows that lie wholly inside a segment, with the labels of all segments around them."""
    inside = []
    for window in windows:
        around = [
            s.label for s in truth if s.start <= window.start + TOLERANCE and window.end <= s.end + TOLERANCE
        ]
        if around:
            inside.append((window, around))
    return inside


def changes(labels: Iterable[str | None]) -> int:
    """How often a label follows another one (None, unknown, is one too)."""
    return sum(a != b for a, b in pairwise(labels))


def average_precision(scores: NDArray[Any], positive: NDArray[np.bool_]) -> float | None:
    """Area under precision over recall, both (N,): sum of (R_n - R_n-1) P_n over distinct scores.

    Equal scores count as one step, so their order does not matter. None without a positive.
    """
    total = int(positive.sum())
    if not total:
        return None
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(positive[order])
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # the last of each distinct score
    precision = hits[last] / (last + 1)
    recall = hits[last] / total
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def frame_precisions(
    streams: Sequence[tuple[VideoResult, Sequence[Segment]]], background: Sequence[str]
) -> dict[str, float]:
    """Average precision of each action that occurs, over the ends of all windows."""
    if not streams:
        return {}
    labels = streams[0][0].labels
    occurring = {s.label for _, truth in streams for s in truth} - set(background)
    found = {}
    for label in (name for name in labels if name in occurring):
        column = labels.index(label)
        scores = [float(w.scores[column]) for watched, _ in streams for w in watched.windows]
        positive = [
            any(s.label == label and s.start <= w.end <= s.end for s in truth)
            for watched, truth in streams
            for w in watched.windows
        ]
        precision = average_precision(np.array(scores), np.array(positive, dtype=np.bool_))
        if precision is not None:
            found[label] = precision
    return found


def quantiles(values: Sequence[float]) -> dict[str, float | int | None]:
    """Median and 90th percentile (linear interpolation) with the count; None of nothing."""
    if not values:
        return {"median": None, "p90": None, "count": 0}
    median, p90 = np.quantile(np.asarray(values, dtype=np.float64), [0.5, 0.9]).tolist()
    return {"median": round(median, 4), "p90": round(p90, 4), "count": len(values)}


def measure_streams(
    streams: Sequence[tuple[VideoResult, Sequence[Segment]]], background: Sequence[str]
) -> dict[str, Any]:
    """Everything about untrimmed videos with ground truth, as one JSON object.

    Segments and events of a `background` label are no actions and count nowhere but in `windows`, where
    segments that are named count like any other label.
    """
    counts = {limit: Counts(0, 0, 0) for limit in IOU_LIMITS}
    started: list[float] = []
    decided: list[float] = []
    changed = {"raw": 0, "stable": 0, "truth": 0}
    inside: list[tuple[bool, str]] = []
    watched_s = 0.0
    for watched, truth in streams:
        actions = [s for s in truth if s.label not in background]
        events = [e for e in watched.events if e.track is None and e.label not in background]
        for limit in IOU_LIMITS:
            counts[limit] += count_events(actions, events, limit)
        first, second = delays(actions, events)
        started += first
        decided += second
        best = [watched.labels[int(np.argmax(w.scores))] for w in watched.windows]
        changed["raw"] += changes(best)
        changed["stable"] += changes(w.stable for w in watched.windows)
        changed["truth"] += _truth_changes(watched.windows, actions)
        if watched.windows:
            watched_s += watched.windows[-1].end - watched.windows[0].end
        inside += [
            (watched.labels[int(np.argmax(w.scores))] in around, around[0])
            for w, around in windows_inside(watched.windows, truth)
        ]
    precisions = frame_precisions(streams, background)
    acting = [right for right, label in inside if label not in background]
    return {
        "files": len(streams),
        "seconds": round(sum(watched.seconds for watched, _ in streams), 3),
        "actions": sum(s.label not in background for _, truth in streams for s in truth),
        "windows": sum(len(watched.windows) for watched, _ in streams),
        "window_accuracy": _mean(acting),
        "window_accuracy_by_label": _by_label(inside),
        "windows_inside": len(acting),
        "events": {f"{limit:g}": counted(counts[limit]) for limit in IOU_LIMITS},
        "delay": {"started": quantiles(started), "decided": quantiles(decided)},
        "label_changes_per_minute": {
            key: None if not watched_s else round(count / (watched_s / 60), 3)
            for key, count in changed.items()
        },
        "frame_map": _mean(list(precisions.values())),
        "average_precision": {label: round(value, 4) for label, value in precisions.items()},
    }


def measure_idle(watched: Sequence[VideoResult], background: Sequence[str]) -> dict[str, Any]:
    """False events on footage without actions: every event that is not background is false."""
    false = {w.name: sum(e.track is None and e.label not in background for e in w.events) for w in watched}
    total = sum(sum(e.track is None and e.label not in background for e in w.events) for w in watched)
    length = sum(w.seconds for w in watched)
    hourly = share(total, length / 3600)
    return {
        "files": len(watched),
        "seconds": round(length, 3),
        "windows": sum(len(w.windows) for w in watched),
        "false_events": total,
        "false_events_per_hour": None if hourly is None else round(hourly, 3),
        "false_events_by_file": false,
    }


def _truth_changes(windows: Sequence[ScoredWindow], actions: Sequence[Segment]) -> int:
    """What a perfect answer at each window's end would change."""
    return changes(
        next((s.label for s in actions if s.start <= window.end < s.end), None) for window in windows
    )


def _by_label(inside: Sequence[tuple[bool, str]]) -> dict[str, float | None]:
    return {
        label: _mean([right for right, other in inside if other == label])
        for label in sorted({label for _, label in inside})
    }


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None


def counted(counts: Counts) -> dict[str, Any]:
    """The counts as JSON, with their shares."""
    shares = {"precision": counts.precision, "recall": counts.recall, "f1": counts.f1}
    rounded = {key: None if value is None else round(value, 4) for key, value in shares.items()}
    return {"tp": counts.tp, "fp": counts.fp, "fn": counts.fn, **rounded}
