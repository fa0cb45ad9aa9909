"""Notifications: when somebody is told, what is summed up, and what a real receiver gets by Apprise."""

from __future__ import annotations

import argparse
import base64
import http.server
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from streamer.bus import Publisher
from streamer.bus.messages import EventMessage
from streamer.bus.position import Position
from streamer.bus.subscriber import Subscriber
from streamer.cli import alert
from streamer.errors import ConfigError
from streamer.recording.files import MARKER, SNAPSHOT, place
from streamer.subscribers.alerts.alert_bridge import AlertBridge, Settings
from streamer.subscribers.alerts.alert_policy import (
    MOST_SUMS,
    AlertPolicy,
    AlertRules,
    Happening,
    QuietHours,
)
from streamer.subscribers.event_filter import EventFilter
from streamer.subscribers.publisher_address import PublisherAddress
from streamer.system.redaction import redact
from streamer.types import Phase
from tests.helpers.bus_parts import DEADLINE, event, publisher, until

NOON = datetime(2026, 11, 21, 12, 0, 0).timestamp()


def happening(at: float, label: str = "waving", camera: str = "door", **more: Any) -> Happening:
    return Happening(camera, label, more.pop("display", label), at, "e1", 0.9, **more)


# ---- when somebody is told


def test_the_first_is_told_at_once_and_more_are_summed_up() -> None:
    policy = AlertPolicy(AlertRules(every=300.0))
    (first,) = policy.take(happening(NOON), NOON)
    assert first.title == "waving, door"
    assert "12:00:00" in first.text
    told = []
    for n in range(1, 13):
        at = NOON + 25.0 * n - 1.0
        told += policy.take(happening(at), at) + policy.due(at)
    assert told == []
    (summed,) = policy.due(NOON + 301)
    assert summed.title == "waving 12 times, door"
    assert summed.text == "waving 12 times in 5 minutes, since 12:00"
    assert policy.due(NOON + 302) == []
    assert policy.take(happening(NOON + 303), NOON + 303) == [], "the sum was a notification too"
    assert policy.take(happening(NOON + 303, "falling"), NOON + 303), "another action is not held back"


def test_several_sums_come_as_one() -> None:
    policy = AlertPolicy(AlertRules(every=60.0))
    for label in ("waving", "falling"):
        assert policy.take(happening(NOON, label), NOON)
        for n in range(3 if label == "waving" else 1):
            assert not policy.take(happening(NOON + 1 + n, label), NOON + 1 + n)
    (summed,) = policy.due(NOON + 61)
    assert summed.title == "4 more events"
    assert summed.text.split("\n")[1:] == ["waving 3 times, door", "falling once, door"]


def test_quiet_hours_count_and_tell_afterwards_but_not_what_is_always_told() -> None:
    quiet = QuietHours.parse("22:00-07:00")
    night = datetime(2026, 11, 21, 23, 30).timestamp()
    assert quiet.holds(night)
    assert quiet.holds(night + 7 * 3600)
    assert not quiet.holds(night + 8 * 3600)
    policy = AlertPolicy(AlertRules(quiet=quiet, always=("falling",)))
    assert policy.take(happening(night), night) == []
    assert policy.due(night + 3600) == []
    (urgent,) = policy.take(happening(night + 60, "falling"), night + 60)
    assert urgent.urgent
    assert policy.take(happening(night + 61, "falling"), night + 61), "however often"
    morning = night + 8 * 3600
    (summed,) = policy.due(morning)
    assert summed.title == "waving once, door"
    with pytest.raises(ValueError, match="hours"):
        QuietHours.parse("22:00-22:00")


def test_an_hour_has_room_for_so_many_and_old_news_are_summed_up() -> None:
    policy = AlertPolicy(AlertRules(most=3, fresh=600.0))
    told = [policy.take(happening(NOON + n, f"action {n}"), NOON + n) for n in range(5)]
    assert [len(one) for one in told] == [1, 1, 1, 0, 0]
    assert policy.due(NOON + 600) == []
    (summed,) = policy.due(NOON + 3601)
    assert summed.title == "2 more events"
    behind = AlertPolicy(AlertRules())
    for n in range(100):
        assert behind.take(happening(NOON - 7200 + n), NOON + n / 100) == []
    (old,) = behind.due(NOON + 10)
    assert old.title == "waving 100 times, door"


def test_a_clock_that_is_set_back_silences_nothing() -> None:
    policy = AlertPolicy(AlertRules(every=300.0, most=2))
    tomorrow = NOON + 86_400.0
    for label in ("waving", "falling", "sitting"):
        policy.take(happening(tomorrow, label), tomorrow)
    assert policy.take(happening(NOON), NOON), "it was told in what is the future now"
    assert policy.due(NOON + 10), "and what was counted then is told"


def test_sums_alone_do_not_make_it_grow() -> None:
    policy = AlertPolicy(AlertRules(fresh=0.0, most=10**6))
    for n in range(3 * MOST_SUMS):
        at = NOON + 10.0 * n
        policy.take(happening(NOON - 1.0, f"label {n}"), at)
        assert policy.due(at + 6.0)
    assert len(policy.kept["told"]) <= 2 * MOST_SUMS


