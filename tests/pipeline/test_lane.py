"""One lane with its real thread, windows and tracker: what leaves it, and what other threads tell it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from streamer.config import CameraConfig, EventsConfig, ModelConfig
from streamer.errors import ModelError
from streamer.events.tracker import SILENT
from streamer.pipeline.lane import Lane
from streamer.testing import FakeClock, FakeRecognizer
from streamer.types import Event, Frame, LaneResult, Phase, Window

pytestmark = pytest.mark.usefixtures("no_thread_left")

LONGEST = 20.0  # seconds; only a failing test waits so long
HOP = 0.2
AT_ONCE = EventsConfig(half_life=0.0, min_on=0.0, min_off=0.0, merge_gap=0.0)


class Watched:
    """A lane with one camera, fed by hand; time is the test's."""

    def __init__(self, score: Callable[[Window], Any], events: EventsConfig, **model: Any) -> None:
        self.clock = FakeClock()
        self.results: queue.Queue[LaneResult] = queue.Queue()
        settings = ModelConfig(hop=HOP, **model)
        self.lane = Lane(FakeRecognizer(score), settings, self.results.put, complete=False, clock=self.clock)
        self._add = self.lane.add(CameraConfig(name="one", source=0), events)
        self._count = 0
        self.epoch = 0

    def frame(self, level: int = 0) -> None:
        self.clock.advance(HOP)
        now = self.clock.monotonic()
        image = np.full((32, 32, 3), level, np.uint8)
        self._add(Frame("one", self._count, self.epoch, now, now, now, None, image))
        self._count += 1

    def next(self) -> LaneResult:
        return self.results.get(timeout=LONGEST)

    def changes_until(self, phase: Phase) -> list[Event]:
        """All changes up to the first of this phase."""
        found: list[Event] = []
        while not any(event.phase is phase for event in found):
            found += self.next().changes
        return found


@contextmanager
def watched(
    score: Callable[[Window], Any], events: EventsConfig = AT_ONCE, **model: Any
) -> Iterator[Watched]:
    one = Watched(score, events, **model)
    one.lane.thread.start()
    try:
        yield one
    finally:
        assert one.lane.stop(one.clock.monotonic() + LONGEST, "stopped")


def test_what_leaves_is_one_frozen_value() -> None:
    with watched(lambda _: (0.1, 0.9)) as one:
        for _ in range(4):
            one.frame()
        result = one.next()
    assert result.prediction is not None
    assert [event.phase for event in result.changes] == [Phase.START]
    assert result.open_events == result.changes
    assert result.stable is not None
    assert result.stable.label == "busy"
    assert result.smoothed["busy"] == pytest.approx(0.9)
    with pytest.raises(AttributeError):
        result.stable = None  # type: ignore[misc]


def test_windows_from_before_a_loss_begin_no_event_after_it() -> None:
    """One is being computed, one waits: a slow model. The camera's server goes away meanwhile."""
    begun, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def score(_: Window) -> tuple[float, float]:
        begun.release()
        assert go_on.acquire(timeout=LONGEST)
        return 0.1, 0.9

    with watched(score) as one:
        for _ in range(4):
            one.frame()
        go_on.release()
        one.changes_until(Phase.START)
        assert begun.acquire(timeout=LONGEST)
        one.frame()
        assert begun.acquire(timeout=LONGEST), "a window is being computed"
        one.frame()  # and another waits
        one.lane.lost("one", "camera reconnecting")
        go_on.release(100)
        (end,) = one.changes_until(Phase.END)
        assert end.reason == "camera reconnecting"
        assert begun.acquire(timeout=LONGEST), "the one that waited was computed too"
        one.epoch = 1
        for _ in range(4):
            one.frame()
        result = one.next()
        assert [event.phase for event in result.changes] == [Phase.START]
        assert result.prediction is not None
        assert result.prediction.window.epoch == 1, "nothing came of the old ones"


def test_silence_ends_events_though_no_prediction_comes() -> None:
    with watched(lambda _: (0.1, 0.9)) as one:
        for _ in range(4):
            one.frame()
        one.changes_until(Phase.START)
        one.clock.advance(4.0)
        with pytest.raises(queue.Empty):
            one.results.get(timeout=0.6)  # two looks of the thread: not long enough a silence
        one.clock.advance(2.0)
        result = one.next()
        (end,) = result.changes
    assert (end.phase, end.reason, result.prediction, result.stable) == (Phase.END, SILENT, None, None)


def test_a_thread_that_hangs_at_the_stop_says_nothing_after_it() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def score(window: Window) -> tuple[float, float]:
        if window.id > 1:
            begun.set()
            go_on.wait(LONGEST)
        return 0.1, 0.9

    one = Watched(score, AT_ONCE)
    one.lane.thread.start()
    for _ in range(4):
        one.frame()
    one.changes_until(Phase.START)
    one.frame()
    assert begun.wait(LONGEST)
    assert not one.lane.stop(one.clock.monotonic(), "stopped")
    (end,) = one.changes_until(Phase.END)
    assert end.reason == "stopped"
    go_on.set()
    one.lane.thread.join(LONGEST)
    assert one.results.empty()


def test_after_a_window_that_failed_the_motion_gate_holds_nothing() -> None:
    """It moved, and the first still window after that failed: the scores before say nothing of it."""
    bright: list[int] = []

    def score(window: Window) -> tuple[float, float]:
        if all(frame.image.max() > 100 for frame in window.frames):
            bright.append(window.id)
            if len(bright) == 1:
                raise ModelError("this once")
            return 0.1, 0.9
        return 0.9, 0.1

    with watched(score, motion_gate=True) as one:
        for _ in range(4):
            one.frame()
        assert one.next().prediction is not None
        for _ in range(3):  # each on its own, as live video brings them
            one.frame()
            assert one.next().prediction is not None
        for _ in range(3):
            one.frame(200)
            assert one.next().prediction is not None
        one.frame(200)  # the first that is bright throughout: it fails
        while not bright:
            threading.Event().wait(0.005)
        one.frame(200)
        prediction = one.next().prediction
        assert prediction is not None
        assert not prediction.held
        assert prediction.scores.tolist() == pytest.approx([0.1, 0.9])
        one.frame(200)
        held = one.next().prediction
        assert held is not None
        assert held.held, "and now it may"
