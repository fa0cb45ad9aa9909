"""Several models on one camera: told apart everywhere, none held back by another."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from streamer.config import CameraConfig, Config
from streamer.dashboard.screen_content import screen_content
from streamer.dashboard.view import render
from streamer.errors import ConfigError
from streamer.pipeline.fan_out import FanOut
from streamer.pipeline.lane import Lane
from streamer.pipeline.pipeline import Pipeline
from streamer.types import Frame, ModelSpec, Scores, Window
from tests.helpers import checkpoints
from tests.helpers.pipelines import QUIET, Collect, running

torch.set_num_threads(1)
pytestmark = pytest.mark.usefixtures("no_thread_left")


class Fake:
    """A recognizer that says one label, after waiting for `gate`."""

    def __init__(self, name: str, gate: threading.Event | None = None, interval: float = 0.2, size: int = 32):
        self.spec = ModelSpec(name, "fake", ("waving", "still"), 4, interval, (size, size))
        self.words, self.picture_key = None, name
        self.gate = gate
        self.reduced: list[int] = []
        self.seen: list[Window] = []

    def reduce(self, image: Any) -> Any:
        self.reduced.append(image.shape[0])
        side = self.spec.size[0]
        return np.ascontiguousarray(image[:side, :side, ::-1])

    def predict(self, windows: Sequence[Window]) -> Scores:
        if self.gate is not None:
            self.gate.wait(20)
        self.seen.extend(windows)
        return Scores([np.asarray((0.9, 0.1), np.float32) for _ in windows])

    def warm_up(self) -> None:
        return None

    def forget(self, camera: str) -> None:
        return None

    def close(self) -> None:
        return None


def config_of(*ids: str, **more: Any) -> Config:
    models = [{"id": name, "hop": 0.2} for name in ids]
    return Config.model_validate(
        {**QUIET, "cameras": [{"name": "one", "source": "demo", "models": models}], **more}
    )


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Fake]:
    """Models by id; load_recognizer takes them from here."""
    found: dict[str, Fake] = {}
    monkeypatch.setattr(
        "streamer.recognition.recognizer.load_recognizer", lambda model, name: found[model.id]
    )
    return found


def watch(config: Config) -> Collect:
    sink = Collect()
    with Pipeline(config, sinks=[sink]) as pipeline:
        assert pipeline.run(threading.Event()).ok
    return sink


@pytest.mark.realtime
def test_predictions_and_events_say_which_model(fakes: dict[str, Fake]) -> None:
    fakes["fast"], fakes["words"] = Fake("fast"), Fake("words", interval=0.1)
    sink = watch(config_of("fast", "words"))
    predictions = {name: [m for m in sink.of("prediction") if m["model"] == name] for name in fakes}
    assert all(len(found) > 50 for found in predictions.values())
    for name, found in predictions.items():
        assert [m["window"]["id"] for m in found] == list(range(1, len(found) + 1)), (
            "each has windows of its own"
        )
        assert found[0]["window"]["span"] == pytest.approx(3 * fakes[name].spec.interval)
    events = [m for m in sink.of("event") if m["event"]["label"] == "waving"]
    starts = {m["model"]: m["event"]["id"] for m in events if m["event"]["phase"] == "start"}
    ends = {m["model"]: m["event"]["id"] for m in events if m["event"]["phase"] == "end"}
    assert set(starts) == {"fast", "words"}
    assert starts["fast"] != starts["words"], "the same label of two models is two events"
    assert starts == ends


@pytest.mark.realtime
def test_a_slow_model_does_not_hold_back_a_fast_one(fakes: dict[str, Fake]) -> None:
    gate = threading.Event()
    fakes["fast"], fakes["slow"] = Fake("fast"), Fake("slow", gate)
    config = config_of("slow", "fast", pace="realtime", loop=True)
    with running(config) as (pipeline, sink):
        try:
            sink.wait(lambda m: m["type"] == "prediction" and m["window"]["id"] == 8)
            assert {m["model"] for m in sink.of("prediction")} == {"fast"}
            assert not fakes["slow"].seen
            skipped = pipeline._lanes.of["one"][1].windows["one"].skipped
            assert skipped.get("busy", 0) <= 2
        finally:
            gate.set()
        sink.wait(lambda m: m["type"] == "prediction" and m["model"] == "slow")


@pytest.mark.realtime
def test_frames_are_reduced_once_for_models_that_want_the_same(tmp_path: Path, monkeypatch: Any) -> None:
    from streamer.recognition.preprocessing import Preprocessor

    count = []
    plain = Preprocessor.reduce
    monkeypatch.setattr(Preprocessor, "reduce", lambda self, image: (count.append(1), plain(self, image))[1])
    for name in ("a", "b"):
        checkpoints.save("vit", tmp_path / name)
    models = [{"id": str(tmp_path / name), "device": "cpu", "hop": 1.0} for name in ("a", "b")]
    cameras = [{"name": "one", "source": "demo", "models": models}]
    config = Config.model_validate({**QUIET, "cameras": cameras})
    sink = watch(config)
    assert {m["model"] for m in sink.of("prediction")} == {"a", "b"}
    stored = sink.of("status")[-1]["stored"]
    assert stored > 100
    assert len(count) == stored


@pytest.mark.realtime
def test_checkpoints_in_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """`runs/a/best` and `runs/b/best`: both were `best`, and the main one showed no windows."""
    ids = [str(checkpoints.save("vit", tmp_path / name / "best")) for name in ("a", "b")]
    models = [{"id": one, "device": "cpu", "hop": 1.0} for one in ids]
    config = Config.model_validate({**QUIET, "cameras": [{"name": "c", "source": "demo", "models": models}]})
    sink = Collect()
    with Pipeline(config, sinks=[sink]) as pipeline:
        assert pipeline.run(threading.Event()).ok
        numbers = pipeline.stats().cameras[0]
    assert {m["model"] for m in sink.of("prediction")} == {"a/best", "b/best"}
    counts = {name: sum(m["model"] == name for m in sink.of("prediction")) for name in ("a/best", "b/best")}
    assert [(one.model, one.windows) for one in numbers.models] == list(counts.items())
    assert all(counts.values())


def frame(index: int, epoch: int = 0) -> Frame:
    time = index / 30
    return Frame("one", index, epoch, time, time, time, None, np.zeros((64, 64, 3), np.uint8))


def test_each_model_gets_frames_at_its_own_rate() -> None:
    slow, fast = Fake("slow", interval=0.8, size=16), Fake("fast", interval=0.1)
    taken: dict[str, list[Frame]] = {"slow": [], "fast": []}

    def lane(fake: Fake) -> Any:
        made = Lane.__new__(Lane)
        made.recognizer = fake
        return made

    fan = FanOut([(lane(f), lambda x, n=f.spec.name: taken[n].append(x) or True) for f in (slow, fast)])
    assert fan.rate == 80.0
    for index in range(300):
        assert fan.deliver(frame(index))
    assert len(taken["fast"]) == len(fast.reduced) == 300
    assert 95 <= len(slow.reduced) <= 110, "ten a second are enough for it"
    assert taken["slow"][0].image.shape == (16, 16, 3)
    assert taken["fast"][0].image.shape == (32, 32, 3)
    before = len(taken["slow"])
    assert fan.deliver(frame(300, epoch=1))
    assert len(taken["slow"]) == before + 1, "the first frame after a break is always wanted"


def test_all_models_are_asked_to_stop_before_one_is_waited_for(fakes: dict[str, Fake]) -> None:
    """Each forward here ends only when every lane has been asked: one after the other none would."""
    stop = threading.Event()
    names = [f"m{number}" for number in range(4)]
    for name in names:
        fakes[name] = Fake(name, threading.Event())
    with Pipeline(config_of(*names, pace="realtime", loop=True), sinks=[sink := Collect()]) as pipeline:

        def let_go() -> None:
            waiting = threading.Event()
            lanes = pipeline._lanes.all
            while len(lanes()) < 4 or not all(lane.thread.busy_with("one") for lane in lanes()):
                waiting.wait(0.01)
            threads = [lane.thread for lane in lanes()]
            stop.set()
            while not all(thread._stop_asked.is_set() for thread in threads):
                waiting.wait(0.01)
            for fake in fakes.values():
                fake.gate.set()  # type: ignore[union-attr]

        helper = threading.Thread(target=let_go)
        helper.start()
        pipeline.run(stop)
        helper.join(20)
        assert not pipeline.abandoned
    assert len(sink.of("prediction")) == 4


@pytest.mark.realtime
def test_settings_may_name_labels_of_either_model(fakes: dict[str, Fake]) -> None:
    fakes["one"], fakes["two"] = Fake("one"), Fake("two")
    fakes["two"].spec = ModelSpec("two", "fake", ("a dog", "a cat"), 4, 0.2, (32, 32))
    events = {
        "ignore": ["waving"],
        "include": ["waving", "a dog", "still"],
        "thresholds": {"a dog": {"enter": 0.6}},
    }
    sink = watch(config_of("one", "two", events=events))
    assert {m["event"]["label"] for m in sink.of("event")} == {"a dog"}
    wrong = config_of("one", "two", events={"include": ["a dgo"]})
    with Pipeline(wrong) as pipeline, pytest.raises(ConfigError, match="a dgo"):
        pipeline.run(threading.Event())


def test_the_screen_shows_each_model_on_its_own_line(fakes: dict[str, Fake]) -> None:
    fakes["main"], fakes["more"] = Fake("main"), Fake("more")
    fakes["more"].spec = ModelSpec("org/more", "fake", ("a dog", "a cat"), 4, 0.2, (32, 32))
    config = config_of("main", "more", pace="realtime", loop=True)
    with running(config) as (pipeline, sink):
        for name in ("main", "org/more"):
            sink.wait(lambda m, name=name: m["type"] == "prediction" and m["model"] == name)
        stats = pipeline.stats()
        (camera,) = stats.cameras
        assert {entry.label for entry in camera.main.top} == {"waving", "still"}
        (other,) = camera.models[1:]
        assert (other.model, other.top[0].label) == ("org/more", "a dog")
        lines = render(screen_content(stats), 100, 30).plain.splitlines()
        assert any("more" in text and "a dog" in text and "0.90" in text for text in lines)
        assert len({len(text) for text in lines}) == 1


def test_models_inherit_what_they_do_not_say() -> None:
    config = Config.model_validate(
        {
            "model": {"device": "cpu", "hop": 0.3},
            "models": [{"id": "demo"}, {"id": "b/c", "labels": ["x"]}],
            "cameras": [
                {"name": "a", "source": 0},
                {"name": "b", "source": 1, "model": {"id": "other"}},
                {"name": "c", "source": 2, "models": [{"id": "d"}]},
            ],
        }
    )
    a, b, c = map(config.models_of, config.cameras)
    assert [(m.id, m.hop, m.device, m.labels) for m in a] == [
        ("demo", 0.3, "cpu", None),
        ("b/c", 0.3, "cpu", ("x",)),
    ]
    assert [m.id for m in b] == ["other"]
    assert [(m.id, m.hop) for m in c] == [("d", 0.3)]


def test_one_model_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        Config.model_validate({"cameras": [{"name": "a", "source": 0, "models": [{"id": "x"}, {"id": "x"}]}]})


def test_one_model_is_as_before() -> None:
    camera = CameraConfig(name="a", source=0)
    assert [m.id for m in Config(cameras=(camera,)).models_of(camera)] == ["demo"]
