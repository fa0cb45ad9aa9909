"""Runs a real Camera in a test and writes down what it gives."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from streamer.capture import Camera
from streamer.config import CameraConfig, CaptureConfig, Pace
from streamer.types import CameraState, CameraStatus, Frame
from tests.helpers.media import read_stamp

QUICK = CaptureConfig(open_timeout=3.0, read_timeout=1.0, retry_min=0.2, retry_max=1.0, frozen_after=1.0)
PATIENCE = 20.0  # seconds until a wait in a test has failed


class Watched:
    """A camera with its frames and statuses. A context manager that starts and stops it.

    `numbers` are read from the pixels of the delivered frames (media.stamp).
    """

    def __init__(
        self,
        source: str | int,
        *,
        name: str = "front-door",
        capture: CaptureConfig = QUICK,
        pace: Pace = Pace.REALTIME,
        loop: bool = False,
        rate: float | None = None,
        deliver: Callable[[Frame], bool] | None = None,
        reduce: Callable[[Any], Any] = lambda image: image[:, :, ::-1].copy(),
        **config: Any,
    ) -> None:
        self.frames: list[Frame] = []
        self.statuses: list[CameraStatus] = []
        self.times: list[float] = []  # monotonic seconds of each status
        self.patience = PATIENCE + capture.retry_max
        self._deliver = deliver
        self._news = threading.Condition()
        self.camera = Camera(
            CameraConfig(name=name, source=source, **config),
            reduce=reduce,
            deliver=self._store,
            capture=capture,
            pace=pace,
            loop=loop,
            on_status=self._note,
            rate=rate,
        )

    def _store(self, frame: Frame) -> bool:
        stored = True if self._deliver is None else self._deliver(frame)
        with self._news:
            self.frames.append(frame)
            self._news.notify_all()
        return stored

    def _note(self, status: CameraStatus) -> None:
        with self._news:
            self.statuses.append(status)
            self.times.append(time.monotonic())
            self._news.notify_all()

    def __enter__(self) -> Watched:
        self.camera.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.camera.stop()
        assert self.camera.join(PATIENCE), "the camera did not stop"
        last = self.camera.status
        assert last.captured == last.stored + sum(last.dropped.values())

    def until(self, what: Callable[[], Any], why: str) -> None:
        """Wait until `what()` holds; look at every frame and status."""
        with self._news:
            assert self._news.wait_for(what, self.patience), f"never: {why}; {self.camera.status}"

    def until_frames(self, count: int) -> None:
        """Wait for `count` more frames."""
        goal = len(self.frames) + count
        self.until(lambda: len(self.frames) >= goal, f"{count} more frames")

    def until_dropped(self, cause: str, count: int) -> None:
        """Wait until `count` frames were dropped for `cause`, asking for it: no status tells."""
        tick, deadline = threading.Event(), time.monotonic() + self.patience
        while self.camera.status.dropped.get(cause, 0) < count:
            assert time.monotonic() < deadline, f"never: {count} dropped for {cause}; {self.camera.status}"
            tick.wait(0.02)

    def until_state(self, state: CameraState, since: int = 0) -> int:
        """Wait for `state` among the statuses from number `since` on; returns its number."""
        self.until(lambda: state in [s.state for s in self.statuses[since:]], f"state {state}")
        return since + [s.state for s in self.statuses[since:]].index(state)

    def run(self) -> Watched:
        """Until the camera ends by itself."""
        with self:
            self.until(lambda: self.camera.finished, "the end")
        return self

    @property
    def numbers(self) -> list[int]:
        return [read_stamp(frame.image) for frame in self.frames]

    @property
    def states(self) -> list[CameraState]:
        """Without repetitions."""
        states = [status.state for status in self.statuses]
        return [s for i, s in enumerate(states) if i == 0 or s is not states[i - 1]]

    @property
    def codes(self) -> set[str | None]:
        return {status.code for status in self.statuses}


def gaps(frames: Sequence[Frame]) -> list[float]:
    """Seconds between neighbouring frames of one epoch."""
    pairs = pairwise(frames)
    return [after.time - before.time for before, after in pairs if before.epoch == after.epoch]
