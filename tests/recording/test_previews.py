"""Previews: small pictures on the bus, only where people turned them on."""

from __future__ import annotations

import io
import json
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from streamer.bus import EventMessage, PreviewMessage, Subscriber, wire
from streamer.bus.messages import Message, TrackMessage, parse
from streamer.bus.outbox import Outbox
from streamer.bus.subscriber_protocol import SubscriberProtocol
from streamer.cli.subscribe import as_json, as_text
from streamer.config import (
    BusConfig,
    CameraConfig,
    CaptureConfig,
    Config,
    JournalConfig,
    PreviewConfig,
    load_config,
)
from streamer.dashboard.json_lines import JsonSink
from streamer.dashboard.plain_text import PlainSink
from streamer.pipeline.pipeline import Pipeline
from streamer.recording.preview import Previews
from streamer.testing import FakeClock, FakeRecognizer
from streamer.types import Track, Window
from tests.helpers.bus_parts import FREE, connect, prediction, until
from tests.helpers.media import moving, picture, read_stamp, write_clip

pytestmark = pytest.mark.usefixtures("no_thread_left")


class Collect:
    """A sink that keeps every topic."""

    def __init__(self) -> None:
        self.topics: list[str] = []

    def send(self, topic: str, message: Mapping[str, Any]) -> None:
        self.topics.append(topic)


def image_of(message: PreviewMessage) -> Any:
    import cv2

    return cv2.imdecode(np.frombuffer(message.jpeg, np.uint8), cv2.IMREAD_COLOR)


def config(film: Path, journal: Path | str = "", **more: Any) -> Config:
    return Config(
        cameras=(CameraConfig(name="Front Door", source=str(film)),),
        bus=BusConfig(bind=FREE),
        journal=JournalConfig(path=str(journal)),
        capture=CaptureConfig(give_up=True),
        **more,
    )


def still(window: Window) -> tuple[float, float]:
    return 0.1, 0.9


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 s of numbered pictures, 640 x 482."""
    return write_clip(tmp_path_factory.mktemp("film") / "film.mp4", moving(75, 640, 482), 25)


def run(settings: Config, sinks: list[Any]) -> list[Message]:
    """Everything a subscriber of a whole run gets."""
    heard: list[Message] = []
    with Pipeline(settings, recognizer=FakeRecognizer(still), sinks=sinks) as pipeline:
        done = threading.Event()

        def listen() -> None:
            with Subscriber(pipeline.endpoint, topics=[""]) as subscriber:
                connect(subscriber)
                connected.set()
                while not done.is_set():
                    message = subscriber.receive(0.1)
                    if message is not None:
                        heard.append(message)

        connected = threading.Event()
        listener = threading.Thread(target=listen)
        listener.start()
        assert connected.wait(10)
        assert pipeline.run(threading.Event()).ok
        done.set()
        listener.join(10)
    return heard


@pytest.mark.realtime
def test_small_pictures_come_at_the_asked_rate(film: Path, tmp_path: Path) -> None:
    sink, out = Collect(), io.StringIO()
    with JsonSink(out) as lines, PlainSink(out) as plain:
        settings = config(film, tmp_path / "h.db", preview=PreviewConfig(fps=5.0, height=240))
        heard = run(settings, [sink, lines, plain])
    found = [message for message in heard if isinstance(message, PreviewMessage)]
    assert 3 <= len(found) <= 17, "3 s at 5 a second, on a busy machine fewer"
    assert [message.seq for message in found] == list(range(found[0].seq, found[0].seq + len(found)))
    for message in found:
        assert (message.camera, message.width, message.height) == ("Front Door", 318, 240)
        assert image_of(message).shape == (240, 318, 3)
        assert wire.topic_of(message.raw) == "preview/Front Door/"
        jsonschema.validate(dict(message.raw), wire.schema())
        assert message.raw.keys() == {
            "v", "type", "session", "seq", "sent_at", "camera", "width", "height", "jpeg",
        }  # fmt: skip
    assert not any(topic.startswith("preview/") for topic in sink.topics), "sinks print: no pictures there"
    assert "jpeg" not in out.getvalue()
    assert any(isinstance(message, EventMessage) for message in heard)
    with sqlite3.connect(tmp_path / "h.db") as db:
        assert not db.execute("SELECT * FROM events WHERE message LIKE '%jpeg%'").fetchall()
        assert db.execute("SELECT * FROM events").fetchall()


@pytest.mark.realtime
def test_nothing_is_sent_unless_it_is_turned_on(film: Path) -> None:
    heard = run(config(film), [])
    assert len(heard) > 5
    assert not [message for message in heard if isinstance(message, PreviewMessage)]
    assert Config().preview is None


def test_it_is_turned_on_with_any_of_its_keys() -> None:
    assert load_config(None, ["preview.fps=1"], env={}).preview == PreviewConfig(fps=1.0)
    assert load_config(None, ["preview.height=200"], env={}).preview == PreviewConfig(height=200)


class Given:
    """What Previews published."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []

    def __call__(self, *what: Any) -> None:
        self.sent.append(what)


