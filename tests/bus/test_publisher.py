"""The publisher: what it sends, when, and that nothing its readers do disturbs the program."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import zmq

from streamer.bus import Publisher, Subscriber, wire
from streamer.bus.bus_loop import REPEAT
from streamer.bus.publisher_sockets import PublisherSockets
from streamer.config import BusConfig, JournalConfig
from streamer.errors import BusError
from streamer.testing import FakeClock
from streamer.types import CameraState, LabelScore, Phase
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


class Kept:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Mapping[str, Any]]] = []

    def send(self, topic: str, message: Mapping[str, Any]) -> None:
        self.got.append((topic, message))

    def of(self, kind: str) -> list[Mapping[str, Any]]:
        return [message for _, message in self.got if message["type"] == kind]


def raw_subscriber(context: zmq.Context[Any], endpoint: str, topic: bytes = b"") -> zmq.Socket[bytes]:
    """What a program in any language has: a SUB socket, and no code of ours."""
    socket: zmq.Socket[bytes] = context.socket(zmq.SUB)
    socket.linger, socket.rcvtimeo = 0, 5000
    socket.subscribe(topic)
    socket.connect(endpoint)
    return socket


def test_real_traffic_is_what_the_schema_says() -> None:
    validator = jsonschema.Draft202012Validator(wire.schema())
    with publisher() as bus, zmq.Context() as context, raw_subscriber(context, bus.endpoint) as socket:
        topic, data = socket.recv_multipart()
        assert topic == b"heartbeat/", "a newcomer is greeted at once"
        bus.status(status("a/b", fps=15.0))
        bus.prediction(prediction("a/b"), LabelScore("waving", 0.7), 5)
        for phase in Phase:
            bus.event(event(phase=phase, camera="a/b"))
        seen: dict[bytes, int] = {}
        while seen.get(b"event/a%2Fb/", 0) < 3:
            topic, data = socket.recv_multipart()
            message = wire.decode(data)
            validator.validate(message)
            assert topic.decode() == wire.topic_of(message)
            seen[topic] = seen.get(topic, 0) + 1
        assert seen.keys() >= {b"status/a%2Fb/", b"prediction/a%2Fb/", b"event/a%2Fb/"}
        assert message["camera"] == "a/b", "the message holds the true name"


def test_numbers_grow_by_one_per_kind_and_the_latency_is_measured_at_sending() -> None:
    sink = Kept()
    with publisher(sinks=[sink]) as bus:
        for number in range(5):
            bus.prediction(prediction(number=number), None, 2)
            bus.event(event(f"e{number}"))
    for kind in ("prediction", "event"):
        assert [message["seq"] for message in sink.of(kind)] == [1, 2, 3, 4, 5]
    assert {message["session"] for _, message in sink.got} == {bus.state().session}
    assert all(0 < message["latency_ms"]["capture_to_publish"] < 5000 for message in sink.of("prediction"))
    order = [message["type"] for _, message in sink.got if message["type"] != "heartbeat"]
    assert order == ["prediction", "event"] * 5, "messages leave in the order in which they were given"


def test_each_start_has_a_session_of_its_own() -> None:
    with publisher() as first, publisher() as second:
        assert first.state().session != second.state().session


def test_a_port_of_zero_takes_a_free_one_and_says_which() -> None:
    with publisher() as bus:
        port = int(bus.endpoint.rsplit(":", 1)[1])
        assert port > 0
        assert bus.requests_endpoint == f"tcp://127.0.0.1:{port + 1}", "where readers look first"


def test_a_port_in_use_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    with publisher() as bus:
        taken = publisher(bus=BusConfig(bind=bus.endpoint))
        with pytest.raises(BusError, match=r"in use.*--bind tcp://127.0.0.1:0") as caught:
            taken.__enter__()
        assert bus.endpoint in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "bind", ["nonsense", "udp://127.0.0.1:1", "tcp://127.0.0.1", "tcp://127.0.0.1:70000", "ipc://"]
)
def test_what_is_no_endpoint_is_refused(bind: str) -> None:
    with pytest.raises(BusError, match="no endpoint"):
        publisher(bus=BusConfig(bind=bind)).__enter__()


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(BusError, match="no such address"):
        publisher(bus=BusConfig(bind="tcp://203.0.113.7:0", insecure_bind=True)).__enter__()


@pytest.mark.skipif(not zmq.has("ipc"), reason="this system has no ipc sockets")
def test_ipc_works_and_does_not_take_a_path_from_its_owner(tmp_path: Path) -> None:
    bind = f"ipc://{tmp_path}/bus"
    with publisher(bus=BusConfig(bind=bind)) as bus, Subscriber(bind, since=0.0) as subscriber:
        bus.event(event())
        collect(subscriber, lambda found: any(m.type == "event" for m in found))
        assert bus.requests_endpoint == f"{bind}-requests"
        with pytest.raises(BusError, match="another program listens there"):
            publisher(bus=BusConfig(bind=bind)).__enter__()


def test_a_repeated_status_does_not_overtake_the_events_before_it() -> None:
    clock, sink = FakeClock(), Kept()
    with publisher(sinks=[sink], clock=clock) as bus:
        for number in range(500):  # many more than leave at once
            bus.event(event(f"e{number}"))
        bus.status(status())
        clock.advance(REPEAT)
        until(lambda: len(sink.of("event")) == 500 and len(sink.of("status")) > 0)
    kinds = [message["type"] for _, message in sink.got if message["type"] in ("event", "status")]
    assert kinds[:501] == ["event"] * 500 + ["status"]


@pytest.mark.realtime
def test_heartbeats_and_repeated_statuses_follow_the_clock() -> None:
    clock, sink = FakeClock(), Kept()
    with publisher(sinks=[sink], clock=clock) as bus:
        bus.status(status(fps=10.0))
        until(lambda: len(sink.of("status")) == 1 and len(sink.of("heartbeat")) == 1)
        bus.status(status(fps=11.0))  # nothing of note changed: not sent at once
        bus.event(event())
        until(lambda: len(sink.of("event")) == 1)
        assert len(sink.of("status")) == 1
        for beats in range(2, 7):
            clock.advance(1.0)
            until(lambda beats=beats: len(sink.of("heartbeat")) >= beats)
        until(lambda: len(sink.of("status")) == 2)
        assert sink.of("status")[-1]["fps"] == 11.0, "the repetition has the newest numbers"
        assert sink.of("heartbeat")[-1]["last_event_seq"] == 1
        assert sink.of("heartbeat")[-1]["cameras"] == {"cam0": "running"}


def test_a_change_of_state_goes_out_at_once() -> None:
    sink = Kept()
    with publisher(sinks=[sink], clock=FakeClock()) as bus:
        for state in (CameraState.CONNECTING, CameraState.RUNNING, CameraState.RUNNING, CameraState.STALLED):
            bus.status(status(state=state))
        until(lambda: len(sink.of("status")) == 3)
    assert [message["state"] for message in sink.of("status")] == ["connecting", "running", "stalled"]


def test_without_a_bus_messages_still_reach_sinks_and_history(tmp_path: Path) -> None:
    sink = Kept()
    with publisher(tmp_path / "h.db", bus=BusConfig(bind=""), sinks=[sink]) as bus:
        bus.event(event())
        bus.prediction(prediction(), None, 1)
        assert bus.endpoint == ""
    assert len(sink.of("event")) == len(sink.of("prediction")) == 1
    with publisher(tmp_path / "h.db", bus=BusConfig(bind="")) as again:
        until(lambda: again.state().last_event_seq == 2, "the open event is closed by the next run")


class Stuck:
    """A sink that blocks, as a terminal does after Ctrl+S."""

    def __init__(self) -> None:
        self.entered, self.go = threading.Event(), threading.Event()

    def send(self, topic: str, message: Mapping[str, Any]) -> None:
        self.entered.set()
        self.go.wait(30)


class Broken:
    calls = 0

    def send(self, topic: str, message: Mapping[str, Any]) -> None:
        self.calls += 1
        raise RuntimeError("the printer is out of ink")


def test_a_sink_that_raises_is_reported_once_and_isolated() -> None:
    lines: list[str] = []
    broken, kept = Broken(), Kept()
    with publisher(sinks=[broken, kept], on_problem=lines.append) as bus:
        for number in range(10):
            bus.event(event(f"e{number}"))
        until(lambda: len(kept.of("event")) == 10)
    assert broken.calls == 1
    assert lines == ["Broken failed and gets nothing more: RuntimeError: the printer is out of ink"]


def test_a_sink_that_blocks_holds_up_nobody() -> None:
    stuck, kept, lines = Stuck(), Kept(), []
    with publisher(sinks=[stuck, kept], on_problem=lines.append) as bus:
        for number in range(1000):
            bus.prediction(prediction(number=number), None, 1)
        bus.event(event())
        assert stuck.entered.wait(DEADLINE)
        until(lambda: len(kept.of("event")) == 1)
        began = time.monotonic()
        bus.close()
        took = time.monotonic() - began
        stuck.go.set()
    assert took < DEADLINE
    assert any("blocks" in line for line in lines)


def test_predictions_are_dropped_oldest_first_and_events_never() -> None:
    """The bus thread is kept busy by a request that takes long, so that everything has to wait."""
    entered, go, kept = threading.Event(), threading.Event(), Kept()

    def slow(request: Mapping[str, Any], peer: object) -> dict[str, Any]:
        entered.set()
        go.wait(20)
        return {}

    with publisher(sinks=[kept], handlers={"slow": slow}) as bus, Subscriber(bus.endpoint) as subscriber:
        connect(subscriber)
        asking = threading.Thread(target=lambda: _ask_slow(bus))
        asking.start()
        assert entered.wait(DEADLINE)
        began = time.monotonic()
        for number in range(1000):
            bus.prediction(prediction(number=number), None, 1)
            bus.event(event(f"e{number}"))
        assert time.monotonic() - began < 10, "publishing never blocks"
        go.set()
        until(lambda: len(kept.of("event")) == 1000)
        asking.join()
    ids = [message["window"]["id"] for message in kept.of("prediction")]
    assert ids[-1] == 999
    assert bus.state().dropped > 0
    assert len(ids) + bus.state().dropped + _dropped(bus) == 1000


def _ask_slow(bus: Publisher) -> None:
    with Subscriber(bus.endpoint) as subscriber:
        subscriber.request("slow", timeout=20)


def _dropped(bus: Publisher) -> int:
    assert bus._thread is not None
    return sum(sink.dropped for sink in bus._thread._setup.sinks)


def test_complete_publishing_waits_instead_of_dropping() -> None:
    class Slow(Kept):
        def send(self, topic: str, message: Mapping[str, Any]) -> None:
            threading.Event().wait(0.0003)
            super().send(topic, message)

    sink = Slow()
    with publisher(sinks=[sink], complete=True) as bus:
        for number in range(1500):
            bus.prediction(prediction(number=number), None, 1)
        bus.close(threading.Event())  # a regular end waits for its readers
    assert [message["window"]["id"] for message in sink.of("prediction")] == list(range(1500))


def test_what_no_message_can_carry_is_reported_once_and_does_not_stop_the_rest() -> None:
    lines: list[str] = []
    sink = Kept()
    with publisher(sinks=[sink], on_problem=lines.append) as bus:
        for _ in range(3):
            bus.prediction(prediction(score=float("nan")), None, 1)
        bus.prediction(prediction(), None, 1)
    assert len(sink.of("prediction")) == 1
    assert len(lines) == 1
    assert "cannot be published" in lines[0]


def test_many_threads_may_publish_at_once() -> None:
    sink = Kept()
    with publisher(sinks=[sink]) as bus:
        threads = [
            threading.Thread(
                target=lambda n=n: [bus.event(event(f"{n}-{i}", camera=f"cam{n}")) for i in range(50)]
            )
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [message["seq"] for message in sink.of("event")] == list(range(1, 401))
    for n in range(8):
        mine = [m["event"]["id"] for m in sink.of("event") if m["camera"] == f"cam{n}"]
        assert mine == [f"{n}-{i}" for i in range(50)], "one caller's events keep their order"


def test_subscribers_are_counted_as_they_come_and_go() -> None:
    with publisher() as bus:
        with Subscriber(bus.endpoint), Subscriber(bus.endpoint):
            until(lambda: bus.state().subscribers == 2)
        until(lambda: bus.state().subscribers == 0)


@pytest.mark.realtime
def test_a_reader_that_never_reads_slows_nobody_and_costs_bounded_memory() -> None:
    import psutil

    with publisher() as bus, zmq.Context() as context, raw_subscriber(context, bus.endpoint, b"prediction/"):
        until(lambda: bus.state().subscribers == 1)
        with Subscriber(bus.endpoint, topics=["event/"], since=0.0) as healthy:
            connect(healthy)
            value = prediction(camera="x" * 60)
            before = 0
            for number in range(12_000):  # about 6 MB of messages
                bus.prediction(value, None, 2)
                if number % 100 == 0:
                    bus.event(event(f"e{number}"))
                    collect(healthy, lambda found: len(found) >= 1)
                if number == 4000:
                    before = psutil.Process().memory_info().rss
            grown = psutil.Process().memory_info().rss - before
    assert grown < 4_000_000, f"{grown / 1e6:.1f} MB grown"


def test_closing_sends_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    # the limits of the end suit a machine that has time; a starved one is not what this test is about
    for limit in ("bus_loop.FLUSH", "publisher.CLOSE_TIMEOUT"):
        monkeypatch.setattr(f"streamer.bus.{limit}", DEADLINE)
    for module in ("bus_loop", "publisher_sockets"):
        monkeypatch.setattr(f"streamer.bus.{module}.LINGER", int(DEADLINE * 1000))
    topics = ["event/", "heartbeat/"]
    roomy = BusConfig(bind=FREE, high_water_mark=1000)  # nothing is dropped, however starved it is
    with (
        publisher(bus=roomy) as bus,
        Subscriber(bus.endpoint, topics=topics, high_water_mark=1000) as subscriber,
    ):
        assert subscriber.receive(DEADLINE) is not None  # a heartbeat: the subscriptions have arrived
        for number in range(200):
            bus.event(event(f"e{number}"))
        bus.close()
        found = collect(subscriber, lambda found: len(events_of(found)) >= 200)
    assert events_of(found) == list(range(1, 201))


def test_a_burst_before_the_end_leaves_in_parts_that_any_reader_has_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After each part ZeroMQ's thread gets its turn: what leaves all at once is dropped for being late."""
    happened: list[str] = []
    send = PublisherSockets.send

    class Poller(zmq.Poller):
        def poll(self, timeout: float | None = None) -> Any:
            happened.append("pause")
            return super().poll(timeout)

    class Never(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            happened.append("pause")
            return super().wait(timeout)

    def sent(self: PublisherSockets, topic: str, data: bytes) -> None:
        happened.append("event" if topic.startswith("event/") else "other")
        send(self, topic, data)

    monkeypatch.setattr(zmq, "Poller", Poller)
    monkeypatch.setattr(PublisherSockets, "send", sent)
    monkeypatch.setattr("streamer.bus.bus_loop.FLUSH", DEADLINE)
    monkeypatch.setattr("streamer.bus.publisher.CLOSE_TIMEOUT", DEADLINE)
    with publisher(bus=BusConfig(bind=FREE, high_water_mark=30)) as bus:
        assert bus._thread is not None
        bus._thread._never = Never()
        for number in range(200):
            bus.event(event(f"e{number}"))
        bus.close()
    parts = "".join({"pause": " ", "event": "e", "other": ""}[what] for what in happened).split()
    assert sum(map(len, parts)) == 200
    assert max(map(len, parts)) <= 15, "half of the high-water mark"


def test_a_publisher_is_used_once_and_only_while_open() -> None:
    bus = publisher()
    with pytest.raises(BusError, match="not open"):
        bus.event(event())
    with bus:
        pass
    bus.close()
    bus.event(event())  # after the end: ignored, a late camera must not crash
    with pytest.raises(BusError, match="once"):
        bus.__enter__()


def test_nothing_is_published_to_the_network_unasked() -> None:
    for bind in ("tcp://0.0.0.0:0", "tcp://*:0", "tcp://192.168.1.5:5555", "tcp://[::]:5555"):
        with pytest.raises(BusError, match="--insecure-bind"):
            Publisher(BusConfig(bind=bind), JournalConfig(path="")).__enter__()
    with pytest.raises(BusError, match="--insecure-bind"):
        Publisher(BusConfig(bind=FREE, requests="tcp://0.0.0.0:0"), JournalConfig(path="")).__enter__()
    with Publisher(BusConfig(bind="tcp://0.0.0.0:0", insecure_bind=True), JournalConfig(path="")) as bus:
        assert bus.endpoint.startswith("tcp://0.0.0.0:")
