"""A publisher that sends anything: every subscriber lives on, and takes what is good after it."""

from __future__ import annotations

import copy
import io
import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zmq

from streamer.bus import wire
from streamer.bus.messages import EventMessage, HeartbeatMessage, Message, StatusMessage, parse
from streamer.labels.label_files import load_labels
from streamer.subscribers.alerts.alert_bridge import happening_of
from streamer.subscribers.alerts.alert_policy import AlertPolicy, AlertRules
from streamer.subscribers.captions.lines import LineWriter
from streamer.subscribers.mqtt import camera_topics
from streamer.subscribers.mqtt.camera_topics import Cameras
from streamer.subscribers.mqtt.home_assistant import Layout
from streamer.subscribers.mqtt.mqtt_bridge import event_payload
from streamer.subscribers.mqtt.topic_names import topic_level
from streamer.subscribers.narration import policy as policy_module
from streamer.subscribers.narration.policy import Policy
from streamer.subscribers.narration.settings import Settings
from streamer.subscribers.web import page_state
from streamer.subscribers.web.client_queues import sse
from streamer.subscribers.web.page_state import PageState
from streamer.testing import FakeClock
from tests.helpers.web_parts import listening, served

BASE = {"v": 1, "session": "s", "seq": 1, "sent_at": 1.0, "camera": "c"}
EVENT: dict[str, Any] = {
    **BASE, "type": "event", "model": "m",
    "event": {"id": "1", "phase": "start", "label": "x", "score": 0.5, "peak": 0.5, "started_at": 1.0,
              "decided_at": 1.0, "ended_at": None, "reason": None},
}  # fmt: skip
PREDICTION: dict[str, Any] = {
    **BASE, "type": "prediction", "model": "m",
    "window": {"id": 1, "start": 1.0, "end": 2.0, "frames": 8, "span": 1.0, "missing": 0},
    "top": [{"label": "x", "score": 0.5}], "stable": {"label": "x", "score": 0.5},
    "latency_ms": {"capture_to_publish": 1.0, "preprocess": 1.0, "inference": 1.0},
}  # fmt: skip
STATUS: dict[str, Any] = {
    **BASE, "type": "status", "state": "running", "since": 1.0, "detail": "", "fps": 25.0, "width": 1,
    "height": 1, "dropped": {},
}  # fmt: skip
HEARTBEAT: dict[str, Any] = {
    "v": 1, "session": "s", "seq": 1, "sent_at": 1.0, "type": "heartbeat", "last_event_seq": 1,
    "cameras": {"c": "running"}, "started_at": 1.0,
}  # fmt: skip
BAD = (
    "1e999", "-1e999", "9" * 400, "9" * 5000, "1e300", "-1e300", "-1", "1.5", "253402300800",
    "99999999999999", '"\\ud800"', '"a\\u001b[31m\\n\\u009b"', '"\\u0000"', '""', f'"{"x" * 70_000}"',
    "[]", "{}", "null", "true", "[" * 900 + "]" * 900,
    "NaN", "Infinity", '{"a":{"b":1e999}}', '{"__proto__":1}',
)  # fmt: skip


def hostile() -> Iterator[bytes]:
    """Each message with each part of it replaced by each bad value, and with one more."""
    for message in (EVENT, PREDICTION, STATUS, HEARTBEAT):
        for place in places(message):
            changed = copy.deepcopy(message)
            part: Any = changed
            for key in place[:-1]:
                part = part[key]
            part[place[-1] if place else "extra"] = "@@"
            text = json.dumps(changed)
            yield from (text.replace('"@@"', bad).encode() for bad in BAD)


