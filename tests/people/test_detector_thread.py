"""When a detector looks: files wait for it, live video does not, and one that keeps failing is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from streamer.errors import ModelError
from streamer.people.detection import Detection
from streamer.people.detector_thread import FAILURES_ALLOWED, DetectionThread, LooksAtOnce, LooksLater
from streamer.types import Track

LONGEST = 20.0
IMAGE = np.zeros((4, 4, 3), np.uint8)


class Slow:
    """Waits for the test before it answers."""

    every = 0.4

    def __init__(self) -> None:
        self.looked: list[float] = []
        self.go = threading.Semaphore(0)
        self.began = threading.Semaphore(0)

    def detect(self, image: Any, time: float, followed: Sequence[Track]) -> list[Detection]:
        self.looked.append(time)
        self.began.release()
        assert self.go.acquire(timeout=LONGEST)
        return [Detection((0.1, 0.1, 0.1, 0.1), time)]

    def reset(self) -> None:
        return None


def until(condition: Callable[[], Any]) -> None:
    waiting = threading.Event()
    for _ in range(2000):
        if condition():
            return
        waiting.wait(0.01)
    pytest.fail("did not happen in time")


def test_live_video_does_not_wait_and_the_newest_picture_wins() -> None:
    detector, thread = Slow(), DetectionThread()
    looks = LooksLater(thread, detector, pytest.fail)
    thread.start()
    looks.show(IMAGE, 1.0, [])
    assert detector.began.acquire(timeout=LONGEST)
    for time in (2.0, 3.0, 4.0):
        looks.show(IMAGE, time, [])  # returns at once
    assert looks.found() == []
    detector.go.release(2)
    found: list[Any] = []
    until(lambda: found.extend(looks.found()) or len(found) == 2)
    assert [time for time, _ in found] == detector.looked == [1.0, 4.0]
    thread.stop()
    thread.join(LONGEST)
    assert not thread.is_alive()


def test_what_was_begun_before_a_break_is_not_told() -> None:
    detector, thread = Slow(), DetectionThread()
    looks = LooksLater(thread, detector, pytest.fail)
    thread.start()
    looks.show(IMAGE, 1.0, [])
    assert detector.began.acquire(timeout=LONGEST)
    looks.reset()
    looks.show(IMAGE, 9.0, [])
    detector.go.release(2)
    found: list[Any] = []
    until(lambda: found.extend(looks.found()) or found)
    assert [time for time, _ in found] == [9.0]
    thread.stop()
    thread.join(LONGEST)


def test_a_detector_that_keeps_failing_is_told_and_one_bad_picture_is_not() -> None:
    failures: list[ModelError] = []
    broken = threading.Event()

    class Failing(Slow):
        def detect(self, image: Any, time: float, followed: Sequence[Track]) -> list[Detection]:
            if broken.is_set():
                raise ModelError("broken")
            return []

    looks = LooksAtOnce(Failing(), failures.append)
    for bad in (True, False):
        broken.set() if bad else broken.clear()
        for number in range(FAILURES_ALLOWED - 1):
            looks.show(IMAGE, float(number), [])
    assert failures == []
    broken.set()
    for number in range(FAILURES_ALLOWED):
        looks.show(IMAGE, float(number), [])
    assert [str(failure) for failure in failures] == ["broken"]


def test_a_detector_that_fails_unexpectedly_is_told_at_once() -> None:
    class Wrong(Slow):
        def detect(self, image: Any, time: float, followed: Sequence[Track]) -> list[Detection]:
            raise ValueError("no such thing")

    failures: list[ModelError] = []
    thread = DetectionThread()
    looks = LooksLater(thread, Wrong(), failures.append)
    thread.start()
    looks.show(IMAGE, 1.0, [])
    until(lambda: bool(failures))
    assert str(failures[0]) == "people cannot be found: ValueError: no such thing"
    assert thread.is_alive(), "the other cameras' pictures are looked at"
    thread.stop()
    thread.join(LONGEST)
