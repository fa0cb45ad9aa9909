"""A publisher that wishes its subscribers ill: real sockets that send what breaks the contract."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import zmq

from streamer.bus import wire
from streamer.types import Phase
from tests.helpers.bus_parts import DEADLINE, event, prediction, status

BIG = b"9" * 400
GOOD: dict[str, bytes] = {
    body["type"]: wire.encode(wire.stamp(body, "s", 1, time.time()))
    for body in (
        wire.prediction_body(prediction(), None, 2),
        wire.event_body(event()),
        wire.status_body(status(), 0.0),
        wire.heartbeat_body(0, {"cam0": "running"}, {"journal": "j", "started_at": 1.0, "requests": None}),
        wire.preview_body("cam0", b"jpeg", 2, 2),
    )
}
NUMBERS = (BIG, b"-" + BIG, b"1e999", b"-1e999", b"NaN", b"Infinity", b"1e300", b"-1", b"true", b"null")
VALUES = (*NUMBERS, b"[]", b"{}", b'"x"', b"[" * 5000 + b"]" * 5000)


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The place of every value inside a message."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from leaves(inner, (*path, key))


def replaced(data: bytes, path: tuple[str | int, ...], new: bytes) -> bytes:
    """The same message with other JSON at one place."""
    whole = json.loads(data)
    place = whole
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = "@@@"
    return json.dumps(whole).encode().replace(b'"@@@"', new)


def hostile() -> Iterator[bytes]:
    for data in GOOD.values():
        for path in leaves(json.loads(data)):
            yield from (replaced(data, path, new) for new in VALUES)
    yield from (b"", b"{", b"null", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b'{"type":[]}')


MESSAGES = list(hostile())


class Hostile:
    """A publisher's endpoints, held by somebody else. `reply` is what requests get."""

    def __init__(self, reply: bytes = b"[]") -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self.pub, self.router = self.context.socket(zmq.XPUB), self.context.socket(zmq.ROUTER)
        self.pub.sndhwm = 0
        self.endpoint = f"tcp://127.0.0.1:{self.pub.bind_to_random_port('tcp://127.0.0.1')}"
        self.requests = f"tcp://127.0.0.1:{self.router.bind_to_random_port('tcp://127.0.0.1')}"
        self.reply, self._stop = reply, threading.Event()
        self._thread = threading.Thread(target=self._answer)

    def __enter__(self) -> Hostile:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.context.destroy(linger=0)

    def _answer(self) -> None:
        while not self._stop.is_set():
            if self.router.poll(20):
                peer, data = self.router.recv_multipart()
                marker = json.dumps(json.loads(data)["id"]).encode()
                self.router.send_multipart([peer, self.reply.replace(b"@ID", marker)])

    def wait_for_a_reader(self) -> None:
        """Until somebody has asked for events; subscriptions to other topics come one by one, too."""
        asked = b""
        while not (asked.startswith(b"\x01") and b"event/".startswith(asked[1:])):
            assert self.pub.poll(int(DEADLINE * 1000)), "nobody came"
            asked = self.pub.recv()

    def send_all(self) -> None:
        for data in MESSAGES:
            self.pub.send_multipart([b"event/cam0/", data])
        good = wire.encode(wire.stamp(wire.event_body(event("last", Phase.END)), "fresh", 1, time.time()))
        self.pub.send_multipart([b"event/cam0/", good])
