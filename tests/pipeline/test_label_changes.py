"""Words that change while the program runs: over the bus, and by editing files."""

from __future__ import annotations

import gc
import json
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import zmq

from streamer.bus.requests import Peer, RequestError
from streamer.config import BusConfig, Config, load_config
from streamer.errors import ConfigError
from streamer.pipeline.label_changes import LabelChanges, LabelEdits
from streamer.pipeline.lane import Lane
from streamer.pipeline.pipeline import Pipeline
from streamer.recognition.words.prompts import NOTHING, WordSet, read_words
from streamer.system.file_watch import FileWatch
from tests.helpers import checkpoints
from tests.helpers.pipelines import LONGEST, QUIET, running

torch.set_num_threads(1)
pytestmark = pytest.mark.usefixtures("no_thread_left")
LOCAL = Peer("127.0.0.1", None, local=True)


@pytest.fixture(scope="module")
def clip_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.save_words("clip", tmp_path_factory.mktemp("words") / "clip")


def labels_of(message: dict[str, Any]) -> set[str]:
    return {entry["label"] for entry in message.get("top", ())}


def shows(*labels: str) -> Callable[[dict[str, Any]], bool]:
    return lambda m: m["type"] == "prediction" and set(labels) == labels_of(m) - {NOTHING}


def config_of(model: Path, *labels: str, **more: Any) -> Config:
    """The demo clip as live video, again and again, through a model of words."""
    own = {"id": str(model), "labels": labels, "device": "cpu", "frames": 2, "interval": 0.1, "hop": 0.1}
    data = {
        **QUIET,
        "pace": "realtime",
        "loop": True,
        "cameras": [{"name": "one", "source": "demo"}],
        "model": own,
        "events": {"enter": 0.01, "exit": 0.005, "min_on": 0.0, "half_life": 0.0},
        **more,
    }
    return Config.model_validate(data)


def ask(pipeline: Pipeline, **request: Any) -> Any:
    return pipeline._changes.answer({"op": "labels", **request}, LOCAL)


def free(words: list[str]) -> dict[str, Any]:
    """Words of which one always wins."""
    return {"labels": words, "negatives": []}


def test_labels_change_over_the_bus(clip_model: Path) -> None:
    config = config_of(clip_model, "a dog", "a hand", bus=BusConfig(bind="tcp://127.0.0.1:0"))
    context = zmq.Context()
    with running(config) as (pipeline, sink):
        sink.wait(shows("a dog", "a hand"))
        with context.socket(zmq.DEALER) as socket:
            socket.linger = 0
            socket.rcvtimeo = int(1000 * LONGEST)
            socket.connect(pipeline._publisher.requests_endpoint)

            def request(**body: Any) -> Any:
                socket.send(json.dumps({"op": "labels", **body}).encode())
                return json.loads(socket.recv())

            assert request()["cameras"] == {"one": ["a dog", "a hand", NOTHING]}
            reply = request(labels=["a cat", "a tree"], id="x")
            assert (reply["type"], reply["id"], reply["change"]) == ("labels", "x", 1)
            status = sink.wait(lambda m: m["type"] == "status" and "labels_changed" in m)
            assert status["labels_changed"]["labels"] == ["a cat", "a tree", NOTHING]
            assert status["labels_changed"]["change"] == 1
            sink.wait(shows("a cat", "a tree"), after=sink.messages.index(status))
            assert request()["cameras"] == {"one": ["a cat", "a tree", NOTHING]}
            assert request(labels=["a " * 200])["code"] == "bad_labels"
            assert request(labels=["waving " * 40])["code"] == "bad_labels"
            assert request(labels=[])["code"] == "bad_labels"
            assert request(labels=7)["code"] == "bad_labels"
            assert request(labels=["x"], camera="two")["code"] == "unknown_camera"
            assert request(labels=["x"], camera=["one"])["code"] == "unknown_camera"
            assert request()["cameras"] == {"one": ["a cat", "a tree", NOTHING]}
    context.term()