def places(part: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield above
    for key in part if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ():
        yield from places(part[key], (*above, key))


def accepted() -> Iterator[Message]:
    for data in hostile():
        try:
            yield parse(wire.decode(data))
        except ValueError:
            continue


def test_what_is_taken_for_a_message_can_be_shown_sent_and_said() -> None:
    clock = FakeClock(wall=time.time())
    state, cameras = PageState(), Cameras(Layout(), [], clock)
    policy = Policy(Settings(fresh=0, settle=0), load_labels("en", None), clock)
    one_by_one, summed = AlertPolicy(AlertRules(every=0.0, most=10**6)), AlertPolicy(AlertRules(fresh=0.0))
    out = io.StringIO()
    lines = LineWriter(out, 40, times=True)
    taken = 0
    for message in accepted():
        taken += 1
        if isinstance(message, EventMessage):
            sse("event", state.event(message))
            cameras.event(message)
            assert wire.decode(event_payload(message))["camera"] == message.camera
            wire.encode({**message.raw, "idempotency_key": "k"})
            happening, now = happening_of(message), clock.wall()
            notices = one_by_one.take(replace(happening, phase="start"), now)
            notices += one_by_one.take(replace(happening, phase="end"), now)
            notices += [*summed.take(happening, now), *summed.due(now + 6.0)]
            assert all(notice.title.isprintable() and len(notice.title) < 2000 for notice in notices)
            wire.encode(summed.kept)
        elif isinstance(message, StatusMessage):
            state.status(message)
            cameras.status(message)
        elif isinstance(message, HeartbeatMessage):
            state.keep_cameras(message.cameras)
            cameras.heartbeat(message)
        for utterance in [*policy.message(message), *policy.tick(True)]:
            if utterance.text:
                lines.write(utterance)
        sse("state", state.state())
    assert taken > 50
    assert all(len(topic.encode()) < 65_535 for topic in cameras.retained)
    assert not set(out.getvalue()) & set("\x1b\x9b\x00\r")


def test_the_page_goes_on_after_a_publisher_s_worst() -> None:
    context = zmq.Context.instance()
    with closing(context.socket(zmq.XPUB)) as socket:
        socket.linger, socket.sndhwm = 0, 0
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        with served(f"tcp://127.0.0.1:{port}") as web, listening(web.port) as page:
            subscribed: set[bytes] = set()
            while b"\x01event/" not in subscribed:
                assert socket.poll(10_000)
                subscribed.add(socket.recv())
            for data in hostile():
                for topic in (b"event/c/", b"prediction/c/", b"status/c/", b"heartbeat/"):
                    if topic[:5] in data[:90]:
                        socket.send_multipart([topic, data])
            now = time.time()
            beat = {**HEARTBEAT, "session": "good", "sent_at": now, "last_event_seq": 0, "requests": None}
            socket.send_multipart([b"heartbeat/", json.dumps(beat).encode()])
            good = {**STATUS, "camera": "good", "session": "good", "sent_at": now}
            socket.send_multipart([b"status/good/", json.dumps(good).encode()])

            def shown() -> set[str]:
                states = {told["camera"] for state in page.of("state") for told in state["cameras"]}
                return states | {told["camera"] for told in page.of("status")}

            page.until(lambda: "good" in shown(), "what came after it")


def message_of(raw: dict[str, Any], **more: Any) -> Any:
    return parse(raw | more)


def test_a_publisher_with_a_million_cameras_and_events_costs_bounded_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = (
        (page_state, ("MOST_CAMERAS", "MOST_EVENTS", "MOST_MODELS")),
        (camera_topics, ("MOST_CAMERAS", "MOST_OPEN")),
        (policy_module, ("MOST_CAMERAS",)),
    )
    for module, names in limits:
        for name in names:
            monkeypatch.setattr(module, name, 10)
    clock = FakeClock()
    state, cameras = PageState(), Cameras(Layout(), [], clock)
    policy = Policy(Settings(), load_labels("en", None), clock)
    for number in range(50):
        status = message_of(STATUS, camera=f"c{number}")
        state.status(status)
        cameras.status(status)
        policy.message(status)
        state.prediction(message_of(PREDICTION, camera="c0", model=f"m{number}"))
        state.prediction(message_of(PREDICTION, camera=f"c{number}"))
        told = message_of({**EVENT, "seq": number + 1, "event": {**EVENT["event"], "id": f"e{number}"}})
        state.event(told)
        cameras.event(told)
    assert len(state.statuses) == len(state.predictions) == len(state.events) == 10
    assert max(map(len, state.predictions.values())) <= 10
    assert len(cameras.names) == 10
    assert len(policy._cameras) <= 10
    assert not state.reaches(5)
    assert state.reaches(40)


def test_a_very_long_name_is_a_topic_of_its_own() -> None:
    one, two = topic_level("ü" * 5000 + "a"), topic_level("ü" * 5000 + "b")
    assert one != two
    assert max(len(one.encode()), len(two.encode())) < 10_000


def test_the_dead_letter_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamer.subscribers.webhook import dead_letters

    monkeypatch.setattr(dead_letters, "LARGEST", 1000)
    file = tmp_path / "dead.jsonl"
    moved = [dead_letters.append(file, {"n": number, "x": "y" * 100}) for number in range(100)]
    assert set(moved) == {None, tmp_path / "dead.jsonl.1"}
    assert {path.name for path in tmp_path.iterdir()} == {"dead.jsonl", "dead.jsonl.1"}
    kept = [json.loads(line)["n"] for path in sorted(tmp_path.iterdir(), reverse=True)
            for line in path.read_text().splitlines()]  # fmt: skip
    assert kept == list(range(kept[0], 100)), "the newest, none torn"
    assert all(path.stat().st_size <= 1000 and path.stat().st_mode & 0o77 == 0 for path in tmp_path.iterdir())
