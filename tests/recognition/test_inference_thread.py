"""The inference thread: fair between cameras, one bad window does not end it, batches where asked."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from streamer.errors import ModelError
from streamer.recognition.inference_thread import FAILURES_ALLOWED, InferenceThread
from streamer.types import Frame, ModelSpec, Prediction, Scores, Window
from streamer.windows.sliding_windows import Windows
from streamer.windows.streaming_ticks import Ticks

pytestmark = pytest.mark.usefixtures("no_thread_left")

PATIENCE = 20.0  # seconds; only a failing test waits so long
T, INTERVAL = 4, 0.1


class Paced:
    """A scripted recognizer that computes a batch when the test allows it."""

    def __init__(self) -> None:
        self.spec = ModelSpec("paced", "scripted", ("a", "b"), T, INTERVAL, (8, 8))
        self.words, self.picture_key = None, "paced"
        self.asked: queue.Queue[list[Window]] = queue.Queue()
        self.allowed = threading.Semaphore(0)
        self.bad: set[str] = set()

    def reduce(self, image: Any) -> Any:
        return image

    def predict(self, windows: Sequence[Window]) -> Scores:
        self.asked.put(list(windows))
        assert self.allowed.acquire(timeout=PATIENCE)
        if any(window.camera in self.bad for window in windows):
            raise ModelError("bad window")
        return Scores([np.array([0.9, 0.1], np.float32) for _ in windows])

    def warm_up(self) -> None:
        return None

    def forget(self, camera: str) -> None:
        return None

    def close(self) -> None:
        return None


class Cameras:
    """Real windows of several cameras, all fed with the same times."""

    def __init__(self, names: Sequence[str]) -> None:
        self.windows = {name: Windows(name, T, INTERVAL, INTERVAL, False) for name in names}
        self._count = 0

    def frame(self) -> None:
        at = 100.0 + self._count * INTERVAL
        image = np.zeros((8, 8, 3), np.uint8)
        for name, windows in self.windows.items():
            windows.add(Frame(name, self._count, 0, at, at, at, None, image))
        self._count += 1

    def first_span(self) -> None:
        for _ in range(T):
            self.frame()


@contextmanager
def running(
    model: Paced, cameras: Cameras, batch: int = 1
) -> Iterator[tuple[InferenceThread, list[Prediction]]]:
    out: list[Prediction] = []
    thread = InferenceThread(model, cameras.windows, out.append, batch=batch)
    for windows in cameras.windows.values():
        windows.on_ready = thread.notify
    thread.start()
    try:
        yield thread, out
    finally:
        thread.stop()
        for _ in range(20):
            model.allowed.release()
        thread.join(PATIENCE)


def test_a_slow_model_serves_all_cameras_alike() -> None:
    """Three cameras ask for a window each hop, the model gives one a hop: each gets every third."""
    cameras, model = Cameras(["a", "b", "c"]), Paced()
    cameras.first_span()
    with running(model, cameras):
        served: Counter[str] = Counter()
        for _ in range(30):
            served.update(window.camera for window in model.asked.get(timeout=PATIENCE))
            cameras.frame()
            model.allowed.release()
        assert set(served.values()) == {10}
        for windows in cameras.windows.values():
            assert windows.skipped["busy"] > 0
            assert windows.due == windows.taken + sum(windows.skipped.values()) + (
                windows.ready_since() is not None
            )


def test_the_newest_window_is_computed_however_long_the_model_took() -> None:
    cameras, model = Cameras(["a"]), Paced()
    cameras.first_span()
    with running(model, cameras) as (_, out):
        model.asked.get(timeout=PATIENCE)
        for _ in range(25):
            cameras.frame()
        model.allowed.release()
        late = model.asked.get(timeout=PATIENCE)[0]
        assert late.end == pytest.approx(100.0 + (T + 24) * INTERVAL)
        assert out[0].window.id < late.id


def test_ready_windows_of_several_cameras_make_one_batch() -> None:
    cameras, model = Cameras(["a", "b", "c"]), Paced()
    cameras.first_span()
    with running(model, cameras, batch=8) as (_, out):
        assert {window.camera for window in model.asked.get(timeout=PATIENCE)} == {"a", "b", "c"}
        model.allowed.release()
        cameras.frame()
        model.asked.get(timeout=PATIENCE)
        assert {prediction.camera for prediction in out} == {"a", "b", "c"}


def test_a_bad_window_in_a_batch_costs_only_itself() -> None:
    cameras, model = Cameras(["a", "b", "c"]), Paced()
    model.bad = {"b"}
    cameras.first_span()
    with running(model, cameras, batch=8) as (thread, out):
        for _ in range(4):  # the batch, then each of its windows alone
            model.asked.get(timeout=PATIENCE)
            model.allowed.release()
        cameras.frame()
        model.asked.get(timeout=PATIENCE)
        assert sorted(prediction.camera for prediction in out) == ["a", "c"]
        assert thread.error is None


def test_a_model_that_keeps_failing_ends_the_thread_with_its_error() -> None:
    cameras, model = Cameras(["a"]), Paced()
    model.bad = {"a"}
    cameras.first_span()
    with running(model, cameras) as (thread, out):
        for _ in range(FAILURES_ALLOWED):
            model.asked.get(timeout=PATIENCE)
            cameras.frame()
            model.allowed.release()
        thread.join(PATIENCE)
        assert isinstance(thread.error, ModelError)
        assert not out
        assert not thread.busy_with("a")


def test_the_motion_gate_never_hides_that_a_stream_begins_anew() -> None:
    """After a hole a still picture is still the same, but a streaming model's memory must be emptied."""
    model, out = Paced(), []
    ticks = Ticks("a", T, INTERVAL, INTERVAL, True)
    thread = InferenceThread(model, {"a": ticks}, out.append, motion_gate=True)
    ticks.on_ready = thread.notify
    for _ in range(100):
        model.allowed.release()
    thread.start()
    times = [*(n * INTERVAL for n in range(20)), *(9.0 + n * INTERVAL for n in range(20))]
    try:
        for index, at in enumerate(times):
            assert ticks.add(Frame("a", index, 0, at, at, at, None, np.zeros((8, 8, 3), np.uint8)))
        ticks.close()
        while not ticks.finished or thread.busy_with("a"):
            threading.Event().wait(0.01)
    finally:
        thread.stop()
        thread.join(PATIENCE)
    asked = [model.asked.get_nowait()[0] for _ in range(model.asked.qsize())]
    assert [window.end for window in asked if window.steps[0].begins] == [0.0, 9.0]
    cold = [n for n, prediction in enumerate(out) if not prediction.held]
    assert cold == [*range(T), *range(20, 20 + T)], "what it says of fewer than T frames is not held"
    assert len(out) == len(times)
    assert sum(prediction.held for prediction in out) == len(times) - len(asked) > 20