def test_it_is_bounded_and_survives_a_restart() -> None:
    policy = AlertPolicy(AlertRules(most=1))
    for n in range(2000):
        policy.take(happening(NOON + n / 1000, f"action {n}"), NOON + n / 1000)
    assert len(policy._sums) <= 501
    again = AlertPolicy(AlertRules(most=1))
    again.restore(json.loads(json.dumps(policy.kept)))
    assert again == policy
    (summed,) = again.due(NOON + 4000)
    assert summed.title == "1999 more events"
    for wrong in ({}, {"told": 5, "sums": [], "recent": []}, {"told": [], "sums": [[1]], "recent": []}):
        with pytest.raises((KeyError, TypeError, ValueError, OverflowError)):
            again.restore(wrong)


# ---- a real receiver


class Receiver:
    """What a service gets: JSON bodies and files. `answer` is what it says."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.answer = 200
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.got.append((self.path, dict(self.headers), body))
                self.send_response(outer.answer)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            do_PUT = do_POST  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def titles(self) -> list[str]:
        return [json.loads(body)["title"] for _, _, body in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Publisher]:
    with publisher(tmp_path / "events.db") as made:
        yield made


class Running:
    """The bridge on a thread, as `streamer alert` runs it."""

    def __init__(self, bus: Publisher, state: Path, urls: list[str], **more: Any) -> None:
        from streamer.subscribers.alerts.apprise_targets import targets_of

        self.said: list[str] = []
        rules = more.pop("rules", AlertRules())
        events = more.pop("events", EventFilter(phases=("start",)))
        since = Position.at(time.time() - 60)
        settings = Settings(PublisherAddress(bus.endpoint), state, since, events, rules, **more)
        self.bridge = AlertBridge(settings, targets_of(urls), tell=self.said.append)
        self.thread = threading.Thread(target=self.bridge.run)
        self.thread.start()

    def stop(self) -> None:
        self.bridge.stop()
        self.thread.join(DEADLINE)
        assert not self.thread.is_alive()


def now_event(name: str, phase: Phase = Phase.START, **more: Any) -> Any:
    return event(name, phase, **more)


@pytest.mark.realtime
def test_events_reach_a_receiver_once_and_a_restart_goes_on(
    bus: Publisher, receiver: Receiver, tmp_path: Path
) -> None:
    pytest.importorskip("apprise")
    url = f"json://127.0.0.1:{receiver.port}/secretpath"
    wanted = EventFilter(("cam0",), ("waving", "falling"), ("start",))
    running = Running(bus, tmp_path / "state.json", [url], events=wanted)
    try:
        bus.event(now_event("e1"))
        bus.event(now_event("e1", Phase.END))
        bus.event(now_event("e2", label="running"))
        bus.event(now_event("e3", camera="elsewhere"))
        bus.event(now_event("e4", label="falling"))
        until(lambda: len(receiver.got) == 2, "two notifications")
        assert receiver.titles() == ["waving, cam0", "falling, cam0"]
    finally:
        running.stop()
    bus.event(now_event("e5"))
    bus.event(now_event("e6", label="falling"))
    again = Running(bus, tmp_path / "state.json", [url], rules=AlertRules(always=("falling",)))
    try:
        until(lambda: len(receiver.got) == 3, "what came meanwhile")
        assert receiver.titles()[2:] == ["falling, cam0"], "waving was told a moment ago: it is counted"
        assert not any("secretpath" in line for line in running.said + again.said)
    finally:
        again.stop()


@pytest.mark.realtime
def test_a_service_that_fails_is_tried_again_and_keeps_no_other_waiting(
    bus: Publisher, receiver: Receiver, tmp_path: Path
) -> None:
    pytest.importorskip("apprise")
    healthy = Receiver()
    receiver.answer = 500
    urls = [f"json://127.0.0.1:{receiver.port}/x", f"json://127.0.0.1:{healthy.port}/x"]
    running = Running(bus, tmp_path / "state.json", urls)
    try:
        bus.event(now_event("e1"))
        until(lambda: len(receiver.got) >= 2, "tried again")
        assert len(healthy.got) == 1
        receiver.answer = 200
        until(lambda: any("works again" in line for line in running.said), "it works again")
        assert len(healthy.got) == 1
        assert any("address 1): " in line and "trying again" in line for line in running.said)
    finally:
        running.stop()
        healthy.close()


def test_the_snapshot_is_attached_where_that_is_wanted(
    bus: Publisher, receiver: Receiver, tmp_path: Path
) -> None:
    pytest.importorskip("apprise")
    folder = tmp_path / "recordings"
    folder.mkdir()
    (folder / MARKER).touch()
    picture = place(folder, "cam0", "e1", time.time(), SNAPSHOT)
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"\xff\xd8\xff a picture")
    url = f"json://127.0.0.1:{receiver.port}/x"
    running = Running(bus, tmp_path / "a.json", [url], pictures=True, recordings=folder)
    try:
        bus.event(now_event("e1"))
        until(lambda: len(receiver.got) == 1, "told")
        (attached,) = json.loads(receiver.got[0][2])["attachments"]
        assert base64.b64decode(attached["base64"]) == picture.read_bytes()
    finally:
        running.stop()
    plain = Running(bus, tmp_path / "b.json", [url], recordings=folder)
    try:
        until(lambda: len(receiver.got) == 2, "told")
        assert json.loads(receiver.got[1][2])["attachments"] == []
    finally:
        plain.stop()


@pytest.mark.parametrize("marked", [True, False])
def test_pictures_are_taken_from_folders_of_recordings_alone(
    receiver: Receiver, tmp_path: Path, marked: bool
) -> None:
    """Whoever publishes names the folder: it cannot send any other picture of this machine away."""
    pytest.importorskip("apprise")
    picture = place(tmp_path / "told", "cam0", "e1", time.time(), SNAPSHOT)
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"\xff\xd8\xff a picture")
    if marked:
        (tmp_path / "told" / MARKER).touch()

    def offers(_request: object, _peer: object) -> dict[str, Any]:
        return {"pictures": {"folder": str(tmp_path / "told"), "snapshots": True}, "models": {}}

    with publisher(tmp_path / "events.db", handlers={"features": offers}) as bus:
        url = f"json://127.0.0.1:{receiver.port}/x"
        running = Running(bus, tmp_path / "a.json", [url], pictures=True)
        try:
            bus.event(now_event("e1"))
            until(lambda: len(receiver.got) == 1, "told")
            assert len(json.loads(receiver.got[0][2])["attachments"]) == marked
        finally:
            running.stop()


def test_ntfy_gets_title_and_text(bus: Publisher, receiver: Receiver, tmp_path: Path) -> None:
    pytest.importorskip("apprise")
    running = Running(bus, tmp_path / "s.json", [f"ntfy://127.0.0.1:{receiver.port}/my-topic"])
    try:
        bus.event(now_event("e1"))
        until(lambda: len(receiver.got) == 1, "told")
        told = json.loads(receiver.got[0][2])
        assert (told["topic"], told["title"]) == ("my-topic", "waving, cam0")
        assert told["message"].startswith("waving since ")
    finally:
        running.stop()


# ---- the options


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    alert.add_arguments(parser)
    return parser.parse_args(words)


def test_mistakes_are_one_line_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("apprise")
    monkeypatch.delenv("ALERT_URLS", raising=False)
    with pytest.raises(ConfigError, match="--to-file FILE"):
        alert.run(options())
    file = tmp_path / "urls"
    file.write_text("# mine\nnonsense-with-a-secret\n")
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="address 1 is none that Apprise knows") as refused:
        alert.run(options("--to-file", str(file)))
    assert "secret" not in str(refused.value)
    for words in (["--quiet", "22-7"], ["--every", "-1"], ["--most", "0"]):
        with pytest.raises(ConfigError, match=words[0]):
            alert.rules_of(options(*words))
    assert alert.rules_of(options("--quiet", "22:00-07:00")).quiet == QuietHours.parse("22:00-07:00")


def test_one_notification_can_be_tried(
    receiver: Receiver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("apprise")
    file = tmp_path / "urls"
    file.write_text(f"json://127.0.0.1:{receiver.port}/a-secret-path\n")
    file.chmod(0o600)
    assert alert.run(options("--to-file", str(file), "--try")) == 0
    assert receiver.titles() == ["streamer"]
    assert capsys.readouterr().err == "alert: json:// (address 1): sent\n"
    receiver.answer = 404
    assert alert.run(options("--to-file", str(file), "--try")) == 1
    assert "a-secret-path" not in capsys.readouterr().err
    assert redact("from tcp://127.0.0.1:5555") == "from tcp://127.0.0.1:5555", "an address is no secret"


def test_a_label_is_the_models_or_what_people_call_it(tmp_path: Path) -> None:
    with publisher(
        tmp_path / "e.db", display=lambda label: {"waving": "el sallama"}.get(label, label)
    ) as bus:
        bus.event(event("e1"))
        with Subscriber(bus.endpoint, topics=["event/"], since=0) as subscriber:
            message = subscriber.receive(DEADLINE)
    assert isinstance(message, EventMessage)
    for label, wanted in (("waving", True), ("el sallama", True), ("running", False)):
        assert EventFilter(labels=(label,)).wants(message) is wanted
    assert not EventFilter(phases=("end",)).wants(message)
    assert not EventFilter(cameras=("other",)).wants(message)
    still = replace(message, background=True)  # its label means "no action"
    assert not EventFilter().wants(still)
    assert not EventFilter(cameras=(still.camera,)).wants(still)
    assert EventFilter(labels=("waving",)).wants(still), "what is named counts"
    assert EventFilter(also=("el sallama",)).wants(still)
    assert not EventFilter(labels=("falling",), also=("waving",)).wants(still)
