"""The whole program as a library: real files, real checkpoints, real messages."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.config import CameraConfig, CaptureConfig, Config, ModelConfig, Pace
from streamer.demo.assets import clip_path, truth
from streamer.errors import ConfigError, ModelError
from streamer.pipeline.pipeline import Pipeline
from streamer.testing import FakeCamera, FakeRecognizer
from streamer.types import Window
from tests.helpers.media import write_beginning, write_clip
from tests.helpers.pipelines import DEMO, QUIET, Collect, running, watch

pytestmark = pytest.mark.usefixtures("no_thread_left")


def rows(sink: Collect) -> list[tuple[Any, ...]]:
    """What must not depend on the machine's speed."""
    return [
        (m["window"]["media_start"], m["window"]["media_end"], m["window"]["frames"], str(m["top"]))
        for m in sink.of("prediction")
    ]


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> Collect:
    """The demo clip through the demo checkpoint, nothing skipped."""
    result, sink = watch(Config(cameras=(DEMO,), **QUIET))
    assert result.ok
    return sink


@pytest.mark.realtime
def test_demo_predictions_match_the_ground_truth(demo_run: Collect) -> None:
    right = []
    for message in demo_run.of("prediction"):
        window = message["window"]
        for start, end, label in truth():
            if start <= window["media_start"] and window["media_end"] <= end:
                right.append(message["top"][0]["label"] == label)
    assert len(right) > 100
    assert np.mean(right) >= 0.8


@pytest.mark.realtime
def test_demo_events_match_the_ground_truth(demo_run: Collect) -> None:
    """Every action of the clip is the label of an event that overlaps it by half."""
    ends = [m["event"] for m in demo_run.of("event") if m["event"]["phase"] == "end"]
    found = 0
    for start, end, label in truth():
        overlaps = [
            min(end, e["media_ended_at"]) - max(start, e["media_started_at"])
            for e in ends
            if e["label"] == label
        ]
        found += max(overlaps, default=0.0) >= 0.5 * (end - start) - 1.4
    assert found >= 0.8 * len(truth())


@pytest.mark.realtime
def test_each_event_starts_once_and_ends_once(demo_run: Collect) -> None:
    phases: dict[str, list[str]] = {}
    for message in demo_run.of("event"):
        phases.setdefault(message["event"]["id"], []).append(message["event"]["phase"])
    assert phases
    for seen in phases.values():
        assert seen[0] == "start"
        assert seen[-1] == "end"
        assert set(seen[1:-1]) <= {"update"}


@pytest.mark.realtime
def test_nothing_is_skipped_and_a_second_run_gives_the_same(demo_run: Collect, tmp_path: Path) -> None:
    hops = np.diff([row[1] for row in rows(demo_run)])
    assert np.allclose(hops, 0.2, atol=0.025), "every hop of the file is there"
    assert demo_run.of("status")[-1]["state"] == "ended"
    film = write_beginning(tmp_path / "demo.mp4", clip_path(), 20)
    result, again = watch(Config(cameras=(CameraConfig(name="demo", source=str(film)),), **QUIET))
    assert result.ok
    assert len(rows(again)) > 90
    assert rows(again) == rows(demo_run)[: len(rows(again))]


@pytest.mark.realtime
def test_motion_gate_saves_work_and_misses_no_event(demo_run: Collect) -> None:
    gated = Config(cameras=(DEMO,), model=ModelConfig(motion_gate=True), **QUIET)
    result, sink = watch(gated)
    assert result.ok
    held = [m for m in sink.of("prediction") if m.get("held")]
    assert held, "some of the clip's still parts need no inference (its camera trembles and the light drifts)"

    def starts(run: Collect) -> list[tuple[str, float]]:
        return [
            (m["event"]["label"], m["event"]["media_started_at"])
            for m in run.of("event")
            if m["event"]["phase"] == "start"
        ]

    for label, at in starts(demo_run):
        assert any(label == other and abs(at - when) <= 0.6 for other, when in starts(sink)), (label, at)


@pytest.mark.realtime
def test_a_quiet_camera_costs_almost_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    scene = np.kron(rng.integers(30, 220, (15, 20, 3)), np.ones((16, 16, 1)))
    pictures = [np.clip(scene + rng.normal(0, 3, scene.shape), 0, 255).astype(np.uint8) for _ in range(150)]
    camera = CameraConfig(name="quiet", source=str(write_clip(tmp_path / "quiet.mp4", pictures, fps=15)))
    computed = []

    def score(window: Window) -> tuple[float, float]:
        computed.append(window.id)
        return 0.9, 0.1

    config = Config(cameras=(camera,), model=ModelConfig(motion_gate=True), **QUIET)
    result, sink = watch(config, FakeRecognizer(score))
    assert result.ok
    assert len(sink.of("prediction")) > 80
    assert len(computed) <= 0.1 * len(sink.of("prediction"))
    assert [m["event"]["phase"] for m in sink.of("event")][:: len(sink.of("event")) - 1] == ["start", "end"]


@pytest.mark.realtime
def test_two_cameras_one_missing(tmp_path: Path) -> None:
    cameras = (DEMO, CameraConfig(name="gone", source=str(tmp_path / "gone.mp4")))
    result, sink = watch(Config(cameras=cameras, **QUIET), FakeRecognizer(lambda _: (0.9, 0.1)))
    assert result.ok
    states = {m["camera"]: m["state"] for m in sink.of("status")}
    assert states == {"demo": "ended", "gone": "failed"}
    assert {m["camera"] for m in sink.of("prediction")} == {"demo"}


