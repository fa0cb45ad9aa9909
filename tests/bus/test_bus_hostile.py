"""What arrives from outside is never trusted: the requests endpoint answers or ignores, and lives on."""

from __future__ import annotations

import json
import os
import socket as sockets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psutil
import pytest
import zmq
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from streamer.bus import Publisher, Subscriber, wire
from streamer.bus.requests import MAX_REQUEST, Peer, RequestError
from tests.helpers.bus_parts import DEADLINE, collect, connect, event, events_of, no_leaks, publisher, until

pytestmark = pytest.mark.usefixtures("no_leaks")
__all__ = ["no_leaks"]


@contextmanager
def dealer(endpoint: str | None) -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger, socket.rcvtimeo, socket.sndtimeo = 0, int(1000 * DEADLINE), int(1000 * DEADLINE)
        socket.connect(endpoint or "")
        yield socket


def answer(socket: zmq.Socket[bytes], data: bytes) -> dict[str, Any]:
    socket.send(data)
    return wire.decode(socket.recv())


def alive(bus: Publisher) -> bool:
    with dealer(bus.requests_endpoint) as socket:
        return answer(socket, b'{"op":"snapshot"}')["type"] == "snapshot"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "bad_json"),
        (b"hello", "bad_json"),
        (b"\xff\xfe\x00", "bad_json"),
        (b"[1,2]", "bad_json"),
        (b"null", "bad_json"),
        (b'{"op":NaN}', "bad_json"),
        (b"[" * 60_000, "bad_json"),
        (b'{"op":' * 10_000, "bad_json"),
        (b'{"op":"events","after":' + b"9" * 60_000 + b"}", "bad_json"),
        (b"{}", "unknown_op"),
        (b'{"op":"dance"}', "unknown_op"),
        (b'{"op":["events"]}', "unknown_op"),
        (b'{"op":{"a":1}}', "unknown_op"),
        (b'{"op":"events"}', "bad_request"),
        (b'{"op":"events","after":"5"}', "bad_request"),
        (b'{"op":"events","after":true}', "bad_request"),
        (b'{"op":"events","after":-1}', "bad_request"),
        (b'{"op":"events","after":1.5}', "bad_request"),
        (b'{"op":"events","after":99999999999999999999}', "bad_request"),
        (b'{"op":"events","after":0,"limit":0}', "bad_request"),
        (b'{"op":"events","after":0,"limit":5001}', "bad_request"),
        (b'{"op":"events","after":0,"camera":5}', "bad_request"),
        (b'{"op":"events","after":0,"label":[]}', "bad_request"),
        (b'{"op":"events","after":0,"session":{}}', "bad_request"),
        (b'{"op":"events","since":"now"}', "bad_request"),
        (b'{"op":"events","since":1e999}', "bad_json"),
        (b'{"op":"events","since":null}', "bad_request"),
        (b" " * (MAX_REQUEST + 1), "too_large"),
        (b"x" * 1_000_000, "too_large"),
    ],
)
def test_each_bad_request_gets_an_error_with_its_code(shared: Publisher, data: bytes, code: str) -> None:
    with dealer(shared.requests_endpoint) as socket:
        reply = answer(socket, data)
        assert (reply["type"], reply["code"]) == ("error", code)
        assert "\n" not in reply["message"]
        assert len(reply["message"]) < 300
        assert answer(socket, b'{"op":"snapshot","id":1}')["id"] == 1, "the connection can go on being used"


@pytest.fixture(scope="module")
def shared() -> Iterator[Publisher]:
    with publisher() as bus:
        bus.event(event())
        yield bus


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


def loosely(value: object) -> bytes:
    """As Python writes it: NaN, Infinity and half surrogate pairs included."""
    return json.dumps(value).encode()


REQUESTS = st.one_of(
    st.binary(max_size=300),
    JSON.map(loosely),
    st.fixed_dictionaries(
        {"op": st.sampled_from(["events", "snapshot", "labels", ""]) | JSON},
        optional=dict.fromkeys(("after", "since", "camera", "label", "limit", "session", "id"), JSON),
    ).map(loosely),
    st.fixed_dictionaries(
        {"op": st.just("events"), "after": st.integers(0, 5)},
        optional={"limit": st.integers(-2, 6000), "camera": st.text(max_size=5), "id": JSON},
    ).map(loosely),
)


def answers_always(bus: Publisher, data: bytes) -> None:
    with dealer(bus.requests_endpoint) as socket:
        assert answer(socket, data)["type"] in ("events", "snapshot", "error")


@pytest.mark.realtime
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(b'{"op":"events","after":0,"camera":"\\ud800"}')
@example(b'{"op":"\\ud800","id":"\\ud800"}')
@example(b'{"op":"events","after":0,"id":' + b"9" * 4000 + b"}")
@example(b'{"op":"events","since":-1e308}')
@given(REQUESTS)
def test_whatever_is_asked_is_answered(shared: Publisher, data: bytes) -> None:
    answers_always(shared, data)


