"""Parts that the tests of webhooks share: a receiver that answers as it is told, and a bridge to it."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from streamer.bus import EventMessage, Publisher
from streamer.subscribers.event_filter import EventFilter
from streamer.subscribers.publisher_address import PublisherAddress
from streamer.subscribers.webhook.http_client import parse_target
from streamer.subscribers.webhook.webhook_bridge import Settings, WebhookBridge
from streamer.testing import FakeClock
from tests.helpers.bus_parts import publisher

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
posix = pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")
Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = self.server.next(dict(self.headers), body)
        answer(self)

    def do_GET(self) -> None:
        self.server.followed = True
        self.say(200)

    def say(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Receiver(ThreadingHTTPServer):
    """Answers with what `answers` holds, one after the other, then with 204; keeps all that came."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.answers: list[Answer] = []
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.followed = False
        self.ended = threading.Event()
        self._lock = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def next(self, headers: dict[str, str], body: bytes) -> Answer:
        with self._lock:
            self.got.append((headers, body))
            return self.answers.pop(0) if self.answers else lambda handler: handler.say(204)

    def handle_error(self, *_: object) -> None:
        pass  # a bridge that hangs up is what some tests want

    def close(self) -> None:
        self.ended.set()
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook"

    @property
    def keys(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.got]

    @property
    def seqs(self) -> list[int]:
        return [json.loads(body)["seq"] for _, body in self.got]


def status(code: int, **headers: str) -> Answer:
    return lambda handler: handler.say(code, **headers)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def bus() -> Iterator[Publisher]:
    with publisher() as made:
        yield made


class Waits(FakeClock):
    """Waits are over at once, and written down."""

    def __init__(self) -> None:
        super().__init__(wall=time.time())
        self.waits: list[float] = []

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.waits.append(seconds)
        return super().wait(event, seconds) or event.wait(0.002)


class Hook(WebhookBridge):
    """A webhook from `bus` to `url` that begins at the history's begin."""

    def __init__(self, bus: Publisher, url: str, folder: Path, **more: Any) -> None:
        self.lines: list[str] = []
        self.accepted: list[int] = []
        self.clock = Waits()
        more = {"since": 0.0, "events": EventFilter(), "timeout": 5.0, "secrets": ()} | more
        self.state = folder / "state.json"
        settings = Settings(
            PublisherAddress(bus.endpoint), parse_target(url), self.state, folder / "dead.jsonl", **more
        )
        super().__init__(settings, clock=self.clock, tell=self.lines.append)

    def said(self, text: str) -> bool:
        return any(text in line for line in self.lines)

    def _deliver(self, message: EventMessage) -> bool:
        accepted = super()._deliver(message)
        if accepted:
            self.accepted.append(message.seq)
        return accepted


def position(state: Path) -> int:
    if not state.exists():
        return 0
    since = json.loads(state.read_text())["since"]
    return int(since[1]) if isinstance(since, list) else 0


def silent(handler: Handler) -> None:
    handler.server.ended.wait(10)
