"""Brokers that come, go, freeze and refuse, with a real mosquitto; the command, and kill -9."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamer.bus import Publisher
from streamer.cli.command_line import main
from streamer.errors import ConfigError
from tests.helpers.bridge_parts import (
    Running,
    history_of,
    kill,
    publish_events,
    start_command,
    start_publisher,
)
from tests.helpers.bus_parts import free_pair, publisher, until
from tests.helpers.certificates import make_certificate
from tests.helpers.mosquitto import Broker, MqttListener, needs_broker
from tests.helpers.mqtt_parts import Bridged, position


@needs_broker
def test_a_broker_that_is_not_there_yet_is_one_line_and_waited_for(bus: Publisher, tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    bridged = Bridged(bus, broker.port, tmp_path)
    with Running(bridged):
        publish_events(bus, ["a"])
        until(lambda: bridged.said("Connection refused; trying again"), "it is told")
        broker.start()
        until(lambda: bridged.state.exists() and position(bridged.state) == 3, "all is delivered")
    broker.kill()
    assert len([line for line in bridged.lines if "refused" in line]) == 1
    assert bridged.said("is there again")


def test_something_that_is_no_broker_is_told_and_not_waited_for_at_the_end(
    bus: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamer.subscribers.mqtt.broker.CONNECT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        bridged = Bridged(bus, silent.getsockname()[1], tmp_path)
        with Running(bridged):
            until(lambda: bridged.said("it does not answer as an MQTT broker (silence"), "it is told")


@pytest.mark.realtime
@needs_broker
def test_a_killed_broker_costs_no_event(
    bus: Publisher, broker: Broker, listener: MqttListener, tmp_path: Path
) -> None:
    bridged = Bridged(bus, broker.port, tmp_path)
    with Running(bridged):
        publish_events(bus, ["before"])
        until(lambda: len(listener.seqs) == 3, "the first")
        broker.save()
        broker.kill()
        publish_events(bus, [f"e{n}" for n in range(700)])  # more than reader, page and window hold
        until(lambda: bridged.said("trying again"), "it is noticed")
        broker.start()
        until(lambda: set(listener.seqs) >= set(range(1, 2104)), "all events arrive")
    bodies = {(told["key"], json.dumps(told)) for told in listener.events}
    assert len({key for key, _ in bodies}) == len(bodies) == 2103, "no key with two bodies"
    firsts = list(dict.fromkeys(listener.seqs))
    assert firsts == sorted(firsts), "in order"


@pytest.mark.realtime
@needs_broker
@pytest.mark.skipif(sys.platform == "win32", reason="SIGSTOP is POSIX")
def test_a_frozen_broker_is_left_and_come_back_to(
    bus: Publisher, broker: Broker, listener: MqttListener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamer.subscribers.mqtt.broker.SILENCE", 0.5)
    bridged = Bridged(bus, broker.port, tmp_path)
    with Running(bridged):
        publish_events(bus, ["a"])
        until(lambda: listener.seqs == [1, 2, 3], "the first")
        assert broker.process is not None
        broker.process.send_signal(signal.SIGSTOP)
        try:
            publish_events(bus, ["b"])
            until(lambda: bridged.said("acknowledged nothing"), "it is noticed")
        finally:
            broker.process.send_signal(signal.SIGCONT)
        until(lambda: set(listener.seqs) == {1, 2, 3, 4, 5, 6}, "the others arrive")


@needs_broker
def test_user_and_password(bus: Publisher, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    passwords = tmp_path / "passwords"
    passwords.touch(0o600)
    made = subprocess.run(
        ["mosquitto_passwd", "-b", str(passwords), "eyes", "s3cret!"], capture_output=True, check=False
    )
    assert made.returncode == 0
    broker = Broker(tmp_path, listener=("allow_anonymous false", f"password_file {passwords}")).start()
    listener = MqttListener(broker.port, user="eyes", password="s3cret!")
    try:
        for more in ({}, {"user": "eyes", "password": "wrong"}):
            with Running(Bridged(bus, broker.port, tmp_path, **more)) as refused:
                refused.end()
            assert isinstance(refused.error, ConfigError)
            assert "refuses us" in str(refused.error)
            assert "--password-file or MQTT_PASSWORD" in str(refused.error)
        bridged = Bridged(bus, broker.port, tmp_path, user="eyes", password="s3cret!")
        with Running(bridged):
            publish_events(bus, ["a"])
            until(lambda: listener.seqs == [1, 2, 3], "all arrive")
        assert "s3cret" not in " ".join(bridged.lines) + repr(bridged._settings) + bridged.state.read_text()
    finally:
        listener.close()
        broker.kill()


@needs_broker
def test_what_the_access_list_forbids_is_told_and_not_lost(bus: Publisher, tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.write_text("topic read #\ntopic write streamer/availability\n")
    broker = Broker(tmp_path, f"acl_file {rules}").start()
    listener = MqttListener(broker.port)
    bridged = Bridged(bus, broker.port, tmp_path)
    try:
        with Running(bridged):
            publish_events(bus, ["a"])
            until(lambda: bridged.said("does not take our messages: Not authorized"), "it is told")
            assert position(bridged.state) == 0
            rules.write_text("topic readwrite #\n")
            assert broker.process is not None
            broker.process.send_signal(signal.SIGHUP)
            until(lambda: listener.seqs == [1, 2, 3], "allowed, they arrive")
    finally:
        listener.close()
        broker.kill()


@needs_broker
def test_tls_is_verified(bus: Publisher, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    broker = Broker(tmp_path, listener=("allow_anonymous true", f"certfile {certificate}", f"keyfile {key}"))
    broker.start()
    try:
        doubting = Bridged(bus, broker.port, tmp_path, tls=True)
        with Running(doubting):
            until(lambda: doubting.said("its certificate is not trusted"), "refused")
        trusting = Bridged(bus, broker.port, tmp_path, tls=True, ca=str(certificate))
        with Running(trusting):
            publish_events(bus, ["a"])
            until(lambda: position(trusting.state) == 3, "trusted")
    finally:
        broker.kill()


@needs_broker
def test_older_brokers_are_spoken_to_in_their_way(
    bus: Publisher, broker: Broker, listener: MqttListener, tmp_path: Path
) -> None:
    with Running(Bridged(bus, broker.port, tmp_path, protocol="3.1.1")):
        publish_events(bus, ["a"])
        until(lambda: listener.seqs == [1, 2, 3], "all arrive")


@needs_broker
def test_a_will_that_comes_late_is_answered(
    bus: Publisher, broker: Broker, listener: MqttListener, tmp_path: Path
) -> None:
    with Running(Bridged(bus, broker.port, tmp_path)):
        until(lambda: listener.text("streamer/availability") == "online", "it is there")
        listener.say("streamer/availability", "offline")
        until(lambda: listener.text("streamer/availability") == "online", "and says so again")


@needs_broker
def test_a_missing_part_of_the_history_is_told_and_passed_by(
    broker: Broker, listener: MqttListener, tmp_path: Path
) -> None:
    import sqlite3

    path = tmp_path / "events.db"
    with publisher(path) as bus:
        publish_events(bus, ["a", "b"])
        until(lambda: path.exists() and len(history_of(path)) == 6, "written")
    db = sqlite3.connect(path)
    db.execute("DELETE FROM events WHERE seq <= 4")
    db.commit()
    db.close()
    (tmp_path / "state.json").write_text(json.dumps({"v": 1, "since": ["seq", 1]}))
    with publisher(path) as bus:
        bridged = Bridged(bus, broker.port, tmp_path)
        with Running(bridged):
            until(lambda: listener.seqs == [5, 6], "what is left arrives")
            until(lambda: position(bridged.state) == 6, "and counts")
    assert bridged.said("3 event message(s), numbers 2 to 4, cannot be had any more (no longer in")


# ---- the command, and kill -9


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--broker", "user:pw@host"], "a password does not belong there"),
        (["--broker", "host:0"], "0 is no port"),
        (["--broker", "a b"], "--broker: write HOST"),
        (["--broker", "x", "--prefix", "a/#"], "--prefix 'a/#'"),
        (["--broker", "x", "--discovery", "/"], "--discovery '/'"),
        (["--broker", "x", "--fresh", "-1"], "--fresh -1"),
        (["--broker", "x", "--cert-key", "k"], "--cert-key goes with --cert"),
        (["--broker", "x", "--user", "u", "--password-file", "/nowhere"], "--password-file: cannot read"),
        (["--broker", "x", "--ca", "/nowhere"], "no usable certificate"),
        ([], "--broker"),
    ],
)
def test_wrong_usage_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mqtt", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert "pw" not in error


@pytest.mark.realtime
@needs_broker
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")
def test_kills_of_bridge_and_publisher_lose_nothing_and_the_will_arrives(
    broker: Broker, listener: MqttListener, tmp_path: Path
) -> None:
    endpoint, history = f"tcp://127.0.0.1:{free_pair()}", tmp_path / "events.db"
    state = str(tmp_path / "state.json")
    words = ["mqtt", endpoint, "--broker", f"127.0.0.1:{broker.port}", "--state", state, "--since", "seq:0"]
    log = tmp_path / "log"
    running = {"publisher": start_publisher(endpoint, history, 0.02), "bridge": start_command(words, log)}

    def again(name: str, make: Callable[[], Any]) -> None:
        before = len(listener.seqs)
        until(lambda: len(listener.seqs) > before + 5, "events flow")
        kill(running[name])
        running[name] = make()

    try:
        for _ in range(2):
            before = len(listener.seqs)
            until(lambda before=before: len(listener.seqs) > before + 5, "events flow")  # type: ignore[misc]
            kill(running["bridge"])
            until(lambda: listener.text("streamer/availability") == "offline", "its last will")
            running["bridge"] = start_command(words, log)
            until(lambda: listener.text("streamer/availability") == "online", "it is back")
            again("publisher", lambda: start_publisher(endpoint, history, 0.02))
        again("publisher", lambda: start_publisher(endpoint, history, 0))
        truth = {
            (row["session"], row["seq"], row["event"]["id"], row["event"]["phase"])
            for row in history_of(history)
        }
        until(
            lambda: {(e["session"], e["seq"], e["id"], e["phase"]) for e in listener.events} >= truth,
            "all arrive",
        )
        running["bridge"].send_signal(signal.SIGTERM)
        assert running["bridge"].wait(10) == 0
        until(lambda: listener.text("streamer/availability") == "offline", "it says goodbye")
    finally:
        for child in running.values():
            if child.poll() is None:
                kill(child)
    got = listener.events
    assert {(e["session"], e["seq"], e["id"], e["phase"]) for e in got} == {
        (row["session"], row["seq"], row["event"]["id"], row["event"]["phase"]) for row in history_of(history)
    }
    bodies = {(told["key"], json.dumps(told)) for told in got}
    assert len({key for key, _ in bodies}) == len(bodies), "no key with two bodies"
    print(f"{len(bodies)} events, {len(got) - len(bodies)} doubles")
