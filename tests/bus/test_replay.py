"""Catching up: nothing missed and nothing twice, whatever is restarted or lost on the way."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.bus import EventMessage, Gap, Message, Subscriber, wire
from streamer.bus.journal import Journal
from streamer.bus.position import Position, Since
from streamer.bus.requests import Peer, Pending, Present, Requests
from streamer.bus.subscriber_protocol import SubscriberProtocol
from streamer.config import BusConfig, JournalConfig
from streamer.testing import FakeClock
from streamer.types import Phase
from tests.helpers.bus_parts import (
    DEADLINE,
    FREE,
    collect,
    connect,
    event,
    events_of,
    no_leaks,
    prediction,
    publisher,
    status,
    until,
)

pytestmark = pytest.mark.usefixtures("no_leaks")
__all__ = ["no_leaks"]


@contextmanager
def asking(endpoint: str | None, kind: int = zmq.REQ) -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(kind) as socket:
        socket.linger, socket.rcvtimeo = 0, 5000
        socket.connect(endpoint or "")
        yield socket


def ask(socket: zmq.Socket[bytes], **request: Any) -> dict[str, Any]:
    socket.send(wire.encode(request))
    return wire.decode(socket.recv())


# ---- the requests endpoint, as any program sees it


def test_events_after_a_number_and_since_a_time() -> None:
    validator = jsonschema.Draft202012Validator(wire.schema())
    with publisher() as bus, asking(bus.requests_endpoint) as socket:
        for number in range(10):
            bus.event(event(f"e{number}", camera=f"cam{number % 2}", label=f"l{number % 5}"))
        until(lambda: bus.state().last_event_seq == 10)
        reply = ask(socket, op="events", after=4)
        validator.validate(reply)
        assert ([e["seq"] for e in reply["events"]], reply["more"]) == ([5, 6, 7, 8, 9, 10], False)
        reply = ask(socket, op="events", after=0, limit=3, id="mine")
        assert ([e["seq"] for e in reply["events"]], reply["more"], reply["id"]) == ([1, 2, 3], True, "mine")
        assert [e["seq"] for e in ask(socket, op="events", after=0, camera="cam1", label="l3")["events"]] == [
            4
        ]
        assert len(ask(socket, op="events", since=0)["events"]) == 10
        assert ask(socket, op="events", since=9e9)["events"] == []
        first = ask(socket, op="events", after=9)["events"][0]
        assert first["event"]["published_at"] == first["sent_at"], "replayed as it was sent"


def test_a_snapshot_is_what_the_schema_says() -> None:
    with publisher() as bus, asking(bus.requests_endpoint) as socket:
        bus.status(status("a"))
        bus.event(event(camera="a"))
        bus.prediction(prediction("b"), None, 1)
        until(lambda: ask(socket, op="snapshot")["cameras"].get("b") is not None)
        reply = ask(socket, op="snapshot")
        jsonschema.Draft202012Validator(wire.schema()).validate(reply)
        assert reply["cameras"].keys() == {"a", "b"}


def test_several_kinds_of_clients_are_answered() -> None:
    with publisher() as bus, asking(bus.requests_endpoint, zmq.DEALER) as dealer:
        dealer.send(b'{"op":"snapshot"}')
        assert len(dealer.recv_multipart()) == 1, "no delimiter sent, none sent back"
        dealer.send_multipart([b"", b'{"op":"snapshot"}'])
        assert dealer.recv_multipart()[0] == b""


def test_there_may_be_no_requests_endpoint_and_another_one() -> None:
    with publisher(bus=BusConfig(bind=FREE, requests="")) as bus:
        assert bus.requests_endpoint is None
    with (
        publisher(bus=BusConfig(bind=FREE, requests=FREE)) as bus,
        Subscriber(bus.endpoint, since=0.0) as subscriber,
    ):
        bus.event(event())
        assert bus.requests_endpoint is not None
        assert events_of(collect(subscriber, lambda found: bool(events_of(found)))) == [1], (
            "found by the heartbeat"
        )


# ---- the subscriber, on real sockets


def test_a_late_subscriber_catches_up_and_goes_on_live(tmp_path: Path) -> None:
    with publisher(tmp_path / "h.db") as bus:
        for number in range(1200):  # more than two pages
            bus.event(event(f"e{number}"))
        with Subscriber(bus.endpoint, topics=["event/"], since=0.0) as subscriber:
            found = collect(subscriber, lambda found: len(found) >= 1200)
            bus.event(event("live"))
            found += collect(subscriber, lambda found: len(found) >= 1)
    assert events_of(found) == list(range(1, 1202))
    assert len(found) == 1201


def test_from_a_number_on(tmp_path: Path) -> None:
    with publisher(tmp_path / "h.db") as bus:
        for number in range(10):
            bus.event(event(f"e{number}"))
        until(lambda: bus.state().last_event_seq == 10, "all in the history")
        with Subscriber(bus.endpoint, topics=["event/"], since=("seq", 7)) as subscriber:
            assert events_of(collect(subscriber, lambda found: len(found) >= 3)) == [8, 9, 10]


def test_a_subscriber_that_is_restarted_goes_on_where_it_was(tmp_path: Path) -> None:
    found: list[int] = []
    position: Since = 0.0
    with publisher(tmp_path / "h.db") as bus:
        for part in range(5):
            with Subscriber(bus.endpoint, topics=["event/"], since=position) as subscriber:
                for number in range(20):
                    bus.event(event(f"{part}-{number}"))
                found += events_of(
                    collect(subscriber, lambda found: len(found) >= 7)
                )  # and leaves in the middle
                position = json.loads(json.dumps(subscriber.position))  # as a program would keep it
        with Subscriber(bus.endpoint, topics=["event/"], since=position) as subscriber:
            found += events_of(collect(subscriber, lambda more: len(found) + len(more) >= 100))
    assert found == list(range(1, 101))


def test_a_publisher_that_is_restarted_is_followed(tmp_path: Path) -> None:
    with publisher(tmp_path / "h.db") as bus:
        endpoint = bus.endpoint
        bus.event(event("a", Phase.END))
        subscriber = Subscriber(endpoint, topics=["event/"], since=0.0)
        found = collect(subscriber, lambda found: len(found) >= 1)
    with subscriber:
        for run in range(3):
            with publisher(tmp_path / "h.db", bus=BusConfig(bind=endpoint)) as bus:
                for number in range(5):  # sent before the subscriber can be back
                    bus.event(event(f"{run}-{number}", Phase.END))
                found += collect(subscriber, lambda found: len(found) >= 5)
    assert events_of(found) == list(range(1, 17))
    assert len(found) == 16, "no gaps told"


@pytest.mark.realtime
def test_what_the_network_loses_is_fetched(tmp_path: Path) -> None:
    """A reader that stops for a while loses live messages at the high-water mark; replay brings them."""
    with (
        publisher(tmp_path / "h.db", bus=BusConfig(bind=FREE, high_water_mark=2)) as bus,
        Subscriber(bus.endpoint, topics=["event/"], since=0.0, high_water_mark=1) as subscriber,
    ):
        connect(subscriber)
        for number in range(800):
            bus.event(event(f"e{number}", label="x" * 2000))
        until(lambda: bus.state().last_event_seq == 800)
        found = collect(subscriber, lambda found: len(found) >= 800)
    assert events_of(found) == list(range(1, 801))
    assert len(found) == 800


def test_what_expired_is_told_as_a_gap(tmp_path: Path) -> None:
    clock = FakeClock()
    config = JournalConfig(path=str(tmp_path / "h.db"), max_days=1)
    journal = Journal(config, "old", clock=clock)
    journal.append([wire.event_body(event(f"e{n}", Phase.END)) for n in range(10)])
    clock.advance(2 * 86400)
    journal.append([wire.event_body(event(f"f{n}", Phase.END)) for n in range(3)])
    journal.tidy()
    journal.close()
    with (
        publisher(tmp_path / "h.db") as bus,
        Subscriber(bus.endpoint, topics=["event/"], since=("seq", 4)) as subscriber,
    ):
        found = collect(subscriber, lambda found: len(found) >= 4)
    assert found[0] == Gap("event", 5, 10, "expired")
    assert events_of(found) == [11, 12, 13]


def test_without_requests_live_events_still_come_with_the_gap_told() -> None:
    with publisher(bus=BusConfig(bind=FREE, requests="")) as bus:
        for number in range(5):
            bus.event(event(f"e{number}"))
        until(lambda: bus.state().last_event_seq == 5)
        with Subscriber(bus.endpoint, topics=["event/"], since=("seq", 0)) as subscriber:
            found = collect(subscriber, lambda found: bool(found))
            bus.event(event("live"))
            found += collect(subscriber, lambda found: bool(found))
    assert found[0] == Gap("event", 1, 5, "no replay")
    assert events_of(found) == [6]


def test_replay_in_full_flow_does_not_hold_up_the_end(tmp_path: Path) -> None:
    import time

    with publisher(tmp_path / "h.db") as bus:
        for number in range(3000):
            bus.event(event(f"e{number}"))
        with Subscriber(bus.endpoint, topics=["event/"], since=0.0) as subscriber:
            collect(subscriber, lambda found: len(found) >= 10)
            began = time.monotonic()
            bus.close()
            assert time.monotonic() - began < DEADLINE


# ---- the protocol alone, against every mishap that can be thought of


class World:
    """A real history, the real answers, and a subscriber; the wires between them lose things."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, FakeClock()
        self.delivered: list[tuple[str, int]] = []
        self.told: list[Message] = []
        self.runs = self.beats = 0
        self.start(durable=True)
        self.follow = SubscriberProtocol(["event/"], Position.at(0.0), self.clock)

    def start(self, durable: bool) -> None:
        self.runs += 1
        session = f"run{self.runs}"
        path = str(self.folder / "h.db") if durable else ""
        self.journal = Journal(JournalConfig(path=path), session, clock=self.clock)
        self.session, self.began, self.durable = session, self.clock.wall(), durable
        self.requests = Requests(session, Present(), self.journal, self.clock, {}, lambda line: None)
        if durable:
            shutil.copy(self.folder / "h.db", self.folder / "at-start.db")
            shutil.copy(self.folder / "h.db-wal", self.folder / "at-start.db-wal")

    def restart(self, durable: bool) -> None:
        self.journal.close()
        self.clock.advance(2.0)
        self.start(durable)

    def power_cut(self) -> None:
        """What was written since the start is gone, and the numbers will be given out anew."""
        durable = self.durable
        self.journal.close()
        if durable:
            for ending in ("", "-wal"):
                shutil.copy(self.folder / f"at-start.db{ending}", self.folder / f"h.db{ending}")
            (self.folder / "h.db-shm").unlink(missing_ok=True)
        self.clock.advance(2.0)
        self.start(durable=True)

    def publish(self, arrives: bool) -> None:
        self.clock.advance(0.01)
        sent = self.journal.append([wire.event_body(event(f"e{self.journal.last}", Phase.END))])
        if arrives:
            self.take(self.follow.received([b"event/cam0/", sent[0][1]]))

    def beat(self) -> None:
        self.beats += 1
        extra = {"requests": "tcp://127.0.0.1:1", "journal": self.journal.id, "started_at": self.began}
        body = wire.heartbeat_body(self.journal.last, {}, extra)
        data = wire.encode(wire.stamp(body, self.session, self.beats, self.clock.wall()))
        self.take(self.follow.received([b"heartbeat/", data]))

    def pump(self, arrives: bool) -> bool:
        request = self.follow.request()
        if request is None:
            return False
        if arrives:
            self.take(self.follow.replied(self.requests.answer(request, Peer("", None, True))))
        return True

    def resume(self) -> None:
        """The subscriber's program is restarted with the position it saved."""
        self.follow = SubscriberProtocol(["event/"], self.follow.position or Position.at(0.0), self.clock)

    def settle(self) -> None:
        for _ in range(20):
            self.clock.advance(2.5)
            self.beat()
            while self.pump(True):
                pass

    def take(self, messages: list[Message]) -> None:
        self.told += [message for message in messages if isinstance(message, Gap)]
        self.delivered += [(m.session, m.seq) for m in messages if isinstance(m, EventMessage)]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.booleans()),
        st.tuples(st.just("publish"), st.booleans()),
        st.tuples(st.just("pump"), st.booleans()),
        st.tuples(st.just("beat"), st.just(None)),
        st.tuples(st.just("wait"), st.floats(0.1, 4.0)),
        st.tuples(st.just("restart"), st.booleans()),
        st.tuples(st.just("power_cut"), st.just(None)),
        st.tuples(st.just("resume"), st.just(None)),
    ),
    max_size=40,
)


