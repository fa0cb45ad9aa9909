"""Whose an event is, on every way to other programs; and nothing of that where nobody is followed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamer.bus import EventMessage, Publisher, StatusMessage, Subscriber
from streamer.bus.messages import Message, TrackMessage
from streamer.cli.command_line import main
from streamer.cli.subscribe import as_json, as_text
from streamer.dashboard.plain_text import event_text
from streamer.subscribers.mqtt.camera_topics import Cameras
from streamer.subscribers.mqtt.home_assistant import Layout
from streamer.subscribers.mqtt.mqtt_bridge import event_payload
from streamer.testing import FakeClock
from streamer.types import Event, Phase, Track
from tests.helpers.bus_parts import DEADLINE, event, prediction, publisher, status

pytestmark = pytest.mark.usefixtures("no_thread_left")

PERSON = Track(7, (0.125, 0.25, 0.1, 0.5))
TOLD = {"id": 7, "box": [0.125, 0.25, 0.1, 0.5]}


def persons(name: str, phase: Phase = Phase.START) -> Event:
    return replace(event(name, phase), track=PERSON, follows=True)


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Publisher]:
    with publisher(tmp_path / "events.db") as made:
        yield made


def heard(bus: Publisher, count: int) -> list[Message]:
    """What a subscriber who comes late gets of the history."""
    with Subscriber(bus.endpoint, topics=["event/"], since=0.0, timeout=DEADLINE) as subscriber:
        return [message for _, message in zip(range(count), subscriber, strict=False)]


def listed(journal: Path, *words: str) -> str:
    out = io.StringIO()
    with redirect_stdout(out):
        assert main(["events", "--journal", str(journal), *words]) == 0
    return out.getvalue()


def test_a_replayed_event_says_whose_it_was(bus: Publisher) -> None:
    bus.event(persons("a"))
    bus.event(persons("a", Phase.END))
    bus.event(replace(event("b"), follows=True))
    start, end, whole = heard(bus, 3)
    assert isinstance(start, EventMessage)
    assert isinstance(end, EventMessage)
    assert isinstance(whole, EventMessage)
    assert start.track == end.track == TrackMessage(7, PERSON.box)
    assert whole.track is None
    assert (start.raw["track"], whole.raw["track"]) == (TOLD, None)
    assert "person 7: waving started" in str(as_text(start))
    assert "person" not in str(as_text(whole))
    assert json.loads(as_json(start))["track"] == TOLD
    assert str(event_text(start.raw)).startswith("person 7: waving started")
    assert str(event_text(whole.raw)).startswith("waving started")


def test_a_prediction_and_a_status_are_told_in_words() -> None:
    from streamer.bus import wire
    from streamer.bus.messages import parse

    one = prediction()
    one = replace(one, window=replace(one.window, track=PERSON, follows=True))
    told = parse(wire.stamp(wire.prediction_body(one, None, 5), "s", 1, 1000.0))
    assert "cam0: person 7: waving 0.75" in str(as_text(told))
    told = parse(wire.stamp(wire.status_body(status(following=3, fps=25.0), 0.0), "s", 1, 1000.0))
    assert isinstance(told, StatusMessage)
    assert str(as_text(told)).endswith("running, 25.0 fps, 3 followed")


def test_the_history_lists_persons_and_is_as_ever_without(bus: Publisher, tmp_path: Path) -> None:
    bus.event(event("x"))
    assert heard(bus, 1)
    table, csv = listed(tmp_path / "events.db"), listed(tmp_path / "events.db", "--format", "csv")
    assert "person" not in table
    assert "track" not in csv
    assert "track" not in json.loads(listed(tmp_path / "events.db", "--format", "json"))
    bus.event(persons("a"))
    bus.event(replace(event("b"), follows=True))
    assert len(heard(bus, 3)) == 3
    first, *rows = listed(tmp_path / "events.db").splitlines()
    assert first.split()[:4] == ["started", "lasted", "camera", "person"]
    assert [" 7 " in row for row in rows] == [False, True, False]
    told = [json.loads(line) for line in listed(tmp_path / "events.db", "--format", "json").splitlines()]
    assert ["track" in one for one in told] == [False, True, True]
    assert (told[1]["track"], told[2]["track"]) == (TOLD, None)
    lines = listed(tmp_path / "events.db", "--format", "csv").splitlines()
    assert [line.rsplit(",", 1)[1] for line in lines] == ["track", "", "7", ""]


def test_mqtt_has_whose_it_is_among_the_attributes(bus: Publisher) -> None:
    bus.event(persons("a"))
    bus.event(event("b"))
    persons_event, plain = heard(bus, 2)
    assert isinstance(persons_event, EventMessage)
    assert isinstance(plain, EventMessage)
    assert json.loads(event_payload(persons_event))["track"] == TOLD
    assert "track" not in json.loads(event_payload(plain))


def test_home_assistant_gets_a_count_of_people_where_they_are_followed() -> None:
    from streamer.bus import wire
    from streamer.bus.messages import parse

    clock, layout = FakeClock(), Layout()
    cameras = Cameras(layout, [], clock)

    def tell(**fields: Any) -> None:
        told = parse(wire.stamp(wire.status_body(status(fps=25.0, **fields), 0.0), "s", 1, 1000.0))
        assert isinstance(told, StatusMessage)
        cameras.status(told)

    def retained(topic: str | None) -> dict[str, Any]:
        assert topic is not None
        return dict(json.loads(cameras.retained[topic]))

    tell()
    assert "people" not in retained(layout.config("cam0"))["components"]
    assert "following" not in retained(layout.of("cam0", "status"))
    tell(following=2)
    people = retained(layout.config("cam0"))["components"]["people"]
    assert people["state_topic"] == layout.of("cam0", "status")
    assert people["value_template"] == "{{ value_json.following }}"
    assert retained(layout.of("cam0", "status"))["following"] == 2
    clock.advance(1.0)
    tell(following=3)
    assert retained(layout.of("cam0", "status"))["following"] == 3, "at once, not with the next numbers"
