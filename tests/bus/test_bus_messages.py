"""What travels on the bus: topics, JSON, and that it is what the schema says."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from urllib.parse import unquote

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.bus import wire
from streamer.bus.messages import EventMessage, OtherMessage, PredictionMessage, StatusMessage, parse
from streamer.types import CameraState, LabelScore, Phase, Prediction, Window
from tests.helpers.bus_parts import event, frame, prediction, status

VALIDATOR = jsonschema.Draft202012Validator(wire.schema())


def stamped(body: wire.Body) -> wire.Body:
    message = wire.decode(wire.encode(wire.stamp(body, "abc", 7, 1_700_000_000.1234567)))
    VALIDATOR.validate(message)
    return message


def test_the_schema_is_a_schema() -> None:
    schema = wire.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]


def test_a_prediction_has_every_field_of_the_contract() -> None:
    message = stamped(wire.prediction_body(prediction("front"), LabelScore("waving", 0.71), 5))
    assert message.keys() >= {
        "v",
        "type",
        "session",
        "seq",
        "sent_at",
        "camera",
        "model",
        "window",
        "top",
        "stable",
    }
    assert message["window"].keys() == {"id", "start", "end", "frames", "span", "missing"}
    assert message["window"]["frames"] == 4
    assert message["window"]["span"] == pytest.approx(0.3)
    assert abs(message["window"]["end"] - time.time()) < 60, "windows are told in Unix seconds"
    assert message["top"] == [{"label": "waving", "score": 0.75}, {"label": "still", "score": 0.25}]
    assert message["stable"] == {"label": "waving", "score": 0.71}
    assert message["latency_ms"].keys() == {"capture_to_publish", "preprocess", "inference"}
    assert message["latency_ms"]["inference"] == 20.0
    assert message["sent_at"] == 1_700_000_000.123457


def test_unknown_is_null_and_top_is_cut() -> None:
    message = stamped(wire.prediction_body(prediction(), None, 1))
    assert message["stable"] is None
    assert [item["label"] for item in message["top"]] == ["waving"]


def test_files_tell_their_own_time_too() -> None:
    message = stamped(wire.prediction_body(prediction(media=True), None, 1))
    assert (message["window"]["media_start"], message["window"]["media_end"]) == (0.0, pytest.approx(0.3))
    told = stamped(wire.event_body(event(phase=Phase.END, media=True)))["event"]
    assert (told["media_started_at"], told["media_decided_at"], told["media_ended_at"]) == (1.5, 1.5, 1.5)
    assert "media_started_at" not in stamped(wire.event_body(event()))["event"], (
        "live sources have no such time"
    )


def test_an_open_event_has_no_end_and_a_closed_one_has() -> None:
    start, end = (stamped(wire.event_body(event(phase=phase)))["event"] for phase in (Phase.START, Phase.END))
    assert (start["phase"], start["ended_at"]) == ("start", None)
    assert end["phase"] == "end"
    assert end["ended_at"] >= end["started_at"]


def test_a_status_carries_counts_and_the_age_of_the_newest_frame() -> None:
    now = time.monotonic()
    value = status(
        detail="no route", code="unreachable", fps=14.987, dropped={"rate": 3}, newest=now - 2, width=640
    )
    message = stamped(wire.status_body(value, now))
    assert message["state"] == "running"
    assert (message["fps"], message["width"], message["dropped"], message["code"]) == (
        14.99,
        640,
        {"rate": 3},
        "unreachable",
    )
    assert message["age"] == pytest.approx(2.0)


@pytest.mark.parametrize("state", list(CameraState))
def test_every_state_is_in_the_schema(state: CameraState) -> None:
    stamped(wire.status_body(status(state=state), 0.0))
    stamped(wire.heartbeat_body(3, {"cam0": str(state)}, {}))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_refused_by_name(bad: float) -> None:
    window = Window("cam0", 1, (frame("cam0", 0),), 0.1)
    broken = Prediction("cam0", "m", window, ("a",), np.array([bad], np.float32))
    with pytest.raises(ValueError, match="score"):
        wire.prediction_body(broken, None, 1)


def test_the_schema_lets_unknown_keys_pass_and_catches_wrong_ones() -> None:
    message = stamped(wire.event_body(event()))
    VALIDATOR.validate({**message, "new_in_version_3": [1, 2]})
    for broken in (
        {**message, "v": 2},
        {**message, "seq": 0},
        {k: v for k, v in message.items() if k != "camera"},
    ):
        assert not VALIDATOR.is_valid(broken)


@given(st.text(min_size=1, max_size=60))
def test_any_camera_name_makes_a_topic_that_belongs_to_it_alone(name: str) -> None:
    topic = wire.topic_for("event", name)
    assert topic.startswith("event/")
    assert topic.endswith("/")
    assert topic.count("/") == 2, "the name must not look like more levels"
    assert unquote(topic.split("/")[1], errors="surrogatepass") == name or any(
        "\ud800" <= c <= "\udfff" for c in name
    )
    assert not wire.topic_for("event", name + "0").startswith(topic), "cam1 must not match cam10"


@given(st.text(max_size=40))
def test_text_of_every_kind_survives(text: str) -> None:
    clean = text.encode("utf-8", "replace").decode()
    message = wire.decode(wire.encode(wire.stamp(wire.event_body(event(label=text)), "s", 1, 1.0)))
    assert message["event"]["label"] == clean


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"nul", b"{", b'{"a":NaN}', b"\xff\xfe", b"[" * 60000, b'{"a":' * 60000]
)
def test_what_is_no_object_is_refused_without_harm(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        wire.decode(data)


def test_messages_become_values_and_keep_what_they_do_not_know() -> None:
    raw = stamped(wire.prediction_body(prediction("front"), None, 2))
    raw["extra"] = {"x": 1}
    value = parse(raw)
    assert isinstance(value, PredictionMessage)
    assert (value.camera, value.top[0], value.stable) == ("front", LabelScore("waving", 0.75), None)
    assert value.raw["extra"] == {"x": 1}
    assert "extra" not in repr(value)
    assert isinstance(parse(stamped(wire.event_body(event()))), EventMessage)
    assert isinstance(parse(stamped(wire.status_body(status(), 0.0))), StatusMessage)
    later = parse({"v": 1, "type": "mood", "session": "s", "seq": 1, "sent_at": 1.0})
    assert isinstance(later, OtherMessage), "kinds of the future are no error"


@pytest.mark.parametrize(
    "change", [{"seq": "1"}, {"seq": True}, {"camera": 5}, {"event": None}, {"session": None}]
)
def test_a_message_that_breaks_the_contract_is_named(change: dict[str, object]) -> None:
    raw = stamped(wire.event_body(event()))
    with pytest.raises(ValueError, match="not a message"):
        parse({**raw, **change})


def test_importing_the_bus_imports_no_zeromq() -> None:
    code = "import sys, streamer.bus; print('zmq' in sys.modules, 'sqlite3' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["False", "False"]


def test_the_public_names() -> None:
    import streamer.bus

    for name in streamer.bus.__all__:
        assert getattr(streamer.bus, name) is not None
    with pytest.raises(AttributeError):
        _ = streamer.bus.Nothing  # type: ignore[attr-defined]


def test_json_is_compact_utf8() -> None:
    data = wire.encode(wire.stamp(wire.event_body(event(camera="caméra 🎥")), "s", 1, 1.0))
    assert "caméra 🎥".encode() in data
    assert b'": ' not in data
    json.loads(data)