def test_who_may_change_labels(clip_model: Path) -> None:
    with running(config_of(clip_model, "a dog")) as (pipeline, sink):
        sink.wait(shows("a dog"))
        answer = pipeline._changes.answer
        with pytest.raises(RequestError) as refused:
            answer({"labels": ["x"]}, Peer("10.0.0.9", None, local=False))
        assert refused.value.code == "forbidden"
        assert answer({}, Peer("10.0.0.9", None, local=False))["cameras"], "to read is allowed"
        assert answer({"labels": ["x"]}, Peer("10.0.0.9", "desk", local=False))["change"] == 1


@pytest.mark.realtime
def test_events_of_words_that_are_gone_end_and_others_go_on(clip_model: Path) -> None:
    with running(config_of(clip_model, "a dog", "a hand")) as (pipeline, sink):
        sink.wait(shows("a dog", "a hand"))
        ask(pipeline, labels=free(["a dog", "a hand"]))
        starts = {
            label: sink.wait(
                lambda m, label=label: (
                    m["type"] == "event" and m["event"]["phase"] == "start" and m["event"]["label"] == label
                )
            )["event"]["id"]
            for label in ("a dog", "a hand")
        }
        ask(pipeline, labels=free(["a hand", "a bird"]))
        status = sink.wait(lambda m: m["type"] == "status" and m.get("labels_changed", {}).get("change") == 2)
        ended = sink.wait(lambda m: m["type"] == "event" and m["event"].get("reason") == "labels changed")
        assert ended["event"]["id"] == starts["a dog"]
        assert ended["event"]["phase"] == "end"
        assert ended["event"]["ended_at"] is not None
        later = sink.wait(
            lambda m: m["type"] == "event" and m["event"]["id"] == starts["a hand"],
            after=sink.messages.index(status),
        )
        assert later["event"]["phase"] == "update", "its event goes on"
        after = sink.messages[sink.messages.index(ended) + 1 :]
        assert not [m for m in after if m["type"] == "event" and m["event"]["label"] == "a dog"]


def test_one_camera_of_two(clip_model: Path) -> None:
    cameras = [{"name": name, "source": "demo"} for name in ("one", "two")]
    with running(config_of(clip_model, "a dog", cameras=cameras)) as (pipeline, sink):
        sink.wait(lambda m: shows("a dog")(m) and m["camera"] == "two")
        assert len(pipeline._lanes.all()) == 1, "one model in memory"
        ask(pipeline, camera="two", labels=["a cat"])
        seen = sink.wait(shows("a cat"))
        assert seen["camera"] == "two"
        mark = len(sink.messages)
        assert sink.wait(lambda m: m["type"] == "prediction" and m["camera"] == "one", mark)["top"]
        ones = [m for m in sink.of("prediction") if m["camera"] == "one"]
        assert all(shows("a dog")(m) for m in ones)


@pytest.mark.realtime
def test_a_thousand_changes_leak_nothing_and_drop_no_window(clip_model: Path) -> None:
    """Fast files: every window must be there, and all of them with one of the sets, never a mixture."""
    sets = [["a dog", "a hand"], ["a cat"], ["a tree", "a bird", "a fish"]]
    with running(config_of(clip_model, *sets[0], pace="fast")) as (pipeline, sink):
        sink.wait(shows(*sets[0]))
        lane = pipeline._lanes.of["one"][0]
        embeddings, threads = [], set(threading.enumerate())
        for number in range(1000):
            assert ask(pipeline, labels=sets[number % 3])["change"] == number + 1
            sink.wait_for_change(number + 1)
            if number % 50 == 0:
                embeddings.append(weakref.ref(lane.words.of("one").text))
        sink.wait(shows(*sets[999 % 3]), after=len(sink.messages) - 1)
        assert sink.changes == list(range(1, 1001)), "each one is told"
        assert set(threading.enumerate()) == threads
        assert not lane.thread._calls
        assert not pipeline._changes._wanted
        assert len(lane.words.encoder._known) == 2 * (6 + 3), "each text once, in two templates"
        gc.collect()
        assert sum(embeddings() is not None for embeddings in embeddings) <= 1, "old words are let go"
        assert dict(lane.windows["one"].skipped) == {}
    predictions = sink.of("prediction")
    ids = [m["window"]["id"] for m in predictions]
    assert len(ids) > 20
    assert ids == list(range(1, 1 + len(ids))), "no window is lost"
    assert all(labels_of(m) - {NOTHING} in [set(labels) for labels in sets] for m in predictions)


