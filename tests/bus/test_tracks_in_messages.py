"""Whose a prediction or an event is: `track` in the messages of cameras that follow people."""

from __future__ import annotations

from dataclasses import replace

import jsonschema
import msgspec
import pytest

from streamer.bus import wire
from streamer.bus.messages import (
    EventMessage,
    PredictionMessage,
    Snapshot,
    StatusMessage,
    TrackMessage,
    parse,
    parse_snapshot,
)
from streamer.bus.requests import Present
from streamer.subscribers.web.page_state import PageState
from streamer.types import Phase, Track
from tests.helpers.bus_parts import event, prediction, status

VALIDATOR = jsonschema.Draft202012Validator(wire.schema())
PERSON = Track(7, (0.125, -0.02, 0.1, 0.33333333))


def sent(body: wire.Body) -> wire.Body:
    message = msgspec.json.decode(wire.encode(wire.stamp(body, "abc", 7, 1_700_000_000.0)))
    VALIDATOR.validate(message)
    return dict(message)


def test_who_does_not_follow_sees_no_difference() -> None:
    assert "track" not in sent(wire.prediction_body(prediction(), None, 5))
    assert "track" not in sent(wire.event_body(event()))
    assert "following" not in sent(wire.status_body(status(), 0.0))


def test_a_persons_prediction_says_who_and_where() -> None:
    one = prediction()
    one = replace(one, window=replace(one.window, track=PERSON, follows=True))
    message = sent(wire.prediction_body(one, None, 5))
    assert message["track"] == {"id": 7, "box": [0.125, -0.02, 0.1, 0.3333]}
    parsed = parse(message)
    assert isinstance(parsed, PredictionMessage)
    assert parsed.track == TrackMessage(7, (0.125, -0.02, 0.1, 0.3333))


@pytest.mark.parametrize("phase", Phase)
def test_an_event_says_where_they_are_at_each_phase(phase: Phase) -> None:
    message = sent(wire.event_body(replace(event(phase=phase), track=PERSON, follows=True)))
    parsed = parse(message)
    assert isinstance(parsed, EventMessage)
    assert parsed.track is not None
    assert parsed.track.id == 7


def test_the_whole_picture_is_null() -> None:
    one = prediction()
    message = sent(wire.prediction_body(replace(one, window=replace(one.window, follows=True)), None, 5))
    assert message["track"] is None
    parsed = parse(message)
    assert isinstance(parsed, PredictionMessage)
    assert parsed.track is None
    assert sent(wire.event_body(replace(event(), follows=True)))["track"] is None


def test_a_box_far_outside_is_told_within_the_contracts_bounds() -> None:
    far = replace(event(), track=Track(1, (-7.0, 9.0, 0.1, 5.0)), follows=True)
    assert sent(wire.event_body(far))["track"]["box"] == [-1.0, 2.0, 0.1, 2.0]


def test_a_status_says_how_many_are_followed() -> None:
    message = sent(wire.status_body(status(following=3), 0.0))
    parsed = parse(message)
    assert isinstance(parsed, StatusMessage)
    assert parsed.following == 3


@pytest.mark.parametrize(
    "track", [{"id": 7}, {"id": -1, "box": [0, 0, 1, 1]}, {"id": 1, "box": [0, 0, 1]}, "7"]
)
def test_a_broken_track_makes_the_message_invalid(track: object) -> None:
    message = sent(wire.event_body(event()))
    with pytest.raises(ValueError, match="not a message of this bus"):
        parse({**message, "track": track})


# --- what is told to who comes later ---


def noted(present: Present, person: int | None, at: float = 1_700_000_000.0, model: str = "tiny") -> None:
    one = prediction()
    track = None if person is None else Track(person, (0.1, 0.1, 0.2, 0.4))
    window = replace(one.window, track=track, follows=True)
    body = wire.prediction_body(replace(one, window=window, model=model), None, 5)
    present.note(dict(wire.stamp(body, "abc", 7, at)))


def told(present: Present) -> Snapshot:
    answer = {"v": wire.VERSION, "type": "snapshot", "cameras": present.cameras(), "last_event_seq": 0}
    answer = msgspec.json.decode(wire.encode(answer))
    VALIDATOR.validate(answer)
    return parse_snapshot(answer)


def test_a_snapshot_tells_the_newest_of_each_person_and_of_the_whole_picture() -> None:
    present = Present()
    for number in (None, 1, 2, 1):
        noted(present, number)
    (camera,) = told(present).cameras.values()
    assert [one.track and one.track.id for one in camera.predictions] == [None, 2, 1]
    assert camera.prediction is not None
    assert camera.prediction.track is None, "who wants one gets the whole picture's"
    page = PageState()
    page.snapshot(told(present))
    ((_, models),) = page.predictions.items()
    assert {one["track"] and one["track"]["id"] for one in models.values()} == {None, 1, 2}


def test_a_snapshot_tells_of_nobody_who_left_and_never_of_too_many() -> None:
    present, now = Present(), 1_700_000_000.0
    noted(present, None, now)
    noted(present, 1, now)
    noted(present, 2, now + 8.0)
    noted(present, 3, now + 11.0)
    (camera,) = told(present).cameras.values()
    assert [one.track and one.track.id for one in camera.predictions] == [None, 2, 3]
    for number in range(1000):
        noted(present, number + 4, now + 12.0)
    (camera,) = told(present).cameras.values()
    assert len(camera.predictions) == 1 + 128
