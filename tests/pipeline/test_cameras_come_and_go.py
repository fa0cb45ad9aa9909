"""Cameras added to and removed from a pipeline that runs: real cameras, the others without a break."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.config import BusConfig, CameraConfig, Config, JournalConfig, ModelConfig, load_config
from streamer.errors import ConfigError
from streamer.pipeline import lane_pool, running_cameras
from streamer.pipeline.pipeline import Pipeline
from streamer.testing import FakeCamera, FakeRecognizer
from streamer.types import Window
from tests.helpers.bus_parts import until
from tests.helpers.pipelines import LONGEST, Waiting, running

pytestmark = pytest.mark.usefixtures("no_thread_left")

LOCAL: dict[str, Any] = {"bus": BusConfig(bind="", heartbeat=0.1), "journal": JournalConfig(path="")}


def grey(level: int = 140) -> Callable[[int], Any]:
    # more different pictures than a camera remembers: fewer look frozen after two seconds
    return lambda n: np.full((48, 64, 3), level + n % 60, np.uint8)


def busy(window: Window) -> list[float]:
    return [0.1, 0.9]


def recognizer() -> FakeRecognizer:
    return FakeRecognizer(busy, interval=0.05)


def predicted(camera: str) -> Callable[[dict[str, Any]], bool]:
    return lambda message: message["type"] == "prediction" and message["camera"] == camera


def started(camera: str) -> Callable[[dict[str, Any]], bool]:
    return lambda m: m["type"] == "event" and m["camera"] == camera and m["event"]["phase"] == "start"


def ended(camera: str) -> Callable[[dict[str, Any]], bool]:
    return lambda m: m["type"] == "event" and m["camera"] == camera and m["event"]["phase"] == "end"


def gone(camera: str) -> Callable[[dict[str, Any]], bool]:
    return lambda m: m["type"] == "status" and m["camera"] == camera and "camera changed" in m["detail"]


def knows(*names: str) -> Callable[[dict[str, Any]], bool]:
    return lambda message: message["type"] == "heartbeat" and set(message["cameras"]) == set(names)


@pytest.mark.realtime
def test_a_camera_comes_and_goes_and_the_other_never_notices() -> None:
    with FakeCamera(grey()) as first, FakeCamera(grey(60)) as second:
        config = Config(cameras=(CameraConfig(name="one", source=first.url),), **LOCAL)
        with running(config, recognizer=recognizer()) as (pipeline, sink):
            sink.wait(predicted("one"))
            pipeline.add(CameraConfig(name="two", source=second.url))
            sink.wait(predicted("two"))
            sink.wait(started("two"))
            with pytest.raises(ConfigError, match="already"):
                pipeline.add(CameraConfig(name="two", source=second.url))
            assert pipeline.remove("two")
            seen = len(sink.messages)
            end = sink.wait(ended("two"))
            assert end["event"]["reason"] == "camera removed"
            sink.wait(knows("one"), after=seen)
            assert not pipeline.remove("two")
            assert [one.status.camera for one in pipeline.stats().cameras] == ["one"]
            seen = len(sink.messages)
            pipeline.add(CameraConfig(name="two", source=second.url))
            sink.wait(predicted("two"), after=seen)
    told = [m for m in sink.of("status") if m["camera"] == "one"]
    assert not any(m["reconnects"] for m in told), "the other camera was never opened again"
    ids = [m["window"]["id"] for m in sink.of("prediction") if m["camera"] == "one"]
    assert ids == sorted(set(ids))


def test_a_pipeline_that_is_endless_waits_for_its_first_camera() -> None:
    with (
        FakeCamera(grey()) as camera,
        running(Config(**LOCAL), recognizer=recognizer(), endless=True) as (
            pipeline,
            sink,
        ),
    ):
        sink.wait(lambda _: pipeline.stats().ready_since is not None)
        pipeline.add(CameraConfig(name="one", source=camera.url))
        sink.wait(predicted("one"))
        pipeline.remove("one")
        sink.wait(knows(), after=len(sink.messages))


@pytest.mark.realtime
def test_edited_cameras_are_taken_over_while_it_runs(tmp_path: Path) -> None:
    file = tmp_path / "cameras.yaml"
    with FakeCamera(grey()) as first, FakeCamera(grey(60)) as second:

        def write(**cameras: str) -> None:
            rows = "".join(f"  - {{name: {name}, source: '{url}'}}\n" for name, url in cameras.items())
            file.write_text(f"cameras:\n{rows}bus: {{bind: '', heartbeat: 0.1}}\njournal: {{path: ''}}\n")

        write(one=first.url, gone=first.url)
        config = load_config(file)
        more: dict[str, Any] = {"config_file": file, "reload": lambda: load_config(file)}
        with running(config, recognizer=recognizer(), **more) as (_, sink):
            sink.wait(predicted("one"))
            write(one=first.url, new=second.url)
            sink.wait(predicted("new"))
            sink.wait(knows("one", "new"), after=len(sink.messages))
            file.write_text("cameras: []\n")  # a mistake: nothing would be left
            write(one=second.url, new=second.url)
            moved = len(sink.messages)
            sink.wait(gone("one"), moved)
            sink.wait(predicted("one"), after=len(sink.messages))
    assert not any(gone("new")(m) for m in sink.messages), "what did not change was left alone"


def test_nothing_is_added_before_it_runs() -> None:
    with Pipeline(Config(**LOCAL), recognizer=recognizer(), sinks=[Waiting()]) as pipeline:
        with pytest.raises(ConfigError, match="does not watch yet"):
            pipeline.add(CameraConfig(name="one", source="demo"))
        stop = threading.Event()
        stop.set()
        with pytest.raises(ConfigError, match="no camera is enabled"):
            pipeline.run(stop)


class Loading:
    """Makes a model when it is let; `asked` is set when somebody waits for it."""

    def __init__(self) -> None:
        self.asked, self.let = threading.Event(), threading.Event()
        self.made: list[FakeRecognizer] = []

    def __call__(self, model: Any, name: str) -> FakeRecognizer:
        self.asked.set()
        assert self.let.wait(LONGEST)
        self.made.append(recognizer())
        return self.made[-1]


def test_a_camera_whose_model_is_there_only_after_the_end_is_not_watched() -> None:
    load, refused = Loading(), []
    with FakeCamera(grey()) as camera:
        with running(Config(**LOCAL), load=load, endless=True) as (pipeline, sink):
            sink.wait(lambda _: pipeline.stats().ready_since is not None)

            def add() -> None:
                try:
                    pipeline.add(CameraConfig(name="late", source=camera.url))
                except ConfigError as error:
                    refused.append(str(error))

            adding = threading.Thread(target=add, name="adding")
            adding.start()
            assert load.asked.wait(LONGEST)
        load.let.set()
        adding.join(LONGEST)
        assert refused == ["camera late is not watched: the program has ended"]
        assert [made.closed for made in load.made] == [True]
        assert camera.sent == 0, "it was never opened"
        assert pipeline.config.cameras == ()


def test_two_cameras_added_at_once_are_both_in_the_configuration() -> None:
    load = Loading()
    with (
        FakeCamera(grey()) as camera,
        running(Config(**LOCAL), load=load, endless=True) as (pipeline, sink),
    ):
        sink.wait(lambda _: pipeline.stats().ready_since is not None)
        adding = [
            threading.Thread(target=pipeline.add, args=(CameraConfig(name=name, source=camera.url),))
            for name in ("one", "two")
        ]
        adding[0].start()
        assert load.asked.wait(LONGEST)
        adding[1].start()
        adding[1].join(0.2)  # it waits for the first; without waiting it would have read what is known now
        load.let.set()
        for thread in adding:
            thread.join(LONGEST)
        sink.wait(predicted("one"))
        sink.wait(predicted("two"))
        assert sorted(one.name for one in pipeline.config.cameras) == ["one", "two"]


def test_a_camera_that_one_of_its_models_refuses_leaves_nothing_with_the_others() -> None:
    models = (ModelConfig(id="first"), ModelConfig(id="second"))
    made: dict[str, FakeRecognizer] = {}

    def load(model: Any, name: str) -> FakeRecognizer:
        labels = ("calm", "busy") if model.id == "first" else ("calm", "other")
        made[model.id] = FakeRecognizer(busy, interval=0.05, labels=labels, name=name)
        return made[model.id]

    with (
        FakeCamera(grey()) as camera,
        running(Config(models=models, **LOCAL), load=load, endless=True) as (pipeline, sink),
    ):
        sink.wait(lambda _: pipeline.stats().ready_since is not None)
        lanes = pipeline._lanes
        refuse = lanes.load(CameraConfig(name="x", source=camera.url), pipeline.config)[1]

        def refused(*_: Any, **__: Any) -> Any:
            raise ConfigError("not here")

        refuse.add = refused  # type: ignore[method-assign]
        lanes.start()
        with pytest.raises(ConfigError, match="not here"):
            pipeline.add(CameraConfig(name="x", source=camera.url))
        until(lambda: not any(lane.windows for lane in lanes.all()))


@pytest.mark.realtime
def test_a_camera_goes_while_another_waits_for_its_model() -> None:
    load = Loading()
    load.let.set()
    with (
        FakeCamera(grey()) as camera,
        running(Config(**LOCAL), load=load, endless=True) as (pipeline, sink),
    ):
        sink.wait(lambda _: pipeline.stats().ready_since is not None)
        pipeline.add(CameraConfig(name="one", source=camera.url))
        sink.wait(started("one"))
        load.let.clear()
        load.asked.clear()
        other = CameraConfig(name="two", source=camera.url, model=ModelConfig(id="other"))
        adding = threading.Thread(target=pipeline.add, args=(other,))
        adding.start()
        try:
            assert load.asked.wait(LONGEST)
            removing = threading.Thread(target=pipeline.remove, args=("one",), daemon=True)
            removing.start()
            sink.wait(ended("one"))
            removing.join(LONGEST)
            assert not removing.is_alive()
        finally:
            load.let.set()
            adding.join(LONGEST)
        sink.wait(predicted("two"))


class Slow:
    """A model whose forward takes until it is let."""

    def __init__(self) -> None:
        self.within, self.let = threading.Event(), threading.Event()
        self.let.set()

    def __call__(self, window: Window) -> list[float]:
        if not self.let.is_set():
            self.within.set()
            assert self.let.wait(LONGEST)
        return busy(window)


@pytest.mark.realtime
def test_a_changed_camera_ends_its_events_though_a_forward_takes_longer_than_its_removal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lane_pool, "REMOVE", 0.05)
    slow = Slow()
    with (
        FakeCamera(grey()) as camera,
        running(Config(**LOCAL), recognizer=FakeRecognizer(slow, interval=0.05), endless=True) as (
            pipeline,
            sink,
        ),
    ):
        one = CameraConfig(name="one", source=camera.url)
        sink.wait(lambda _: pipeline.stats().ready_since is not None)
        pipeline.add(one)
        sink.wait(started("one"))
        slow.let.clear()
        assert slow.within.wait(LONGEST)
        assert pipeline.remove("one", "camera changed")
        seen = len(sink.messages)
        adding = threading.Thread(target=pipeline.add, args=(one,))
        adding.start()
        adding.join(0.2)  # it waits for the last words; without waiting it would be there already
        slow.let.set()
        adding.join(LONGEST)
        sink.wait(started("one"), after=seen)
    told = [m["event"] for m in sink.of("event") if m["event"]["phase"] != "update"]
    assert [one["phase"] for one in told] == ["start", "end"] * (len(told) // 2)
    assert "camera changed" in [one.get("reason") for one in told]


def test_a_camera_whose_threads_end_late_is_heard_of_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_cameras, "LEAVE", 0.0)
    with (
        FakeCamera(grey()) as camera,
        running(Config(**LOCAL), recognizer=recognizer(), endless=True) as (pipeline, sink),
    ):
        sink.wait(lambda _: pipeline.stats().ready_since is not None)
        pipeline.add(CameraConfig(name="late", source=camera.url))
        sink.wait(predicted("late"))
        (supervisor,) = [thread for thread in threading.enumerate() if thread.name == "camera-late"]
        pipeline.remove("late")
        supervisor.join(LONGEST)
        sink.wait(knows(), after=len(sink.messages))
        sink.wait(knows(), after=len(sink.messages))
    told = [m["detail"] for m in sink.of("status") if m["camera"] == "late"]
    assert told[-1] == "camera removed"
