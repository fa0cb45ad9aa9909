"""A publisher that wishes its subscribers ill: what breaks the contract is counted and skipped, and each of
them lives on. A real PUB and a real ROUTER socket send it."""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
import time
from contextlib import ExitStack

import pytest

from streamer.bus import AsyncSubscriber, EventMessage, Subscriber, wire
from streamer.bus.messages import parse, parse_events, parse_snapshot
from streamer.cli import subscribe
from streamer.errors import BusError
from tests.helpers.bus_parts import DEADLINE, until
from tests.helpers.hostile_publisher import (
    BIG,
    GOOD,
    MESSAGES,
    Hostile,
)


def test_whatever_is_understood_can_be_counted_with_printed_and_sent_on() -> None:
    understood = 0
    for data in MESSAGES:
        try:
            message = parse(wire.decode(data))
        except ValueError:
            continue
        understood += 1
        assert wire.encode(message.raw)
        assert subscribe.as_json(message)
        subscribe.as_text(message)
        assert 0 <= message.sent_at < 1e12
        assert 0 < message.seq < 2**63
    assert 0 < understood < len(MESSAGES) / 2


def test_a_subscriber_counts_it_and_lives_on() -> None:
    with Hostile() as publisher, Subscriber(publisher.endpoint, high_water_mark=0) as subscriber:
        publisher.wait_for_a_reader()
        publisher.send_all()
        found = None
        while not (isinstance(found, EventMessage) and found.session == "fresh"):
            found = subscriber.receive(DEADLINE)
            assert found is not None
        assert subscriber.invalid > len(MESSAGES) / 2


def test_an_async_subscriber_does_too() -> None:
    async def main(publisher: Hostile) -> int:
        async with AsyncSubscriber(publisher.endpoint, high_water_mark=0) as subscriber:
            await subscriber.receive(0.1)
            publisher.wait_for_a_reader()
            publisher.send_all()
            while True:
                found = await subscriber.receive(DEADLINE)
                assert found is not None
                if isinstance(found, EventMessage) and found.session == "fresh":
                    return subscriber.invalid

    with Hostile() as publisher:
        assert asyncio.run(main(publisher)) > 0


@pytest.mark.realtime
@pytest.mark.parametrize("words", [(), ("--json",)])
def test_the_subscribe_command_lives_on_and_tells_it(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    subscribe.add_arguments(parser)
    codes: list[int] = []
    with Hostile() as publisher:
        args = parser.parse_args([publisher.endpoint, "--timeout", "3", *words])
        thread = threading.Thread(target=lambda: codes.append(subscribe.run(args)))
        thread.start()
        publisher.wait_for_a_reader()
        publisher.send_all()
        thread.join(DEADLINE)
    assert codes == [0]
    out, err = capsys.readouterr()
    assert "fresh" in out or "ended after" in out.splitlines()[-1]
    assert err.count("skipped") == 1


REPLIES = [
    b'{"id":@ID}',
    b'{"id":[]}',
    b'{"id":@ID,"v":1,"type":"events","events":[],"more":true,"after":0,"last_event_seq":9,'
    b'"journal":"j","session":"s"}',
    b'{"id":@ID,"v":1,"type":"events","events":[' + BIG + b'],"more":false,"after":0,"last_event_seq":1,'
    b'"journal":"j","session":"s"}',
    b'{"id":@ID,"v":1,"type":"events","events":[{}],"more":true,"after":' + BIG + b',"last_event_seq":1,'
    b'"journal":"j","session":"s"}',
    b'{"id":@ID,"v":1,"type":"error","code":"\\u001b[2J","message":"' + b"\\u009b" * 2000 + b'"}',
    b'{"id":@ID,"v":1,"type":"snapshot","cameras":{"a":5},"last_event_seq":1e999}',
]


ANNOUNCED = ("tcp://999.999.999.999:99999", "tcp://*:0", "ipc://" + "x" * 5000, "inproc://x", "", "\x00")


@pytest.mark.parametrize(
    ("reply", "announced"),
    [*((reply, "requests") for reply in REPLIES), *((REPLIES[0], announced) for announced in ANNOUNCED)],
)
def test_answers_and_announcements_of_every_kind(reply: bytes, announced: str) -> None:
    with Hostile(reply) as publisher, ExitStack() as stack:
        told = publisher.requests if announced == "requests" else announced
        given = publisher.requests if announced == "requests" else None
        subscriber = stack.enter_context(
            Subscriber(publisher.endpoint, topics=["event/", "heartbeat/"], since=0.0, requests=given)
        )
        publisher.wait_for_a_reader()
        body = wire.heartbeat_body(3, {}, {"journal": "j", "started_at": 1.0, "requests": told})
        publisher.pub.send_multipart([b"heartbeat/", wire.encode(wire.stamp(body, "s", 1, time.time()))])
        heard = []
        until(lambda: bool(heard.append(subscriber.receive(0.05)) or any(heard)), "a heartbeat")
        for _ in range(5):
            subscriber.receive(0.01)
        with pytest.raises(BusError) as caught:
            subscriber.snapshot(timeout=0.2)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 1000


def test_one_bad_event_in_an_answer_is_left_out_and_counted() -> None:
    good = json.loads(GOOD["event"])
    reply = {"v": 1, "type": "events", "session": "s", "journal": "j", "after": 0, "last_event_seq": 2,
             "more": False, "events": [good, {**good, "seq": 10**400}, {}]}  # fmt: skip
    page = parse_events(reply)
    assert [item.seq for item in page.events] == [1]
    assert page.invalid == 2
    with pytest.raises(ValueError, match="not an answer"):
        parse_events({**reply, "after": -1})
    with pytest.raises(ValueError, match="not a snapshot"):
        parse_snapshot({"v": 1, "type": "snapshot", "cameras": [], "last_event_seq": 1})
