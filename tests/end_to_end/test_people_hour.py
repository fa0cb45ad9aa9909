"""An hour of people who come and go before one camera, drawn, and played as fast as one core can.

    python run.py test -m soak tests/end_to_end/test_people_hour.py -s

prints a Markdown table of memory, and of how many people's windows are alive, at each tenth.
`HOUR_MINUTES` makes the hour another length.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakSet

import numpy as np
import psutil
import pytest

from streamer.config import CameraConfig, Config, FollowConfig, JournalConfig, ModelConfig
from streamer.people.person_windows import PersonWindows
from streamer.pipeline import lane_people
from streamer.pipeline.pipeline import Pipeline
from streamer.testing import FakeRecognizer
from tests.helpers.media import write_clip
from tests.helpers.people_parts import WIDTH, Walker, scene
from tests.helpers.pipelines import QUIET

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]

MINUTES = float(os.environ.get("HOUR_MINUTES", "60"))
RATE = 10  # frames a second
APART, SPEED = 4.0, 45.0  # seconds between two people; pixels a second
LOST_AFTER = 2.0
FRAMES, INTERVAL, HOP = 8, 0.2, 0.4
SPAN = (FRAMES - 1) * INTERVAL
EVERY = 10.0  # seconds of video between two samples
SLOPE = 6.0  # MB an hour of video
CLOSES = MINUTES * 60 - 20.0  # nobody comes later


def street(time: float) -> list[Walker]:
    """Who walks there: one more every few seconds, in turns from the left and the right, in three lanes."""
    newest = int(min(time, CLOSES) / APART)
    walkers = []
    for number in range(max(0, newest - 2), newest + 1):
        age = time - number * APART
        left = -30.0 + SPEED * age if number % 2 else WIDTH + 6.0 - SPEED * age
        top = 20.0 + 60.0 * (number % 3)
        walkers.append(Walker(lambda _t, left=left: left, top=top, seed=number % 50))
    return walkers


class Watching:
    """A sink that keeps counts alone: who was there, what is open, and the process as it goes on."""

    def __init__(self) -> None:
        self.tracks = 0  # how many were present so far
        self.open: dict[str, tuple[int, float]] = {}  # event -> whose, when it began
        self.ends: Counter[str] = Counter()
        self.late: list[float] = []  # seconds from when somebody was seen last until their events had ended
        self.now = 0.0
        self.samples: list[tuple[float, float, int]] = []
        self._process = psutil.Process()

    def send(self, topic: str, message: Mapping[str, Any]) -> None:
        if message["type"] == "prediction":
            self.now = max(self.now, message["window"]["media_end"])
            if self.now >= EVERY * (len(self.samples) + 1):
                self._sample()
        track = message.get("track")
        if track is None:
            return
        if message["type"] == "event":
            event = message["event"]
            self.tracks += (event["phase"], event["label"]) == ("start", "present")
            if event["phase"] != "end":
                self.open[event["id"]] = track["id"], self.now
            else:
                self.open.pop(event["id"], None)
                self.ends[event["reason"]] += 1
                if event["reason"] == "track lost":
                    self.late.append(self.now - event["media_ended_at"])

    def _sample(self) -> None:
        here = self._process.memory_info().rss / 1e6
        self.samples.append((self.now, here, len(Counted.alive)))
        if len(self.samples) % max(1, round(MINUTES * 6 / 10)) == 0:
            told = f"{self.now / 60:.0f} | {here:.1f} | {self.tracks} | {len(Counted.alive)}"
            print(f"| {told} |", flush=True)


class Counted(PersonWindows):
    """Somebody's windows, which can be counted as long as anything holds them."""

    alive: ClassVar[WeakSet[Counted]] = WeakSet()

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.alive.add(self)


def test_memory_stays_flat_and_everybody_is_freed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_people, "PersonWindows", Counted)
    pictures = (scene(street(n / RATE), n / RATE, noise=0.0) for n in range(round(MINUTES * 60 * RATE)))
    video = write_clip(tmp_path / "hour.mp4", pictures, RATE)
    recognizer = FakeRecognizer(_brightness, frames=FRAMES, interval=INTERVAL)
    config = Config(
        cameras=(CameraConfig(name="street", source=str(video)),),
        model=ModelConfig(hop=HOP),
        follow=FollowConfig(detector="moving", lost_after=LOST_AFTER),
        # on disk: a history that is kept in memory grows by what happens, up to journal.max_mb
        **{**QUIET, "journal": JournalConfig(path=str(tmp_path / "events.db"))},
    )
    print("\n| minute | memory MB | people so far | windows of people |\n|---|---|---|---|")
    watching = Watching()
    with Pipeline(config, recognizer=recognizer, sinks=[watching]) as pipeline:
        assert pipeline.run(threading.Event()).error is None
    came = CLOSES / APART
    assert 0.9 * came <= watching.tracks <= 1.5 * came
    assert not watching.open
    print(f"{watching.tracks} tracks of {came:.0f} people; ends {dict(watching.ends)}")
    print(f"events had ended at most {max(watching.late):.1f} s after somebody was seen last")
    assert max(watching.late) <= LOST_AFTER + SPAN + HOP
    settled = [sample for sample in watching.samples if sample[0] >= MINUTES * 60 / 6]
    assert max(people for *_, people in settled) <= 8, "windows of those who left are freed"
    hours = np.array([time for time, *_ in settled]) / 3600
    slope = np.polyfit(hours, [rss for _, rss, _ in settled], 1)[0]
    print(f"memory {slope:+.1f} MB an hour")
    assert slope <= SLOPE, "memory stays flat"


def _brightness(window: Any) -> tuple[float, float]:
    bright = min(1.0, float(window.frames[-1].image.mean()) / 255)
    return 1.0 - bright, bright