SERVER = """
import sys
from streamer.bus import Publisher
from streamer.config import BusConfig, JournalConfig
with Publisher(BusConfig(bind="tcp://127.0.0.1:0"), JournalConfig(path="")) as bus:
    print(bus.requests_endpoint, flush=True)
    sys.stdin.read()
"""


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_100_000_random_requests() -> None:
    """The publisher is a process of its own, so that its memory can be told from the fuzzer's."""
    words = [sys.executable, "-c", SERVER]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        endpoint = server.stdout.readline().strip()
        memory = psutil.Process(server.pid).memory_info
        with dealer(endpoint) as socket:

            def ask(data: bytes) -> None:
                assert answer(socket, data)["type"] in ("events", "snapshot", "error")

            settings(max_examples=2_000, database=None, deadline=None)(given(REQUESTS)(ask))()
            before = memory().rss
            settings(max_examples=100_000, database=None, deadline=None)(given(REQUESTS)(ask))()
            grown = (memory().rss - before) / 1e6
            assert answer(socket, b'{"op":"snapshot"}')["type"] == "snapshot"
    print(f"the publisher's memory grew by {grown:.1f} MB")
    assert grown < 5


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([b""] * 50 + [b'{"op":"snapshot"}'])
@example([b"x" * 5000, b"", b'{"op":"snapshot"}'])
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=12))
def test_envelopes_of_every_shape_are_survived(shared: Publisher, parts: list[bytes]) -> None:
    with dealer(shared.requests_endpoint) as socket:
        socket.send_multipart(parts)
        socket.recv_multipart()


def test_subscriptions_of_every_shape_are_survived(shared: Publisher) -> None:
    with zmq.Context() as context, context.socket(zmq.XSUB) as socket:
        socket.linger = 0
        socket.connect(shared.endpoint)
        for data in (
            b"",
            b"\x01",
            b"\x00",
            b"\x02hello",
            b"\x01" + b"x" * 3000,
            b"\x01" + b"y" * 100_000,
            os.urandom(50),
        ):
            socket.send(data)
        for number in range(2000):
            socket.send(b"\x01topic%d" % number)
    assert alive(shared)


def test_what_is_not_zeromq_at_all_is_survived() -> None:
    with publisher() as bus:
        for endpoint in (bus.endpoint, bus.requests_endpoint or ""):
            host, port = endpoint.removeprefix("tcp://").split(":")
            for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\xff" * 2000, b"", os.urandom(500)):
                with sockets.create_connection((host, int(port)), timeout=DEADLINE) as raw:
                    raw.sendall(data)
        assert alive(bus)
        until(lambda: bus.state().subscribers == 0)


def test_megabytes_end_the_connection_not_the_server() -> None:
    with publisher() as bus:
        with dealer(bus.requests_endpoint) as socket:
            socket.rcvtimeo = 300
            socket.send(b"x" * 20_000_000)
            with pytest.raises(zmq.Again):
                socket.recv()
        assert alive(bus)


def test_a_client_that_asks_and_never_reads_is_bounded() -> None:
    with publisher() as bus:
        for number in range(2000):
            bus.event(event(f"e{number}", label="x" * 500))
        until(lambda: bus.state().last_event_seq == 2000)
        with dealer(bus.requests_endpoint) as greedy, dealer(bus.requests_endpoint) as honest:
            greedy.setsockopt(zmq.RCVHWM, 1)
            greedy.sndtimeo = 200
            before = psutil.Process().memory_info().rss
            for _ in range(300):
                try:
                    greedy.send(b'{"op":"events","after":0,"limit":2000}')  # about a megabyte each
                except zmq.Again:
                    break
            assert answer(honest, b'{"op":"snapshot"}')["type"] == "snapshot", "others are answered meanwhile"
            grown = (psutil.Process().memory_info().rss - before) / 1e6
            assert grown < 120, f"{grown:.0f} MB for 300 MB of answers"


def test_a_flood_of_requests_does_not_stop_the_messages() -> None:
    stop = threading.Event()

    def flood(endpoint: str | None) -> None:
        with dealer(endpoint) as socket:
            socket.sndtimeo = 100
            while not stop.is_set():
                try:
                    socket.send(b'{"op":"snapshot"}')
                except zmq.Again:
                    continue

    with publisher() as bus, Subscriber(bus.endpoint, topics=["event/"]) as subscriber:
        connect(subscriber)

        def median_latency() -> float:
            latencies = []
            for number in range(30):
                began = time.monotonic()
                bus.event(event(f"e{number}"))
                assert events_of(collect(subscriber, lambda found: bool(found)))
                latencies.append(time.monotonic() - began)
            return sorted(latencies)[15]

        quiet = median_latency()
        flooding = threading.Thread(target=flood, args=[bus.requests_endpoint])
        flooding.start()
        try:
            flooded = median_latency()
        finally:
            stop.set()
            flooding.join()
    assert flooded < max(0.5, 20 * quiet)


def test_an_added_operation_gets_the_request_and_who_asks() -> None:
    seen: list[tuple[Mapping[str, Any], Peer]] = []

    def labels(request: Mapping[str, Any], peer: Peer) -> Mapping[str, Any]:
        seen.append((request, peer))
        if "set" not in request:
            raise RequestError("bad_request", "'set' is missing")
        return {"labels": request["set"]}

    lines: list[str] = []
    handlers = {
        "labels": labels,
        "broken": lambda request, peer: 1 / 0,
        "nan": lambda request, peer: {"x": float("nan")},
    }
    with (
        publisher(handlers=handlers, on_problem=lines.append) as bus,
        dealer(bus.requests_endpoint) as socket,
    ):
        assert answer(socket, b'{"op":"labels","set":["a"],"id":7}') == {
            "v": 1,
            "type": "labels",
            "labels": ["a"],
            "id": 7,
        }
        assert answer(socket, b'{"op":"labels"}')["code"] == "bad_request"
        for _ in range(3):
            assert answer(socket, b'{"op":"broken"}')["code"] == "failed"
        assert answer(socket, b'{"op":"nan"}')["code"] == "failed"
        assert "labels" in answer(socket, b'{"op":"what"}')["message"], "an unknown op is told what there is"
    assert seen[0][1].local
    assert seen[0][1].key is None
    assert seen[0][1].address == "127.0.0.1"
    assert [line for line in lines if "broken" in line] == [
        "the answer to op 'broken' failed: ZeroDivisionError: division by zero"
    ]
