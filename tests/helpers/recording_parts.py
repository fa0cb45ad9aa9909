"""Parts that the tests of recording share: a recorder fed by hand, and what lies in a clip."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from streamer.config import EventsConfig, RecordingConfig
from streamer.events.tracker import EventTracker
from streamer.recording import retention
from streamer.recording.disk_thread import DiskWriter, write
from streamer.recording.recorder import Recorder
from streamer.system.clock import SYSTEM_CLOCK, Clock
from streamer.types import Event, Frame, Phase, Prediction, Window
from tests.helpers.media import picture, read_stamp

FPS = 20
BEGIN = 1000.0  # of the time line, seconds
WALL = 1_795_000_000.0  # Unix seconds at BEGIN
LABELS = ("calm", "busy")
QUICK = EventsConfig(half_life=0.0, min_on=0.2, min_off=0.2, merge_gap=0.0, ignore=("calm",))


def recording(folder: Path, **more: Any) -> RecordingConfig:
    settings = {"snapshots": True, "clips": True, "fps": FPS, "pre_roll": 1.0, "post_roll": 1.0, **more}
    return RecordingConfig(folder=str(folder), **settings)


@dataclass
class Decoded:
    """What a player sees of a clip."""

    numbers: list[int]  # read from the pixels
    times: list[float]  # seconds
    seconds: float
    images: list[Any] = field(repr=False)
    comment: str = ""
    title: str = ""


def decode(path: Path) -> Decoded:
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        images = [frame.to_ndarray(format="bgr24") for frame in frames]
        assert stream.duration is not None
        assert stream.time_base is not None
        return Decoded(
            [read_stamp(image) if image.shape[1] >= 288 else -1 for image in images],
            [float(frame.time or 0.0) for frame in frames],
            float(stream.duration * stream.time_base),
            images,
            container.metadata.get("comment", ""),
            container.metadata.get("title", ""),
        )


def clips(folder: Path) -> list[Path]:
    return sorted(folder.rglob("event-*.mp4"))


def snapshots(folder: Path) -> list[Path]:
    return sorted(folder.rglob("event-*.jpg"))


def snapshot(path: Path) -> Any:
    """A JPEG's pixels, uint8 BGR (H, W, 3)."""
    import cv2

    image = cv2.imread(str(path))
    assert image is not None, f"{path} is no picture"
    return image


class Shoot:
    """A real recorder of one camera, fed by hand as the pipeline does it. A context manager.

    Picture number n is taken at BEGIN + n / FPS. `events` are the phases that came of `play`'s scores.
    """

    def __init__(
        self,
        folder: Path,
        *,
        camera: str = "front-door",
        writer: Callable[..., None] = write,
        events: EventsConfig = QUICK,
        image: Callable[[int], Any] = picture,
        show: Callable[[str, Any, float], Any] = lambda camera, image, time: image,
        people: Callable[[str, float], Any] = lambda camera, time: (),
        clock: Clock = SYSTEM_CLOCK,
        **settings: Any,
    ) -> None:
        retention.prepare(folder)
        config = recording(folder, **settings)
        self.folder, self.camera, self.image = folder, camera, image
        self.notes: list[str] = []
        self.disk = DiskWriter(folder, config, self.notes.append, writer=writer)
        self.recorder = Recorder(
            config,
            self.disk,
            folder,
            complete=True,
            note=self.notes.append,
            clock=clock,
            show=show,
            people=people,
        )  # fmt: skip
        self.receive = self.recorder.receiver(camera)
        self.tracker = EventTracker(camera, "model", LABELS, events)
        self.events: list[Event] = []
        self.number = 0

    def __enter__(self) -> Shoot:
        self.recorder.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.recorder.close(10.0)

    def play(self, seconds: float, busy: Callable[[int], float] = lambda number: 0.0) -> None:
        """Pictures for so long; `busy(number)` is the score of the label busy at each."""
        for _ in range(round(seconds * FPS)):
            at = BEGIN + self.number / FPS
            self.receive(self.image(self.number), at)
            self.score(busy(self.number), at)
            self.number += 1

    def score(self, busy: float, at: float) -> None:
        wall = WALL + at - BEGIN
        frame = Frame(self.camera, self.number, 0, at, at, wall, None, np.zeros((2, 2, 3), np.uint8))
        scores = np.array([1.0 - busy, busy], np.float32)
        prediction = Prediction(self.camera, "model", Window(self.camera, 1, (frame,), 0.1), LABELS, scores)
        changes = self.tracker.update(prediction)
        self.recorder.scored(prediction, self.tracker.smoothed, self.tracker.open)
        for event in changes:
            self.events.append(event)
            self.recorder.event(event)

    def of(self, phase: Phase) -> list[Event]:
        return [event for event in self.events if event.phase is phase]


def between(first: int, last: int, score: float = 0.9) -> Callable[[int], float]:
    """Busy from picture `first` to `last`."""
    return lambda number: score if first <= number <= last else 0.1


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    waiting, end = threading.Event(), time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        waiting.wait(0.01)