def test_the_newest_picture_is_sent_once() -> None:
    images: dict[str, Any] = {"a": (picture(7, 640, 480), 0.0), "b": None}
    given = Given()
    made = Previews(PreviewConfig(fps=10.0, height=480), lambda: ("a", "b"), images.get, given)
    made.start()
    until(lambda: len(given.sent) == 1)
    images["a"] = (picture(8, 640, 480), 0.1)
    until(lambda: len(given.sent) == 2)
    threading.Event().wait(0.3)  # three more looks
    assert made.close(5.0)
    import cv2

    numbers = [read_stamp(cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)) for _, jpeg, *_ in given.sent]
    assert numbers == [7, 8], "a picture that has not changed is not sent again"
    assert {camera for camera, *_ in given.sent} == {"a"}


def test_a_picture_that_cannot_be_made_is_said_once_and_costs_nothing_else(
    warnings_of_streamer: list[str],
) -> None:
    good, given = picture(1), Given()
    images: dict[str, Any] = {"a": (np.zeros((10, 10, 7), np.uint8), 0.0), "b": (good, 0.0)}
    made = Previews(PreviewConfig(fps=10.0), lambda: ("b", "a"), images.get, given)
    made.start()
    until(lambda: len(given.sent) >= 1 and len(warnings_of_streamer) >= 1)
    images["a"] = (good, 0.1)
    until(lambda: {camera for camera, *_ in given.sent} == {"a", "b"})
    assert made.close(5.0)
    assert warnings_of_streamer == ["a preview could not be made"]


def test_of_waiting_pictures_the_newest_of_each_camera_wins_and_nothing_waits_for_them() -> None:
    box = Outbox()
    for number in range(1000):
        box.put_preview(wire.preview_body(f"cam{number % 2}", b"%d" % number, 2, 2))
    box.put_prediction(wire.prediction_body(prediction(), None, 1), 0.0)
    assert len(box) == 3
    taken = [item.body for item in box.take(10) if item.body]
    assert [body["type"] for body in taken] == ["prediction", "preview", "preview"]
    assert {body["camera"]: body["jpeg"] for body in taken[1:]} == {"cam0": "OTk4", "cam1": "OTk5"}
    box.put_preview(wire.preview_body("cam0", b"", 2, 2))
    box.close()
    assert len(box) == 0, "at the end nobody needs them"
    box.put_preview(wire.preview_body("cam0", b"", 2, 2))
    assert len(box) == 0
    box.release()


def test_lost_pictures_are_no_gap() -> None:
    """A reader that falls behind is told of lost predictions, not of pictures."""
    follow = SubscriberProtocol([""], None, FakeClock())
    given: list[Message] = []
    for seq in (1, 5):
        for body in (wire.preview_body("cam", b"", 2, 2), wire.prediction_body(prediction("cam"), None, 1)):
            told = wire.stamp(body, "s", seq, 1.7e9)
            given += follow.received([wire.topic_of(told).encode(), wire.encode(told)])
    assert [message.type for message in given] == ["preview", "prediction", "preview", "gap", "prediction"]


def test_who_is_followed_in_a_picture_comes_with_it() -> None:
    def sent(tracks: tuple[Track, ...] | None) -> PreviewMessage:
        body = wire.stamp(wire.preview_body("cam", b"\xff\xd8", 2, 2, tracks), "s", 1, 1.7e9)
        made = parse(json.loads(wire.encode(body)))
        assert isinstance(made, PreviewMessage)
        return made

    assert sent((Track(3, (0.25, 0.5, 0.125, 0.25)),)).tracks == (TrackMessage(3, (0.25, 0.5, 0.125, 0.25)),)
    assert sent(()).tracks == (), "nobody is there"
    assert sent(None).tracks is None, "nobody is to be followed"
    assert "tracks" not in sent(None).raw


def message(jpeg: bytes = b"\xff\xd8" + bytes(31_000)) -> PreviewMessage:
    made = parse(wire.stamp(wire.preview_body("front-door", jpeg, 640, 360), "s", 1, 1.7e9))
    assert isinstance(made, PreviewMessage)
    return made


def test_subscribe_prints_a_summary() -> None:
    text = as_text(message())
    assert text is not None
    assert text.endswith("front-door: preview 640x360, 31 kB")


def test_json_lines_hold_the_picture_only_where_it_was_asked_for_by_name() -> None:
    told = json.loads(as_json(message()))
    assert "jpeg" not in told
    assert told["bytes"] == 31_002
    assert json.loads(as_json(message(), pictures=True)) == dict(message().raw)


@pytest.mark.parametrize("wrong", [{"jpeg": 7}, {"jpeg": "no base64!"}, {"width": "w"}, {"camera": None}])
def test_a_broken_preview_is_no_message(wrong: dict[str, Any]) -> None:
    raw = {**message().raw, **wrong}
    with pytest.raises(ValueError, match="not a message of this bus"):
        parse(raw)
