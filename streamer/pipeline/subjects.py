"""What a lane needs for each subject that it looks at, a whole picture or one person: windows, and events."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from streamer.config import EventsConfig
from streamer.events.tracker import EventTracker
from streamer.labels.label_set import LabelSet
from streamer.types import Event, LaneResult, ModelSpec, Moment, Prediction, Track
from streamer.windows.sliding_windows import Windows
from streamer.windows.streaming_ticks import Ticks
from streamer.windows.window_source import WindowSource


@dataclass(slots=True)
class Watched:
    """What a lane knows of one camera; on its thread, but for `windows` and `lost_at`."""

    windows: WindowSource
    tracker: EventTracker
    events: EventsConfig
    names: LabelSet
    follows: bool = False
    newest: Moment | None = None  # of its newest window
    heard_at: float = math.inf  # monotonic: when that was recognised
    lost_at: float = -math.inf  # monotonic: when its video broke off; set by any thread
    draining: bool = False
    drained: bool = False


def windows_for(spec: ModelSpec, camera: str, hop: float, complete: bool) -> WindowSource:
    """Windows of one subject as its model wants them."""
    kind = Ticks if spec.streaming else Windows
    return kind(camera, spec.frames, spec.interval, hop, complete)


def tracker_for(
    spec: ModelSpec, camera: str, labels: Sequence[str], events: EventsConfig, *, follows: bool
) -> EventTracker:
    """Events of one subject. Raises ConfigError if `events` names a label that the model does not have."""
    return EventTracker(
        camera, spec.name, labels, events, independent=spec.independent, lag=spec.lag, follows=follows
    )


def result_of(
    camera: str,
    model: str,
    tracker: EventTracker | None,
    top: int,
    prediction: Prediction | None,
    changes: Sequence[Event],
    *,
    track: Track | None = None,
    also_open: tuple[Event, ...] = (),
    gone: bool = False,
) -> LaneResult:
    """What leaves a lane. `tracker`: None before a first prediction. `also_open`: events it has not."""
    return LaneResult(
        camera,
        model,
        prediction,
        top,
        None if tracker is None else tracker.stable,
        {} if tracker is None else tracker.smoothed,
        (*also_open, *(() if tracker is None else tracker.open)),
        tuple(changes),
        track,
        gone,
    )
