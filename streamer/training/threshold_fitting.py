"""Fitting thresholds, and a temperature, for a model where it is to be used.

Thresholds: idle footage goes once through the program; then each label's `enter` is raised, the worst label
first, until the events that it would have published stay below the target. Temperature: the one number by
which all logits are divided so that scores mean what they say (Guo et al. 2017, "On Calibration of Modern
Neural Networks"), by the least negative log likelihood on labelled clips.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from streamer.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamer.config import EventsConfig, LabelRule
    from streamer.training.stream_scores import VideoResult

STEP, HIGHEST = 0.01, 0.99  # of `enter`
COLDEST, HOTTEST = 0.05, 20.0  # temperatures looked at


def count_false(
    watched: Sequence[VideoResult], events: EventsConfig, background: Sequence[str]
) -> Counter[str]:
    """label -> events that these scores would publish under these settings."""
    from streamer.events.tracker import EventTracker
    from streamer.types import Frame, Prediction, Window

    found: Counter[str] = Counter()
    for video in watched:
        own = _own(events, video.labels)
        tracker = EventTracker("idle", "model", video.labels, own)
        for number, window in enumerate(video.windows):
            frame = Frame("idle", number, 0, window.end, window.end, window.end, window.end, None)  # type: ignore[arg-type]
            seen = Window("idle", number, (frame,), 1.0)
            prediction = Prediction("idle", "model", seen, video.labels, window.scores)
            found.update(e.label for e in tracker.update(prediction) if e.phase == "start")
    return Counter({label: count for label, count in found.items() if label not in background})


def _own(events: EventsConfig, labels: Sequence[str]) -> EventsConfig:
    """The settings for scores in which groups already stand in the place of their labels."""
    return events.model_copy(
        update={
            "groups": {},
            "ignore": tuple(name for name in events.ignore if name in labels),
            "thresholds": {name: rule for name, rule in events.thresholds.items() if name in labels},
        }
    )


def fit_thresholds(
    watched: Sequence[VideoResult], events: EventsConfig, background: Sequence[str], allowed: int
) -> tuple[int, dict[str, Any], int]:
    """(false events before, label -> LabelRule, false events then): at most `allowed` of them.

    Only ever raises `enter`, keeps its proportion to `exit`, and leaves labels alone that cause nothing.

    Raises:
        DatasetError: even HIGHEST is too low for a label.
    """
    from streamer.config import LabelRule

    rules: dict[str, LabelRule] = dict(events.thresholds)
    raised: dict[str, LabelRule] = {}
    false = count_false(watched, events, background)
    before = false.total()
    while false.total() > allowed:
        label = max(sorted(false), key=lambda name: false[name])
        fewer = false[label] - max(1, (false.total() - allowed) // 2)
        rules[label] = raised[label] = _raised(watched, events, rules.get(label, LabelRule()), label, fewer)
        false[label] = _count_one(watched, events, label, rules[label])
    return before, raised, false.total()


def _raised(
    watched: Sequence[VideoResult], events: EventsConfig, old: LabelRule, label: str, aim: int
) -> LabelRule:
    """The rule with the lowest `enter` (in STEPs) under which a label has at most `aim` events, or none."""
    enter = events.enter if old.enter is None else old.enter
    leave = events.exit if old.exit is None else old.exit

    def rule(step: int) -> LabelRule:
        higher = min(HIGHEST, round(enter + step * STEP, 4))
        return old.model_copy(update={"enter": higher, "exit": round(leave * higher / enter, 4)})

    low, high = 0, max(0, math.ceil((HIGHEST - enter) / STEP - 1e-9))
    left = _count_one(watched, events, label, rule(high))
    if not high or left > max(0, aim):
        raise DatasetError(
            f"{label!r} has {left} false events even at {HIGHEST:g}: put it under events.ignore "
            "(--set events.ignore=[...]), or train with this footage as a background label "
            "(streamer collect --idle)"
        )
    while high - low > 1:
        middle = (low + high) // 2
        if _count_one(watched, events, label, rule(middle)) > max(0, aim):
            low = middle
        else:
            high = middle
    return rule(high)


def _count_one(watched: Sequence[VideoResult], events: EventsConfig, label: str, rule: LabelRule) -> int:
    """`count_false` of one label, which no other one influences."""
    alone = [
        replace(
            video,
            labels=(label,),
            windows=tuple(
                replace(window, scores=window.scores[video.labels.index(label), None])
                for window in video.windows
            ),
        )
        for video in watched
    ]
    own = events.model_copy(update={"thresholds": {label: rule}, "include": None, "ignore": ()})
    return count_false(alone, own, ()).total()


def fit_temperature(log_scores: NDArray[Any], truth: NDArray[Any]) -> float:
    """The T that makes softmax(log_scores / T) most likely for `truth` (N,); log_scores is (N, L).

    Golden section in log T: the likelihood has one maximum there.
    """
    import numpy as np

    rows = np.arange(len(truth))

    def loss(log_t: float) -> float:
        scaled = log_scores / np.exp(log_t)
        scaled = scaled - scaled.max(1, keepdims=True)
        return float(np.mean(np.log(np.exp(scaled).sum(1)) - scaled[rows, truth]))

    return round(float(np.exp(_least(loss, np.log(COLDEST), np.log(HOTTEST)))), 3)


def _least(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one valley is least, to 1e-4."""
    ratio = (5**0.5 - 1) / 2
    while high - low > 1e-4:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if function(left) <= function(right):
            high = right
        else:
            low = left
    return (low + high) / 2
