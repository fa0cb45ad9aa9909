"""Runs videos through the program itself, as fast as it goes, and collects predictions and events."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from streamer.config import BusConfig, CameraConfig, Config, JournalConfig, Pace
from streamer.errors import ModelError, SourceOpenError
from streamer.events.rules import EventLabels
from streamer.pipeline.pipeline import Pipeline
from streamer.recognition.loaded_models import SharedRecognizer
from streamer.recognition.recognizer import Recognizer
from streamer.training.stream_scores import DetectedEvent, ScoredWindow, TrackedPicture, VideoResult
from streamer.training.video_frames import scan
from streamer.types import ModelSpec, Tracks

CAMERA = "video"
MOST_LABELS = 1000  # what a prediction can list


class _Collector:
    """A sink that keeps predictions and events."""

    def __init__(self) -> None:
        self.predictions: list[Mapping[str, Any]] = []
        self.events: list[Mapping[str, Any]] = []

    def send(self, topic: str, message: Mapping[str, Any]) -> None:
        if message["type"] == "prediction":
            if message.get("track") is None:  # of the whole picture
                self.predictions.append(message)
        elif message["type"] == "event" and message["event"]["phase"] == "end":
            self.events.append(message)


def watch(
    path: Path, config: Config, recognizer: Recognizer, stop: threading.Event | None = None
) -> VideoResult:
    """One video through the pipeline that `streamer run --pace fast` uses; nothing is skipped.

    Args:
        path: the video.
        config: model, events and whom to follow; its cameras, bus and journal are not used.
        recognizer: the loaded model of `config`; it stays open.
        stop: set, it ends early and what was seen until then is returned.

    Raises:
        SourceOpenError: the video cannot be opened.
        ModelError: the model failed, or a prediction was lost.
    """
    one = Config(
        cameras=(CameraConfig(name=CAMERA, source=str(path.resolve())),),
        model=config.model.model_copy(update={"top": MOST_LABELS}),
        events=config.events,
        follow=config.follow,
        capture=config.capture.model_copy(update={"give_up": True}),
        bus=BusConfig(bind="", requests=""),
        journal=JournalConfig(path=""),
        pace=Pace.FAST,
    )
    sink, seen = _Collector(), list[Tracks]()
    with Pipeline(one, recognizer=SharedRecognizer(recognizer), sinks=[sink]) as pipeline:
        pipeline.tracks.subscribe(seen.append)
        result = pipeline.run(stop or threading.Event())
    if result.nothing_seen:
        raise SourceOpenError(result.cameras[0].detail or f"{path} cannot be opened")
    if result.error is not None:
        raise result.error
    if result.lost:
        raise ModelError(f"{path}: {result.lost} messages were lost, so the numbers would be wrong")
    return replace(_watched(path, config, recognizer.spec, sink), pictures=_pictures(seen, path))


def _pictures(seen: Sequence[Tracks], path: Path) -> tuple[TrackedPicture, ...]:
    """With seconds of the file instead of the time line, which began with the file's first frame."""
    if not seen:
        return ()
    began = seen[0].time - scan(path).times[0]
    return tuple(TrackedPicture(one.time - began, one.tracks) for one in seen)


def _watched(path: Path, config: Config, spec: ModelSpec, sink: _Collector) -> VideoResult:
    ids = [message["window"]["id"] for message in sink.predictions]
    if ids != list(range(1, len(ids) + 1)):
        raise ModelError(
            f"{path}: {max(ids, default=0) - len(ids)} windows got no prediction; the numbers would be wrong"
        )
    labels = EventLabels(spec.name, spec.labels, config.events)
    kept = [i for i, name in enumerate(labels.names) if i >= len(spec.labels) or not _grouped(config, name)]
    windows = []
    for message in sink.predictions:
        by_label = {item["label"]: item["score"] for item in message["top"]}
        raw = np.array([by_label.get(label, 0.0) for label in spec.labels])
        scores = labels.scores(raw, spec.independent)[kept]
        window, stable = message["window"], message["stable"]
        windows.append(
            ScoredWindow(
                window["media_start"],
                window["media_end"],
                scores,
                None if stable is None else stable["label"],
            )
        )
    events = tuple(_event(message) for message in sink.events)
    seen = windows[-1].end if windows else 0.0
    return VideoResult(path.name, tuple(labels.names[i] for i in kept), tuple(windows), events, seen)


def _event(message: Mapping[str, Any]) -> DetectedEvent:
    event, track = message["event"], message.get("track")
    started, decided, ended = (event[f"media_{key}_at"] for key in ("started", "decided", "ended"))
    number = None if track is None else track["id"]
    return DetectedEvent(event["label"], started, decided, ended, event["peak"], number)


def _grouped(config: Config, name: str) -> bool:
    return any(name in members for members in config.events.groups.values())


def watch_all(
    paths: Sequence[Path], config: Config, recognizer: Recognizer, say: Callable[[str], None]
) -> list[VideoResult]:
    """`watch` for each video, one after the other; `say` hears which one is next."""
    watched = []
    for number, path in enumerate(paths, 1):
        say(f"{path.name} ({number} of {len(paths)})")
        watched.append(watch(path, config, recognizer))
    return watched