def play(steps: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        world = World(Path(name))
        try:
            for step, how in steps:
                if step == "wait":
                    world.clock.advance(how)
                elif how is None:
                    getattr(world, step)()
                else:
                    getattr(world, step)(how)
            world.settle()
            final = [wire.decode(row.message) for row in world.journal.after(0, limit=5000).rows]
        finally:
            world.journal.close()
    assert len(world.delivered) == len(set(world.delivered)), "an event came twice"
    delivered = set(world.delivered)
    missing = [(m["session"], m["seq"]) for m in final if (m["session"], m["seq"]) not in delivered]
    assert not missing, "an event of the history never came"
    for session in {session for session, _ in world.delivered}:
        numbers = [seq for theirs, seq in world.delivered if theirs == session]
        assert numbers == sorted(numbers), "events came out of order"


@pytest.mark.realtime
@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_nothing_is_missed_and_nothing_comes_twice(steps: list[tuple[str, Any]]) -> None:
    play(steps)


@pytest.mark.soak
@settings(max_examples=20_000, deadline=None)
@given(STEPS)
def test_nothing_is_missed_and_nothing_comes_twice_at_length(steps: list[tuple[str, Any]]) -> None:
    play(steps)


def test_an_endpoint_that_never_answers_does_not_hold_back_live_events_for_ever() -> None:
    with tempfile.TemporaryDirectory() as name:
        world = World(Path(name))
        world.publish(True)
        for _ in range(12):
            world.clock.advance(1)
            world.beat()
            world.pump(False)
            world.take(world.follow.given_up())
        world.journal.close()
    assert world.delivered == [("run1", 1)]


def test_an_answer_that_is_given_up_is_said_to_whoever_waits_and_ends_nothing() -> None:
    given_up: Future[Any] = Future()
    given_up.cancel()
    told = wire.decode(Pending("scores", given_up, {"id": 7}).answer())
    assert (told["type"], told["code"], told["id"]) == ("error", "failed", 7)
