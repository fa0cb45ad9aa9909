"""Labels that mean "no action": events like others on the bus, left out of what people see, hear and keep."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamer.bus.messages import EventMessage
from streamer.config import CameraConfig, Config, EventsConfig, RecordingConfig
from streamer.dashboard.plain_text import PlainSink
from streamer.errors import ConfigError
from streamer.events.rules import EventLabels
from streamer.labels.label_set import LabelSet
from streamer.labels.model_labels import background_labels
from streamer.subscribers.narration.policy import Policy
from streamer.subscribers.narration.settings import Settings
from streamer.testing import FakeClock, FakeRecognizer
from streamer.types import Window
from tests.helpers.media import moving, write_clip
from tests.helpers.pipelines import QUIET, Collect, watch


def by_turns(window: Window) -> tuple[float, float]:
    return (0.9, 0.1) if window.id // 20 % 2 else (0.1, 0.9)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> CameraConfig:
    """10 s, in which the labels take turns five times."""
    path = write_clip(tmp_path_factory.mktemp("film") / "film.mp4", moving(250), 25)
    return CameraConfig(name="film", source=str(path))


def seen(film: CameraConfig, **more: Any) -> Collect:
    recognizer = FakeRecognizer(by_turns, labels=("idle", "busy"))
    result, sink = watch(Config(cameras=(film,), **{**QUIET, **more}), recognizer)
    assert result.ok
    return sink


def marks(sink: Collect) -> set[tuple[str, bool]]:
    return {(m["event"]["label"], m["event"].get("background", False)) for m in sink.of("event")}


@pytest.mark.parametrize(
    ("events", "marked"),
    [
        (EventsConfig(), {("idle", True), ("busy", False)}),
        (EventsConfig(background=()), {("idle", False), ("busy", False)}),
        (EventsConfig(background=("busy",)), {("idle", False), ("busy", True)}),
        (EventsConfig(include=("idle",)), {("idle", False)}),
    ],
)
def test_messages_say_which_events_mean_no_action(
    film: CameraConfig, events: EventsConfig, marked: set[tuple[str, bool]]
) -> None:
    assert marks(seen(film, events=events)) == marked


def test_a_setting_that_names_no_label_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"events\.background: 'idel' is not a label"):
        EventLabels("m", ("idle", "busy"), EventsConfig(background=("idel",)))


@pytest.mark.parametrize(
    ("own", "found"), [((), ("still",)), (("rest", "gone"), ("rest",)), (("wave",), ("wave",))]
)
def test_the_checkpoint_says_it_or_a_usual_name_does(own: tuple[str, ...], found: tuple[str, ...]) -> None:
    assert background_labels(("still", "rest", "wave"), own) == found


def test_plain_lines_leave_it_out(film: CameraConfig) -> None:
    messages, out = seen(film).messages, io.StringIO()
    with PlainSink(out) as sink:
        for message in messages:
            sink.send("", message)
    assert "busy started" in out.getvalue()
    assert "idle" not in out.getvalue()


@pytest.mark.parametrize(
    ("background", "settings", "left_out"),
    [
        (True, {}, "nothing happens"),
        (False, {}, None),
        (True, {"labels": {"still": {"start": "It is quiet"}}}, None),
    ],
)
def test_it_is_not_spoken_of_unless_somebody_wants_it(
    background: bool, settings: dict[str, Any], left_out: str | None
) -> None:
    clock = FakeClock()
    policy = Policy(Settings.model_validate(settings), LabelSet(), clock)
    at = clock.wall()
    message = EventMessage("s", 1, at, "c", "e", "start", "still", 0.8, 0.9, at, at, None, None, {})
    message = replace(message, background=background)
    assert [one.left_out for one in policy.message(message)] == [left_out]


@pytest.mark.realtime
@pytest.mark.parametrize(("labels", "kept"), [(None, {"busy"}), (("idle", "busy"), {"idle", "busy"})])
def test_no_pictures_are_kept_of_it(
    film: CameraConfig, tmp_path: Path, labels: tuple[str, ...] | None, kept: set[str]
) -> None:
    sink = seen(film, recording=RecordingConfig(folder=str(tmp_path), snapshots=True, labels=labels))
    label_of = {m["event"]["id"]: m["event"]["label"] for m in sink.of("event")}
    files = [file.stem for file in tmp_path.rglob("*.jpg")]
    assert {label for id, label in label_of.items() if any(id in name for name in files)} == kept
