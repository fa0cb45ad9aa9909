"""MQTT with a real mosquitto: events at least once, what is retained, Home Assistant's discovery."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from streamer.bus import Publisher
from streamer.bus.messages import parse
from streamer.errors import ConfigError
from streamer.recording.files import MARKER, SNAPSHOT, place
from streamer.subscribers.bridge import idempotency_key
from streamer.subscribers.event_filter import EventFilter
from streamer.subscribers.mqtt import camera_topics as cameras_module
from streamer.subscribers.mqtt.camera_topics import Cameras
from streamer.subscribers.mqtt.home_assistant import Layout
from streamer.subscribers.mqtt.mqtt_bridge import event_payload
from streamer.subscribers.mqtt.topic_names import check_prefix, identifier, topic_level
from streamer.testing import FakeClock
from streamer.types import CameraState, Phase
from tests.helpers.bridge_parts import (
    Running,
)
from tests.helpers.bus_parts import event, publisher, status, until
from tests.helpers.mosquitto import Broker, MqttListener, needs_broker
from tests.helpers.mqtt_parts import Bridged, position

HOSTILE = [
    "front-door",
    "a+b",
    "a#b",
    "a/b",
    "a%2Fb",
    "Tür 1",
    "emoji 📷",
    "x\ny",
    "$SYS",
    "a_b",
    "A_b",
    "..",
    " ",
]


# ---- what is published


@needs_broker
def test_events_states_and_availability(
    bus: Publisher, broker: Broker, listener: MqttListener, tmp_path: Path
) -> None:
    bridged = Bridged(bus, broker.port, tmp_path)
    with Running(bridged):
        until(lambda: listener.text("streamer/cam0/availability") == "online", "the camera is there")
        assert listener.text("streamer/availability") == "online"
        assert listener.json("streamer/cam0/state")["action"] == "idle"
        bus.event(event("e1"))
        until(lambda: listener.json("streamer/cam0/state")["action"] == "waving", "it waves")
        bus.event(event("e1", Phase.END))
        until(lambda: listener.json("streamer/cam0/state")["action"] == "idle", "it has ended")
        until(lambda: listener.seqs == [1, 2], "both phases")
        until(lambda: position(bridged.state) == 2, "the position follows")
    first = listener.events[0]
    assert (first["event_type"], first["phase"], first["id"], first["camera"]) == (
        "start",
        "start",
        "e1",
        "cam0",
    )
    assert first["key"] == f"{bus.state().session}-1"
    told = listener.json("streamer/cam0/status")
    assert (told["state"], told["fps"], told["width"]) == ("running", 25.0, 640)
    states = [json.loads(data) for topic, data, _ in listener.got if topic == "streamer/cam0/state"]
    waving = next(state for state in states if state["action"] == "waving")
    assert (waving["score"], waving["event_id"], waving["actions"]) == (0.8, "e1", ["waving"])
    until(lambda: listener.text("streamer/availability") == "offline", "it says goodbye")


@needs_broker
def test_only_what_was_asked_for_is_carried_on(
    bus: Publisher, broker: Broker, listener: MqttListener, tmp_path: Path
) -> None:
    wanted = EventFilter(("cam0",), ("waving",), ("start",))
    bus.status(status("elsewhere"))
    bridged = Bridged(bus, broker.port, tmp_path, events=wanted)
    with Running(bridged):
        until(lambda: listener.text("streamer/cam0/availability") == "online", "the camera is there")
        for phase in (Phase.START, Phase.UPDATE, Phase.END):
            for name, camera, label in (
                ("e1", "elsewhere", "waving"), ("e2", "cam0", "running"), ("e3", "cam0", "waving"),
            ):  # fmt: skip
                bus.event(event(name, phase, camera=camera, label=label))
        until(lambda: position(bridged.state) == 9, "the position passes by what is not wanted")
        assert [told["id"] for told in listener.events] == ["e3"]
        states = [json.loads(data) for topic, data, _ in listener.got if topic == "streamer/cam0/state"]
        assert {action for state in states for action in state["actions"]} == {"waving"}
        assert not any("elsewhere" in topic for topic, _, _ in listener.got)


@needs_broker
def test_pictures_are_sent_where_they_are_on_and_asked_for(
    broker: Broker, listener: MqttListener, tmp_path: Path
) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    (folder / MARKER).touch()
    pictures = {"live": True, "snapshots": True, "clips": False, "folder": str(folder)}
    jpeg = b"\xff\xd8\xff a live picture"
    config = "homeassistant/device/streamer__cam0/config"

    def offers(_request: object, _peer: object) -> dict[str, Any]:
        return {"pictures": pictures, "marks": False, "models": {}}

    with publisher(handlers={"features": offers}) as bus:
        bus.status(status(fps=25.0))
        bus.event(event("e1"))
        snapshot = place(folder, "cam0", "e1", time.time(), SNAPSHOT)
        snapshot.parent.mkdir(parents=True)
        snapshot.write_bytes(b"\xff\xd8\xff the snapshot")
        with Running(Bridged(bus, broker.port, tmp_path)):
            until(lambda: bool(listener.json(config)), "described")
            bus.preview("cam0", jpeg, 64, 48)
            bus.event(event("e0"))
            until(lambda: 2 in listener.seqs, "an event")
        assert "picture" not in listener.json(config)["components"], "nobody asked for pictures"
        assert not any("picture" in topic for topic, _, _ in listener.got)

        with Running(Bridged(bus, broker.port, tmp_path, pictures=0.2)):
            until(lambda: "event_picture" in listener.json(config)["components"], "described")
            parts = listener.json(config)["components"]
            assert (parts["picture"]["platform"], parts["picture"]["topic"]) == (
                "camera",
                "streamer/cam0/picture",
            )
            assert parts["event_picture"]["platform"] == "image"
            assert parts["event_picture"]["image_topic"] == "streamer/cam0/event_picture"

            def shown() -> bool:
                bus.preview("cam0", jpeg, 64, 48)
                return any(topic == "streamer/cam0/picture" for topic, _, _ in listener.got)

            until(shown, "a live picture")
            bus.event(event("e1", Phase.END))

            def newest() -> list[bytes]:
                return [data for topic, data, _ in listener.got if topic == "streamer/cam0/event_picture"]

            until(lambda: newest() == [snapshot.read_bytes()], "the event's picture")
        kept = retained_by(broker.port)
        assert kept["streamer/cam0/event_picture"] == snapshot.read_bytes()
        assert "streamer/cam0/picture" not in kept, "a live picture is for the moment"


@needs_broker
def test_newcomers_find_the_present_retained_but_no_old_event(
    bus: Publisher, broker: Broker, listener: MqttListener, tmp_path: Path
) -> None:
    with Running(Bridged(bus, broker.port, tmp_path)):
        until(lambda: listener.text("streamer/cam0/availability") == "online", "the camera is there")
        bus.event(event("e1"))
        until(lambda: listener.seqs == [1], "the event")
        late = MqttListener.__new__(MqttListener)
        MqttListener.__init__(late, broker.port) if False else None
        got = retained_by(broker.port)
    assert json.loads(got["streamer/cam0/state"])["action"] == "waving"
    assert got["streamer/cam0/availability"] == got["streamer/availability"] == b"online"
    assert "homeassistant/device/streamer__cam0/config" in got
    assert not [topic for topic in got if topic.endswith("/event")]


def retained_by(port: int) -> dict[str, bytes]:
    """What the broker hands to somebody who comes now; a retained message of our own is the last to come."""
    from paho.mqtt import publish, subscribe

    publish.single("~end", "x", retain=True, hostname="127.0.0.1", port=port)
    messages: list[Any] = []

    def take(client: Any, _: Any, message: Any) -> None:
        messages.append(message)
        if message.topic == "~end":
            client.disconnect()

    subscribe.callback(take, ["streamer/#", "homeassistant/#", "~end"], 1, hostname="127.0.0.1", port=port)
    return {message.topic: message.payload for message in messages if message.retain}


@needs_broker
@pytest.mark.parametrize("state", [CameraState.STALLED, CameraState.RECONNECTING, CameraState.FAILED])
def test_a_lost_camera_is_unavailable_and_back_again(
    bus: Publisher, broker: Broker, listener: MqttListener, tmp_path: Path, state: CameraState
) -> None:
    with Running(Bridged(bus, broker.port, tmp_path)):
        until(lambda: listener.text("streamer/cam0/availability") == "online", "it runs")
        bus.status(status(state=state, detail="gone"))
        until(lambda: listener.text("streamer/cam0/availability") == "offline", "it is lost")
        until(lambda: listener.json("streamer/cam0/status")["state"] == str(state), "and says why")
        bus.status(status())
        until(lambda: listener.text("streamer/cam0/availability") == "online", "it is back")


@pytest.mark.realtime
@needs_broker
def test_without_a_publisher_no_camera_is_available(
    broker: Broker, listener: MqttListener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamer.bus.subscriber_protocol.SILENCE", 1.5)  # heartbeats come every second
    monkeypatch.setattr("streamer.subscribers.mqtt.mqtt_bridge.GRACE", 0.2)
    with publisher() as bus:
        bus.status(status())
        bridged = Bridged(bus, broker.port, tmp_path)
        running = Running(bridged)
        until(lambda: listener.text("streamer/cam0/availability") == "online", "it runs")
    with running:
        until(lambda: listener.text("streamer/cam0/availability") == "offline", "the publisher has ended")
        assert listener.text("streamer/availability") == "online", "the bridge itself is there"
        assert bridged.said("is silent; waiting for it")


@needs_broker
def test_hostile_camera_names_have_topics_and_devices_of_their_own(
    bus: Publisher, broker: Broker, listener: MqttListener, tmp_path: Path
) -> None:
    with Running(Bridged(bus, broker.port, tmp_path)):
        for name in HOSTILE:
            bus.status(status(name))
            bus.event(event(f"of {name}", camera=name))
        until(lambda: len(listener.seqs) == len(HOSTILE), "all events")
        until(lambda: len(configs(listener)) == len(HOSTILE) + 1, "all devices")
    for told in listener.events:
        topics = [
            topic for topic, data, _ in listener.got if topic.endswith("/event") and json.loads(data) == told
        ]
        (topic,) = set(topics)
        assert unquote(topic.split("/")[1]) == told["camera"]
    assert {told["camera"] for told in listener.events} == set(HOSTILE)
    assert {config["device"]["name"] for config in configs(listener).values()} == {*HOSTILE, "cam0"}


def configs(listener: MqttListener) -> dict[str, Any]:
    return {t: json.loads(data) for t, data, _ in list(listener.got) if t.endswith("/config") and data}


# ---- Home Assistant


def test_topics_and_ids_are_safe_and_never_alike() -> None:
    names = [*HOSTILE, "", "%", "front_door", "front-door-", "\ud800", "x" * 300, "x" * 299 + "y", "_5f"]
    levels, ids = [topic_level(name) for name in names], [identifier(name) for name in names]
    assert len(set(levels)) == len(set(ids)) == len(names)
    for name, level, made in zip(names, levels, ids, strict=True):
        assert not set(level) & set("+#/\n\0")
        assert level
        assert not name.isascii() or unquote(level) == name or name == ""
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", made), "what Home Assistant allows"
        assert "__" not in made
    assert topic_level("front-door") == identifier("front-door") == "front-door"


@pytest.mark.parametrize("prefix", ["", "/a", "a/", "a//b", "a+b", "a/#", "$SYS", "a\nb"])
def test_a_prefix_that_cannot_be_published_to_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigError, match="--prefix"):
        check_prefix("--prefix", prefix)


LABELS = ("waving", "it's {{ '%}' }}", 'quote" \\ back', "пошёл 📷", "waving_")


def test_the_description_is_what_home_assistant_asks_for() -> None:
    """By the rules of its own schemas (homeassistant/components/mqtt/schemas.py and the platforms)."""
    layout = Layout("home/streamer", labels=LABELS)
    told, config = layout.config("front door"), layout.describe("front door")
    assert told == "homeassistant/device/home_2fstreamer__front_20door/config"
    assert set(config) == {"device", "origin", "availability", "availability_mode", "qos", "components"}
    assert config["origin"]["name"] == "streamer"
    assert config["device"]["identifiers"] == ["home_2fstreamer__front_20door"]
    assert config["availability_mode"] == "all"
    assert [item["topic"] for item in config["availability"]] == [
        "home/streamer/availability", "home/streamer/front door/availability"
    ]  # fmt: skip
    parts = config["components"]
    assert list(parts)[:4] == ["action", "event", "connection", "rate"]
    assert len(parts) == 4 + len(LABELS)
    assert len({part["unique_id"] for part in parts.values()}) == len(parts)
    for part in parts.values():
        assert part["platform"] in ("sensor", "event", "binary_sensor")
        assert part["state_topic"].startswith("home/streamer/front door/")
    assert parts["event"]["event_types"] == ["start", "end"]
    assert parts["connection"]["availability"] == [{"topic": "home/streamer/availability"}], (
        "it tells why a camera is unavailable, so it is not"
    )


def render(template: str, payload: bytes, now: float = 1000.0) -> str:
    """As Home Assistant renders: Jinja with the payload as `value` and `value_json`."""
    jinja2 = pytest.importorskip("jinja2")
    from datetime import UTC, datetime

    from jinja2.sandbox import ImmutableSandboxedEnvironment

    assert jinja2
    made = ImmutableSandboxedEnvironment().from_string(template)
    text = payload.decode()
    return str(
        made.render(value=text, value_json=json.loads(text), now=lambda: datetime.fromtimestamp(now, UTC))
    )


def message(label: str = "waving", phase: str = "start", published: float = 1000.0, seq: int = 1) -> Any:
    told = {"id": "e1", "phase": phase, "label": label, "score": 0.8, "peak": 0.9, "started_at": 990.0,
            "decided_at": 991.0, "ended_at": None, "published_at": published}  # fmt: skip
    return parse({"v": 1, "type": "event", "session": "abc", "seq": seq, "sent_at": published, "camera": "c",
                  "model": "m", "event": told})  # fmt: skip


def test_the_templates_read_our_payloads() -> None:
    layout, clock = Layout(labels=LABELS), FakeClock()
    parts = layout.describe("c")["components"]
    for label in LABELS:
        cameras = Cameras(layout, [], clock)
        cameras.event(message(label))
        state = cameras.retained[layout.of("c", "state")]
        assert render(parts["action"]["value_template"], state) == label
        for other in LABELS:
            template = parts[f"label_{identifier(other)}"]["value_template"]
            assert render(template, state) == ("ON" if other == label else "OFF")
    assert parts["action"]["json_attributes_topic"] == layout.of("c", "state")


def test_home_assistant_hears_of_fresh_starts_and_ends_only() -> None:
    template = Layout().describe("c")["components"]["event"]["value_template"]
    fresh = event_payload(message())
    assert render(template, fresh, now=1005.0) == fresh.decode()
    assert json.loads(fresh)["event_type"] == "start"
    assert render(template, fresh, now=1061.0) == "", "empty is no event"
    assert render(template, event_payload(message(phase="update")), now=1000.0) == ""
    always = Layout(fresh=0).describe("c")["components"]["event"]["value_template"]
    assert render(always, fresh, now=9e9) == fresh.decode()


@needs_broker
def test_the_description_comes_again_when_home_assistant_starts(
    bus: Publisher, broker: Broker, listener: MqttListener, tmp_path: Path
) -> None:
    def times() -> int:
        return len([topic for topic, _, _ in list(listener.got) if topic.endswith("__cam0/config")])

    with Running(Bridged(bus, broker.port, tmp_path)):
        until(lambda: times() == 1, "described once")
        listener.say("homeassistant/status", "offline")
        listener.say("homeassistant/status", "online")
        until(lambda: times() == 2, "and again")


@pytest.mark.realtime
@needs_broker
def test_a_removed_camera_is_taken_off_the_broker(
    bus: Publisher, broker: Broker, listener: MqttListener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cameras_module, "GONE_AFTER", 0.5)
    extra = {"cameras": ["old", "cam0"], "client": "streamer-test"}  # as an earlier run left it
    (tmp_path / "state.json").write_text(json.dumps({"v": 1, "since": 0.0, "extra": extra}))
    for topic in ("streamer/old/state", "homeassistant/device/streamer__old/config"):
        listener.client.publish(topic, "x", qos=1, retain=True).wait_for_publish(10)
    bridged = Bridged(bus, broker.port, tmp_path)
    with Running(bridged):
        until(lambda: listener.last("homeassistant/device/streamer__old/config") == b"", "it is removed")
        until(lambda: listener.last("streamer/old/state") == b"", "with all it had")
        until(lambda: json.loads(bridged.state.read_text())["extra"]["cameras"] == ["cam0"], "and forgotten")
    assert bridged.said("camera old is gone")
    kept = retained_by(broker.port)
    assert not [topic for topic in kept if "old" in topic]
    assert "homeassistant/device/streamer__cam0/config" in kept


@needs_broker
def test_discovery_can_be_left_out(
    bus: Publisher, broker: Broker, listener: MqttListener, tmp_path: Path
) -> None:
    with Running(Bridged(bus, broker.port, tmp_path, Layout("home/eyes", None))):
        bus.event(event("e1"))
        until(lambda: listener.seqs == [1], "the event")
        until(lambda: listener.text("home/eyes/cam0/availability") == "online", "the camera")
    assert not [topic for topic, _, _ in listener.got if topic.startswith("homeassistant")]


# ---- the present, while the past is caught up with


def test_replayed_events_do_not_turn_the_present_back() -> None:
    from streamer.bus.messages import parse_snapshot

    layout, clock = Layout(discovery=None), FakeClock()
    cameras = Cameras(layout, [], clock)
    now = message("sitting", seq=90)
    cameras.snapshot(
        parse_snapshot({"v": 1, "type": "snapshot", "session": "abc", "last_event_seq": 100, "cameras": {
            "c": {"status": None, "events": [now.raw], "prediction": None}}})
    )  # fmt: skip

    def action() -> str:
        return str(json.loads(cameras.retained["streamer/c/state"])["action"])

    assert action() == "sitting"
    cameras.event(message("waving", seq=5))
    assert action() == "sitting", "long over"
    clock.advance(100)
    cameras.event(message("sitting", "end", seq=101))
    assert action() == "idle"


def test_of_several_actions_the_newest_is_the_state() -> None:
    cameras = Cameras(Layout(discovery=None), [], FakeClock())
    cameras.event(message("waving", seq=1))
    later = message("falling", seq=2).raw
    cameras.event(parse({**later, "event": {**later["event"], "id": "e2", "started_at": 995.0}}))
    told = json.loads(cameras.retained["streamer/c/state"])
    assert (told["action"], told["actions"], told["event_id"]) == ("falling", ["falling", "waving"], "e2")


def test_the_key_is_in_the_payload() -> None:
    assert json.loads(event_payload(message()))["key"] == idempotency_key(message()) == "abc-1"
