"""Numbers for people who are followed: whether each was found and kept, and their events. Pure functions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Sequence
from typing import Any

from streamer.training.person_truth import PersonTruth, TrueBox
from streamer.training.stream_scores import (
    IOU_LIMITS,
    TOLERANCE,
    Counts,
    DetectedEvent,
    VideoResult,
    count_events,
    counted,
)
from streamer.training.track_scores import SeenMoment, measure_tracks, person_of_tracks


def measure_people(
    videos: Sequence[tuple[VideoResult, PersonTruth]], background: Sequence[str]
) -> dict[str, Any]:
    """Everything about people in videos with boxes as ground truth, as one JSON object.

    An event counts for the person whose boxes its track shares most pictures with; one of nobody is false.
    Events of the whole picture count nowhere. `events` is None where no truth says what people do.
    """
    moments: list[SeenMoment] = []
    counts = {limit: Counts(0, 0, 0) for limit in IOU_LIMITS}
    told = False
    for number, (watched, truth) in enumerate(videos):
        seen = _moments(number, watched, truth)
        moments += seen
        if truth.actions is None:
            continue
        told = True
        whose = person_of_tracks(seen)
        events: dict[Hashable, list[DetectedEvent]] = {}
        for event in watched.events:
            if event.track is not None and event.label not in background:
                events.setdefault(whose.get((number, event.track)), []).append(event)
        for person in {
            *(name for name in truth.actions),
            *(key[1] for key in events if isinstance(key, tuple)),
        }:
            actions = [one for one in truth.actions.get(person, ()) if one.label not in background]
            for limit in IOU_LIMITS:
                counts[limit] += count_events(actions, events.get((number, person), []), limit)
        for limit in IOU_LIMITS:
            counts[limit] += count_events([], events.get(None, []), limit)
    return {
        "files": len(videos),
        "seconds": round(sum(watched.seconds for watched, _ in videos), 3),
        **measure_tracks(moments),
        "events": {f"{limit:g}": counted(counts[limit]) for limit in IOU_LIMITS} if told else None,
    }


def _moments(number: int, watched: VideoResult, truth: PersonTruth) -> list[SeenMoment]:
    """What was true and what was said in each picture; names differ from file to file."""
    boxes = sorted(truth.boxes, key=lambda box: box.start)
    starts = [box.start for box in boxes]
    longest = max((box.end - box.start for box in boxes), default=0.0)
    return [
        SeenMoment(
            [((number, box.track), box.box) for box in _there(boxes, starts, longest, picture.time)],
            [((number, track.id), track.box) for track in picture.tracks],
            picture.time,
        )
        for picture in watched.pictures
    ]


def _there(boxes: Sequence[TrueBox], starts: Sequence[float], longest: float, time: float) -> list[TrueBox]:
    first = bisect_right(starts, time - longest - TOLERANCE)
    last = bisect_right(starts, time + TOLERANCE)
    return [box for box in boxes[first:last] if time < box.end - TOLERANCE]
