"""What comes of a run: how it ended, what was seen, what was lost, and who is waited for at the end."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.cli.run import exit_code
from streamer.config import CameraConfig, Config, ModelConfig
from streamer.errors import ModelError
from streamer.pipeline.pipeline import Pipeline
from streamer.pipeline.results import Ending, RunResult
from streamer.testing import FakeCamera, FakeRecognizer
from streamer.types import Window
from tests.helpers.media import write_clip
from tests.helpers.pipelines import DEMO, QUIET, Collect, watch

pytestmark = pytest.mark.usefixtures("no_thread_left")

LONGEST = 60.0  # seconds; only a failing test waits so long
FLUSH = 0.8  # seconds that a stop which was asked for leaves for what waits


def calm(_: object) -> tuple[float, float]:
    return 0.9, 0.1


class Held(Collect):
    """A sink that takes nothing until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.let = threading.Event()

    def send(self, topic: str, message: Mapping[str, Any]) -> None:
        self.let.wait(LONGEST)
        super().send(topic, message)


@pytest.mark.realtime
def test_a_regular_end_waits_for_a_slow_reader() -> None:
    sink, model = Held(), FakeRecognizer(calm)
    close = model.close

    def closing() -> None:
        """All has been computed: the reader comes back well after the time that a stop would leave it."""
        close()
        threading.Timer(1.5 * FLUSH, sink.let.set).start()

    model.close = closing  # type: ignore[method-assign]
    config = Config(cameras=(DEMO,), model=ModelConfig(hop=0.2), **QUIET)  # fewer windows than may wait
    with Pipeline(config, recognizer=model, sinks=[sink]) as pipeline:
        result = pipeline.run(threading.Event())
    ids = [message["window"]["id"] for message in sink.of("prediction")]
    assert ids == list(range(1, len(ids) + 1))
    assert len(ids) > 100
    assert sink.of("event")[-1]["event"]["phase"] == "end"
    assert (result.ending, result.lost) == (Ending.COMPLETE, 0)


def test_a_stop_that_was_asked_for_does_not_and_says_what_was_lost() -> None:
    sink, stop = Held(), threading.Event()

    def score(window: Window) -> tuple[float, float]:
        if window.id == 50:
            stop.set()
        return 0.9, 0.1

    model = FakeRecognizer(score)
    config = Config(cameras=(DEMO,), model=ModelConfig(hop=0.2), **QUIET)  # fewer windows than may wait
    with Pipeline(config, recognizer=model, sinks=[sink]) as pipeline:
        result = pipeline.run(stop)
    sink.let.set()
    assert result.ending is Ending.STOPPED
    assert result.lost >= 40
    assert exit_code(result) == 0


@pytest.mark.realtime
def test_a_lane_that_waits_for_a_slow_reader_ends_all_the_same() -> None:
    sink, stop = Held(), threading.Event()
    seen: list[int] = []

    def score(window: Window) -> tuple[float, float]:
        seen.append(window.id)
        return 0.1, 0.9

    model = FakeRecognizer(score)
    with Pipeline(Config(cameras=(DEMO,), loop=True, **QUIET), recognizer=model, sinks=[sink]) as pipeline:

        def stop_when_full() -> None:
            count = -1
            while count != len(seen) or not seen:  # nothing moves any more
                count = len(seen)
                threading.Event().wait(0.5)
            stop.set()

        threading.Thread(target=stop_when_full).start()
        result = pipeline.run(stop)
        assert not pipeline.abandoned, "nothing hung"
    sink.let.set()
    assert model.closed
    assert (result.ending, result.lost > 100) == (Ending.STOPPED, True)


@pytest.mark.realtime
def test_what_a_failed_sink_missed_is_counted() -> None:
    class Raising:
        def send(self, topic: str, message: Mapping[str, Any]) -> None:
            raise RuntimeError("no such printer")

    sink = Collect()
    config = Config(cameras=(DEMO,), **QUIET)
    with Pipeline(config, recognizer=FakeRecognizer(calm), sinks=[Raising(), sink]) as pipeline:
        result = pipeline.run(threading.Event())
    assert result.ok
    assert result.lost >= len(sink.of("prediction")) > 100


def test_a_model_that_fails_is_the_result_s_error() -> None:
    def fail(_: object) -> tuple[float, float]:
        raise ModelError("the device is gone")

    result, _ = watch(Config(cameras=(DEMO,), **QUIET), FakeRecognizer(fail))
    assert (result.ending, str(result.error)) == (Ending.FAILED, "the device is gone")
    assert not result.ok
    assert exit_code(result) == 4


@pytest.mark.realtime
def test_a_source_that_never_opened_is_exit_code_3_with_a_duration_too() -> None:
    with FakeCamera(lambda _: np.zeros((48, 64, 3), np.uint8)) as camera:
        url = camera.url  # nobody listens there any more
    config = Config(cameras=(CameraConfig(name="away", source=url),), duration=1.0, **QUIET)
    result, _ = watch(config, FakeRecognizer(calm))
    assert result.ending is Ending.DURATION
    assert [status.captured for status in result.cameras] == [0]
    assert result.cameras[0].code is not None, "the reason is still known"
    assert exit_code(result) == 3


def test_a_file_s_end_is_the_end_beside_a_camera_with_a_wrong_password(tmp_path: Path) -> None:
    pictures = [np.full((48, 64, 3), 60 + n, np.uint8) for n in range(30)]
    file = CameraConfig(name="file", source=str(write_clip(tmp_path / "a.mp4", pictures, 10)))
    with FakeCamera(lambda _: pictures[0], password="right") as server:
        wrong = CameraConfig(name="locked", source=server.url.replace("://", "://cam:wrong@"))
        stop = threading.Event()
        late = threading.Timer(LONGEST, stop.set)
        late.start()
        result, _ = watch(Config(cameras=(file, wrong), **QUIET), FakeRecognizer(calm), stop)
        late.cancel()
    assert result.ending is Ending.COMPLETE
    assert {status.camera: status.code for status in result.cameras} == {
        "file": None,
        "locked": "auth_failed",
    }
    assert exit_code(result) == 0


def test_nothing_was_seen_only_where_nobody_asked_for_the_end() -> None:
    assert not RunResult(Ending.STOPPED).nothing_seen
    assert RunResult(Ending.STOPPED).ok