def test_no_source_left_is_exit_code_3(tmp_path: Path) -> None:
    camera = CameraConfig(name="gone", source=str(tmp_path / "gone.mp4"))
    result, sink = watch(Config(cameras=(camera,), **QUIET), FakeRecognizer(lambda _: (0.9, 0.1)))
    assert result.nothing_seen
    assert "gone.mp4" in sink.of("status")[-1]["detail"]


def test_no_camera_is_a_config_error() -> None:
    with Pipeline(Config(**QUIET)) as pipeline, pytest.raises(ConfigError, match="no camera"):
        pipeline.run(threading.Event())


def test_model_that_cannot_be_loaded_is_exit_code_4(tmp_path: Path) -> None:
    config = Config(cameras=(DEMO,), model=ModelConfig(id=str(tmp_path)), **QUIET)
    with Pipeline(config) as pipeline:
        error = pipeline.run(threading.Event()).error
        assert "config.json" in str(error)


@pytest.mark.realtime
def test_a_window_that_fails_is_skipped_and_the_next_is_tried() -> None:
    def score(window: Window) -> tuple[float, float]:
        if window.id % 3 == 0:
            raise ModelError("this window is bad")
        return 0.9, 0.1

    result, sink = watch(Config(cameras=(DEMO,), **QUIET), FakeRecognizer(score))
    assert result.ok
    ids = [m["window"]["id"] for m in sink.of("prediction")]
    assert len(ids) > 100
    assert not [i for i in ids if i % 3 == 0]


def test_a_model_that_always_fails_ends_the_program_with_its_error() -> None:
    def score(window: Window) -> tuple[float, float]:
        raise ModelError("the device is gone")

    recognizer = FakeRecognizer(score)
    with Pipeline(Config(cameras=(DEMO,), **QUIET), recognizer=recognizer) as pipeline:
        error = pipeline.run(threading.Event()).error
        assert "the device is gone" in str(error)
    assert recognizer.closed


def test_an_unexpected_exception_in_the_model_ends_the_program_too() -> None:
    def score(window: Window) -> tuple[float, float]:
        raise RuntimeError("not one of ours")

    with Pipeline(Config(cameras=(DEMO,), **QUIET), recognizer=FakeRecognizer(score)) as pipeline:
        error = pipeline.run(threading.Event()).error
        assert "not one of ours" in str(error)


def test_stop_while_running_ends_open_events() -> None:
    stop = threading.Event()

    def score(window: Window) -> tuple[float, float]:
        if window.id == 20:
            stop.set()
        return 0.05, 0.95

    config = Config(cameras=(DEMO,), loop=True, **QUIET)
    result, sink = watch(config, FakeRecognizer(score), stop)
    assert result.ok
    last = [m["event"] for m in sink.of("event")][-1]
    assert (last["phase"], last["label"]) == ("end", "busy")


def test_stop_before_the_start() -> None:
    stop = threading.Event()
    stop.set()
    result, sink = watch(Config(cameras=(DEMO,), **QUIET), FakeRecognizer(lambda _: (1.0, 0.0)), stop)
    assert result.ok
    assert not sink.of("prediction")


@pytest.mark.realtime
def test_each_camera_may_have_its_own_events_and_model() -> None:
    own = CameraConfig.model_validate({"name": "own", "source": "demo", "events": {"ignore": ["calm"]}})
    result, sink = watch(Config(cameras=(DEMO, own), **QUIET), FakeRecognizer(lambda _: (0.9, 0.1)))
    assert result.ok
    assert {m["camera"] for m in sink.of("event")} == {"demo"}


@pytest.mark.realtime
def test_a_raising_sink_is_isolated() -> None:
    class Raising:
        def send(self, topic: str, message: Mapping[str, Any]) -> None:
            raise RuntimeError("no such printer")

    sink = Collect()
    config = Config(cameras=(DEMO,), **QUIET)
    with Pipeline(
        config, recognizer=FakeRecognizer(lambda _: (0.9, 0.1)), sinks=[Raising(), sink]
    ) as pipeline:
        assert pipeline.run(threading.Event()).ok
        assert any("no such printer" in note for note in pipeline.stats().notes)
    assert len(sink.of("prediction")) > 100


@pytest.mark.realtime
@pytest.mark.parametrize("level", [0, 128], ids=["black", "grey"])
def test_events_end_when_there_is_no_picture_any_more(level: int) -> None:
    """The camera goes on sending, but there is nothing to see."""
    rng = np.random.default_rng(1)

    def noise(_: int) -> Any:
        return rng.integers(0, 256, (120, 160, 3), np.uint8)

    def of(phase: str) -> Any:
        return lambda m: m["type"] == "event" and m["event"]["phase"] == phase

    with FakeCamera(noise) as camera:
        config = Config(
            cameras=(CameraConfig(name="one", source=camera.url),),
            **{**QUIET, "pace": Pace.REALTIME, "capture": CaptureConfig()},
        )
        with running(config, recognizer=FakeRecognizer(lambda _: (0.1, 0.9))) as (_, sink):
            sink.wait(of("start"))
            camera.draw = lambda _: np.full((120, 160, 3), level, np.uint8)
            end = sink.wait(of("end"))
            assert end["event"]["reason"] == f"picture {'grey' if level else 'black'}"
            camera.draw = noise
            sink.wait(of("start"), sink.messages.index(end))
