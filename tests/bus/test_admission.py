"""Who may connect where no keys are set: real ZeroMQ clients, and nothing that only looks like one."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from streamer.bus import Publisher, Subscriber
from streamer.bus.requests import Peer
from tests.helpers.bus_parts import DEADLINE, collect, event, no_leaks, publisher, until

pytestmark = pytest.mark.usefixtures("no_leaks")
__all__ = ["no_leaks"]

REQUEST = json.dumps({"op": "labels", "labels": ["anything"]}).encode()
GREETING = b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f"


class Bus:
    """A publisher without keys, and the requests that reached its operation `labels`."""

    def __init__(self) -> None:
        self.reached: list[Any] = []
        self.lines: list[str] = []
        handlers = {"labels": self._labels}
        self.publisher: Publisher = publisher(handlers=handlers, on_problem=self.lines.append)

    def _labels(self, request: Any, peer: Peer) -> dict[str, Any]:
        self.reached.append(request)
        return {}

    @property
    def ports(self) -> tuple[int, int]:
        endpoints = self.publisher.endpoint, self.publisher.requests_endpoint or ""
        publish, requests = (int(endpoint.rsplit(":", 1)[1]) for endpoint in endpoints)
        return publish, requests

    def still_serves(self) -> None:
        """A real client gets answers, and only its own request arrives."""
        with Subscriber(self.publisher.endpoint, topics=["event/"], since=0.0) as subscriber:
            assert subscriber.request("labels", labels=["mine"], timeout=DEADLINE)["type"] == "labels"
            assert collect(subscriber, lambda found: len(found) >= 1)
        assert [request["labels"] for request in self.reached] == [["mine"]]


@pytest.fixture
def bus() -> Iterator[Bus]:
    made = Bus()
    with made.publisher:
        made.publisher.event(event())
        yield made


def body_for(port: int) -> bytes:
    """A body whose last bytes libzmq reads as a frame of its own, if it takes the whole POST for ZMTP 1.

    There the first byte of each frame is its length. The page knows the browser's headers, and pads.
    """
    for padding in range(300):
        body = b" " * padding + bytes([len(REQUEST) + 1, 0]) + REQUEST
        sent = sent_by(port, body)
        at, end = 0, len(sent) - len(REQUEST) - 2
        while at < end and sent[at] not in (0, 0xFF):
            at += 1 + sent[at]
        if at == end:
            return body
    raise AssertionError("no padding fits")


def post(port: int, body: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        connection.request("POST", "/", body, {"Content-Type": "text/plain", "Origin": "http://evil.example"})
        connection.getresponse()
    except (http.client.HTTPException, OSError):
        pass  # no answer in HTTP, as it should be
    else:
        raise AssertionError("the bus answered in HTTP")
    finally:
        connection.close()


def sent_by(port: int, body: bytes) -> bytes:
    """What `post` sends, byte for byte."""
    whole = b""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: _post_as(server.getsockname()[1], port, body))
        thread.start()
        client, _ = server.accept()
        with client:
            while not whole.endswith(body) or b"\r\n\r\n" not in whole:
                whole += client.recv(65536)
        thread.join()
    return whole


def _post_as(to: int, port: int, body: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", to, timeout=DEADLINE)
    headers = {"Host": f"127.0.0.1:{port}", "Content-Type": "text/plain", "Origin": "http://evil.example"}
    try:
        connection.request("POST", "/", body, headers)
        connection.getresponse()
    except (http.client.HTTPException, OSError):
        pass
    finally:
        connection.close()


@pytest.mark.parametrize("which", [0, 1])
def test_a_web_page_cannot_run_requests_and_real_clients_are_served(bus: Bus, which: int) -> None:
    port = bus.ports[which]
    body = body_for(port)
    for _ in range(3):
        post(port, body)
    bus.still_serves()


@pytest.mark.parametrize(
    "greeting",
    [
        b"\x01\x00" + bytes([len(REQUEST) + 1, 0]) + REQUEST,  # ZMTP 1.0: an empty identity, then a frame
        GREETING
        + b"\x00\x05"
        + b"\x01\x00"
        + bytes([len(REQUEST) + 1, 0])
        + REQUEST,  # revision 0: 1.0 again
        GREETING + b"\x01\x05" + b"\x00\x00" + bytes([0, len(REQUEST)]) + REQUEST,  # revision 1: ZMTP 2.0
    ],
)
def test_protocols_older_than_zmtp_3_are_turned_away(bus: Bus, greeting: bytes) -> None:
    with socket.create_connection(("127.0.0.1", bus.ports[1]), timeout=DEADLINE) as stranger:
        stranger.sendall(greeting)
        try:
            while stranger.recv(4096):
                pass
        except ConnectionError:
            pass  # closed, one way or the other
    bus.still_serves()


@pytest.mark.parametrize("mechanism", ["PLAIN", "CURVE"])
def test_another_mechanism_is_refused_and_counted(bus: Bus, mechanism: str) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as client:
        client.linger = 0
        if mechanism == "PLAIN":
            client.plain_username, client.plain_password = b"somebody", b"secret"
        else:
            client.curve_publickey, client.curve_secretkey = zmq.curve_keypair()
            client.curve_serverkey = zmq.curve_keypair()[0]
        client.connect(bus.publisher.requests_endpoint or "")
        until(lambda: bus.publisher.state().refused >= 1, "the refusal is counted")
    bus.still_serves()
    assert len(bus.lines) <= 1, "none where the client closes first"
    assert "secret" not in "".join(bus.lines)
