"""Webhooks: every event reaches a real HTTP receiver, signed, in order, whatever the receiver does."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from streamer.bus import Publisher
from streamer.errors import ConfigError
from streamer.subscribers.event_filter import EventFilter
from streamer.subscribers.webhook import signing
from streamer.subscribers.webhook.webhook_bridge import GONE, retry_after
from tests.helpers.bridge_parts import ROOT, Running, history_of, publish_events
from tests.helpers.bus_parts import publisher, until
from tests.helpers.webhook_parts import (
    SECRET,
    Handler,
    Hook,
    Receiver,
    bus,
    position,
    receiver,
    silent,
    status,
)

__all__ = ["bus", "receiver"]  # fixtures


def test_each_event_is_posted_in_order_as_it_was_sent(
    bus: Publisher, receiver: Receiver, tmp_path: Path
) -> None:
    with Running(Hook(bus, receiver.url, tmp_path, secrets=signing.parse_secrets(SECRET, "test"))):
        publish_events(bus, ["a", "b"], camera="Tür/1", label="Wäsche")
        until(lambda: len(receiver.got) == 6, "six messages")
    assert receiver.seqs == [1, 2, 3, 4, 5, 6]
    headers, body = receiver.got[0]
    told = json.loads(body)
    assert told["idempotency_key"] == headers["webhook-id"] == f"{bus.state().session}-1"
    assert (told["type"], told["camera"], told["event"]["phase"]) == ("event", "Tür/1", "start")
    assert headers["Content-Type"] == "application/json"
    assert documented_verifier()(headers, body, SECRET), "the receiver of docs/integrations.md accepts it"
    assert len(set(receiver.keys)) == 6


def documented_verifier() -> Callable[[Mapping[str, str], bytes, str], bool]:
    """The example for receivers, as it stands in the document."""
    text = (ROOT / "docs" / "integrations.md").read_text("utf-8")
    found = re.search(r"```python\n(# verify\.py.*?)```", text, re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(found[1], names)
    verify: Callable[[Mapping[str, str], bytes, str], bool] = names["verify"]
    return verify


def test_the_documented_receiver_refuses_what_is_forged_altered_or_old() -> None:
    verify, body, now = documented_verifier(), b'{"seq":1}', int(time.time())

    def signed(at: int, secret: str = SECRET) -> dict[str, str]:
        made = signing.signature(signing.parse_secrets(secret, "test"), "x-1", at, body)
        return {"webhook-id": "x-1", "webhook-timestamp": str(at), "webhook-signature": made}

    assert verify(signed(now), body, SECRET)
    other = "whsec_" + "A" * 32
    assert verify(signed(now, f"{other} {SECRET}"), body, SECRET), "one of two secrets is enough"
    assert not verify(signed(now, other), body, SECRET)
    assert not verify(signed(now), body + b" ", SECRET)
    assert not verify(signed(now - 3600), body, SECRET)
    assert not verify({}, body, SECRET)


def test_the_signature_is_that_of_the_specification() -> None:
    keys = signing.parse_secrets(SECRET, "test")
    made = signing.signature(keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="  # of its own reference libraries


@pytest.mark.parametrize("text", ["hello", "whsec_", "whsec_!!!", "whsec_" + "A" * 8, "MfKQ9r8GKYqrTwjU" * 2])
def test_a_bad_secret_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ConfigError, match="openssl rand") as caught:
        signing.parse_secrets(text, "--secret-file f")
    assert text.removeprefix("whsec_") not in str(caught.value).replace("echo", "") or text in ("whsec_",)


def test_only_what_was_asked_for_is_sent_and_the_rest_is_passed_by(
    bus: Publisher, receiver: Receiver, tmp_path: Path
) -> None:
    wanted = {"events": EventFilter(("door",), ("waving", "falling"), ("start",))}
    hook = Hook(bus, receiver.url, tmp_path, **wanted)
    with Running(hook):
        publish_events(bus, ["a"], camera="door")
        publish_events(bus, ["b"], camera="yard")
        publish_events(bus, ["c"], camera="door", label="still")
        publish_events(bus, ["d"], camera="door", label="falling")
        publish_events(bus, ["e"], camera="door", label="falling")
        until(lambda: 13 in receiver.seqs, "the last wanted one, sent when the one before was accepted")
    assert receiver.seqs == [1, 10, 13]
    assert position(hook.state) in range(10, 16)


@pytest.mark.parametrize("code", [500, 502, 503, 429, 408])
def test_a_receiver_in_trouble_gets_the_same_event_until_it_takes_it(
    bus: Publisher, receiver: Receiver, tmp_path: Path, code: int
) -> None:
    receiver.answers = [status(code)] * 12
    hook = Hook(bus, receiver.url, tmp_path)
    with Running(hook):
        publish_events(bus, ["a"])
        until(lambda: len(receiver.got) == 15, "all three arrive")
    assert receiver.seqs == [1] * 13 + [2, 3]
    assert len({body for _, body in receiver.got[:13]}) == 1, "one key, one body"
    assert [line for line in hook.lines if f"answered {code}" in line] == [
        f"http://127.0.0.1:{receiver.server_address[1]}/... answered {code}"
        f" {Handler.responses[code][0]}; trying again"
    ], "said once, not each time"
    assert hook.said("deliveries work again")
    assert hook.clock.waits[:12] == sorted(hook.clock.waits[:6]) + hook.clock.waits[6:12]
    assert all(30 <= wait <= 60 for wait in hook.clock.waits[6:12]), "bounded, with jitter"


@pytest.mark.parametrize(("asked", "least"), [("7", 7.0), ("100000", 600.0)])
def test_retry_after_is_honoured_within_bounds(
    bus: Publisher, receiver: Receiver, tmp_path: Path, asked: str, least: float
) -> None:
    receiver.answers = [status(429, Retry_After=asked)]
    hook = Hook(bus, receiver.url, tmp_path)
    with Running(hook):
        publish_events(bus, ["a"])
        until(lambda: len(receiver.got) == 4, "all arrive")
    assert hook.clock.waits == [least]


def test_retry_after_may_be_a_date_or_nonsense() -> None:
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT", 1445412480 - 5) == 5
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT", 1445412480 + 5) == 0
    assert [retry_after(text, 0.0) for text in (None, "", "soon", "-5", "1e9", "nan", "9" * 400)][:6] == [
        0
    ] * 6
    assert retry_after("9" * 400, 0.0) in (0.0, 600.0)


def test_a_refused_event_is_parked_after_some_attempts_and_the_next_goes_on(
    bus: Publisher, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answers = [status(404)] * 3
    hook = Hook(bus, receiver.url, tmp_path, give_up=3)
    with Running(hook):
        publish_events(bus, ["a"])
        until(lambda: len(receiver.got) == 5, "the others arrive")
    assert receiver.seqs == [1, 1, 1, 2, 3]
    (line,) = (tmp_path / "dead.jsonl").read_text().splitlines()
    parked = json.loads(line)
    assert (parked["status"], parked["attempts"], parked["message"]["seq"]) == (404, 3, 1)
    assert parked["key"] == receiver.keys[0]
    assert (tmp_path / "dead.jsonl").stat().st_mode & 0o77 == 0
    assert hook.said("refused 3 times, the last with 404 Not Found")


def test_without_giving_up_a_refused_event_is_tried_for_ever(
    bus: Publisher, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answers = [status(403)] * 20
    with Running(Hook(bus, receiver.url, tmp_path, give_up=0)):
        publish_events(bus, ["a"])
        until(lambda: len(receiver.got) == 23, "it arrives at last")
    assert receiver.seqs == [1] * 21 + [2, 3]


def test_redirects_are_not_followed(bus: Publisher, receiver: Receiver, tmp_path: Path) -> None:
    receiver.answers = [status(302, Location=receiver.url)]
    hook = Hook(bus, receiver.url, tmp_path, give_up=1)
    with Running(hook):
        publish_events(bus, ["a"])
        until(lambda: len(receiver.got) == 3, "the others arrive")
    assert not receiver.followed
    assert hook.said("redirects are not followed")


def test_410_ends_it_and_the_event_is_not_counted_as_delivered(
    bus: Publisher, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answers = [status(204), status(410)]
    hook = Hook(bus, receiver.url, tmp_path)
    with Running(hook) as running:
        publish_events(bus, ["a"])
        running.end()
    assert (running.code, running.error) == (GONE, None)
    assert hook.said("answered 410 Gone: it wants no more events; ended")
    assert position(hook.state) == 1


@pytest.mark.realtime
def test_a_receiver_that_is_not_there_yet_gets_everything_later(bus: Publisher, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    hook = Hook(bus, f"http://127.0.0.1:{port}/hook", tmp_path)
    with Running(hook):
        publish_events(bus, [f"e{n}" for n in range(500)])  # more than a reader's queue and a page hold
        until(lambda: len(hook.clock.waits) > 5, "some attempts failed")
        late = Receiver(port)
        until(lambda: len(set(late.seqs)) == 1500, "everything arrives")
        late.close()
    assert late.seqs == list(range(1, 1501))
    assert len([line for line in hook.lines if "Connection refused" in line]) == 1


def test_a_missing_part_of_the_history_is_told_and_passed_by(receiver: Receiver, tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "events.db"
    with publisher(path) as bus:
        publish_events(bus, ["a", "b"])
        until(lambda: path.exists() and len(history_of(path)) == 6, "written")
    db = sqlite3.connect(path)
    db.execute("DELETE FROM events WHERE seq <= 4")
    db.commit()
    db.close()
    with publisher(path) as bus:
        hook = Hook(bus, receiver.url, tmp_path, since=("seq", 1))
        with Running(hook):
            until(lambda: 6 in receiver.seqs, "what is left arrives")
    assert receiver.seqs == [5, 6]
    assert hook.said("3 event message(s), numbers 2 to 4, cannot be had any more (no longer in")


def test_a_restart_goes_on_behind_the_last_accepted_event(
    bus: Publisher, receiver: Receiver, tmp_path: Path
) -> None:
    hook = Hook(bus, receiver.url, tmp_path)
    with Running(hook):
        publish_events(bus, ["a"])
        until(lambda: hook.accepted == [1, 2, 3], "the first three, and that they were accepted is known")
    publish_events(bus, ["b"])
    with Running(Hook(bus, receiver.url, tmp_path)):
        until(lambda: len(receiver.got) >= 6, "the next three")
    assert receiver.seqs == [1, 2, 3, 4, 5, 6]


def test_stopping_does_not_wait_for_a_receiver(bus: Publisher, receiver: Receiver, tmp_path: Path) -> None:
    receiver.answers = [silent]
    with Running(Hook(bus, receiver.url, tmp_path, timeout=60.0)):
        publish_events(bus, ["a"])
        until(lambda: len(receiver.got) == 1, "it waits for an answer")
        began = time.monotonic()
    assert time.monotonic() - began < 5, "not the 60 s of its time-out"