# --- what does not fit ---

GROUPS = {"groups": {"moving": ["walking", "running"]}, "enter": 0.01, "exit": 0.005, "min_on": 0.0}
COLLIDING = ["moving", "walking", "running"]


def test_words_that_are_a_group_s_name_are_refused_and_nothing_changes(clip_model: Path) -> None:
    config = config_of(clip_model, "walking", "running", events=GROUPS)
    with running(config) as (pipeline, sink):
        sink.wait(shows("walking", "running"))
        with pytest.raises(RequestError) as refused:
            ask(pipeline, labels=COLLIDING)
        assert refused.value.code == "bad_labels"
        assert "'moving' is a label" in str(refused.value)
        sink.wait(shows("walking", "running"), len(sink.messages))
        assert ask(pipeline, labels=["walking", "running", "standing"])["change"] == 1
        sink.wait(shows("walking", "running", "standing"))


def test_an_edit_that_does_not_fit_the_groups_is_refused_too(clip_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "words.yaml"
    write(file, "labels: {walking: walking, running: running}")
    with running(config_of(clip_model, str(file), events=GROUPS)) as (pipeline, sink):
        sink.wait(shows("walking", "running"))
        write(file, "labels: {moving: a person moving, walking: walking, running: running}")
        wait_for(lambda: any("'moving' is a label" in note for note in pipeline.stats().notes))
        sink.wait(shows("walking", "running"), len(sink.messages))


def test_a_change_that_fails_after_all_ends_no_run(clip_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lane, "check_words", lambda *_: None)  # it was found to fit
    with running(config_of(clip_model, "walking", "running", events=GROUPS)) as (pipeline, sink):
        sink.wait(shows("walking", "running"))
        ask(pipeline, labels=COLLIDING)
        wait_for(lambda: any("the labels stay as they are" in note for note in pipeline.stats().notes))
        sink.wait(shows("walking", "running"), len(sink.messages))


def test_an_edit_that_cannot_even_be_read_ends_no_run(tmp_path: Path) -> None:
    file = tmp_path / "cameras.yaml"
    write(file, "1")

    def broken() -> Config:
        raise OverflowError("a number of 400 digits")

    edits = LabelEdits(Config.model_validate(QUIET), file, broken)
    said: list[str] = []
    write(file, "22")
    for _ in range(3):
        edits.observe({}, SimpleNamespace(), said.append)  # type: ignore[arg-type]
    assert len(said) == 1
    assert "OverflowError" in said[0]


def test_a_model_that_is_new_in_the_file_takes_no_other_s_words(tmp_path: Path) -> None:
    """Models are told apart by their ids, not by their places."""

    class Reader:
        model_id, words = "a/reader", object()

        def check_words(self, camera: str, words: WordSet) -> None:
            assert words.labels[0] == "a cat"

    def config(*models: dict[str, Any]) -> Config:
        cameras = [{"name": "one", "source": "demo", "models": list(models)}]
        return Config.model_validate({**QUIET, "cameras": cameras})

    file = tmp_path / "cameras.yaml"
    write(file, "1")
    before = config({"id": "a/reader", "labels": ["a dog"]})
    after = config({"id": "b/new", "labels": ["a tree"]}, {"id": "a/reader", "labels": ["a cat"]})
    edits = LabelEdits(before, file, lambda: after)
    asked: list[Any] = []
    changes: Any = SimpleNamespace(
        ask=lambda words, camera, lane: asked.append((words.labels[0], camera, lane))
    )
    lane: Any = Reader()
    write(file, "22")
    for _ in range(3):  # an edit is taken when the file has settled
        edits.observe({"one": (lane,)}, changes, pytest.fail)
    assert asked == [("a cat", "one", lane)]


# --- files ---


def write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")


@pytest.mark.realtime
def test_an_edited_config_file_is_taken_over(clip_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "office.yaml"
    text = config_of(clip_model, "a dog").model_dump_json(exclude={"label_set", "language"})

    def edit(*labels: str) -> None:
        data = json.loads(text)
        del data["cameras"][0]["model"], data["cameras"][0]["events"]
        data["model"]["labels"] = list(labels)
        write(file, json.dumps(data, indent=1))  # JSON is YAML

    edit("a dog")
    more = {"config_file": file, "reload": lambda: load_config(file, env={})}
    with running(load_config(file, env={}), **more) as (pipeline, sink):
        sink.wait(shows("a dog"))
        edit("a cat", "a hand")
        sink.wait(shows("a cat", "a hand"))
        write(file, "model: {labels: [a bird}")  # broken
        wait_for(lambda: any("edited configuration is not used" in n for n in pipeline.stats().notes))
        mark = len(sink.messages)
        sink.wait(shows("a cat", "a hand"), mark)
        ask(pipeline, labels=["a tree"])
        sink.wait(shows("a tree"))
        edit("a cat", "a hand")  # mended, and as it was before: what was asked over the bus stays
        mark = len(sink.messages)
        for _ in range(10):
            mark = sink.messages.index(sink.wait(lambda m: m["type"] == "prediction", mark)) + 1
        assert shows("a tree")(sink.messages[mark - 1])
        edit("a fish")
        sink.wait(shows("a fish"))


@pytest.mark.realtime
def test_an_edited_file_of_labels_is_taken_over(clip_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "words.yaml"
    write(file, "labels: {beast: [a dog, a cat]}")
    with running(config_of(clip_model, str(file))) as (pipeline, sink):
        sink.wait(shows("beast"))
        write(file, "labels: {beast: a dog, plant: a tree}")
        sink.wait(shows("beast", "plant"))
        write(file, "labels: {beast: {prompt: a dog}}")
        wait_for(lambda: any("unknown key" in note for note in pipeline.stats().notes))
        sink.wait(shows("beast", "plant"), len(sink.messages))


def wait_for(true: Callable[[], bool]) -> None:
    never = threading.Event()
    for _ in range(int(LONGEST / 0.05)):
        if true():
            return
        never.wait(0.05)
    raise AssertionError("it did not happen")


def test_a_file_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    write(file, "one")
    watch = FileWatch([file])
    assert not watch.changed()
    write(file, "on")
    assert not watch.changed(), "it may still be growing"
    write(file, "one two")
    assert not watch.changed()
    assert watch.changed()
    assert not watch.changed(), "once for each edit"
    file.unlink()
    assert not watch.changed()
    assert not watch.changed(), "an editor may be about to put a new one there"
    write(file, "one two three")
    assert not watch.changed()
    assert watch.changed()


def test_models_with_their_own_labels_refuse_words() -> None:
    config = Config.model_validate({**QUIET, "cameras": [{"name": "one", "source": "demo"}], "loop": True})
    with running(config) as (pipeline, sink):
        sink.wait(lambda m: m["type"] == "prediction")
        with pytest.raises(RequestError, match="labels of their own") as refused:
            ask(pipeline, labels=["a dog"])
        assert refused.value.code == "bad_labels"
        assert ask(pipeline)["cameras"] == {}


class Leaving(dict[str, tuple[Lane, ...]]):
    """A camera that is removed between two looks of the bus thread."""

    def __iter__(self) -> Iterator[str]:
        return iter(["gone"])


def test_a_camera_that_is_removed_while_words_are_asked_for_is_no_error() -> None:
    changes = LabelChanges(Leaving(), lambda *_: None, print, lambda: 0.0)
    assert changes.now() == {}
    with pytest.raises(ConfigError, match="labels of their own"):
        changes.ask(read_words(["waving"]))
