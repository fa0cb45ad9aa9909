"""Parts that the tests of the page share: the real server on a free port, and clients for its stream."""

from __future__ import annotations

import http.client
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streamer.bus import Publisher
from streamer.config import BusConfig
from streamer.subscribers.publisher_address import PublisherAddress
from streamer.subscribers.web.access_control import LOCAL_NAMES, AccessRules
from streamer.subscribers.web.app import Settings
from streamer.subscribers.web.web_server import listen, serve
from streamer.types import Phase
from tests.helpers.bus_parts import DEADLINE, FREE, event, publisher, until

Headers = dict[str, str]
TOKEN = "a-token-of-more-than-sixteen"
NOBODY = "tcp://127.0.0.1:9"  # where no publisher is
MARK = {"camera": "cam0", "event": "e1", "label": "running"}
JSON = {"Content-Type": "application/json"}


class Served:
    """The page's server on a thread; `stop` ends it and says how long that took."""

    def __init__(self, endpoint: str, port: int = 0, **settings: Any) -> None:
        tls = settings.pop("tls", None)
        listening = listen("127.0.0.1", port)
        self.port = int(listening.getsockname()[1])
        rules = settings.pop("rules", None) or AccessRules(
            settings.pop("token", None), settings.pop("hosts", LOCAL_NAMES), port=self.port
        )
        self.url = f"http://127.0.0.1:{self.port}"
        made = Settings(PublisherAddress(endpoint, keys=settings.pop("keys", None)), rules, **settings)
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=serve, args=(made, listening, self._stop), kwargs={"tls": tls}, name="served"
        )
        self._thread.start()

    def stop(self) -> float:
        began = time.monotonic()
        self._stop.set()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        return time.monotonic() - began

    def ask(
        self, path: str, method: str = "GET", headers: Headers | None = None, body: Any = None
    ) -> tuple[int, Headers, bytes]:
        """Status, headers (lower-case names), body."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            link.putrequest(method, path, skip_host="Host" in (headers or {}), skip_accept_encoding=True)
            for name, value in (headers or {}).items():
                link.putheader(name, value)
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            if data is not None:
                link.putheader("Content-Length", str(len(data)))
            link.endheaders(data)
            answer = link.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            link.close()

    def json(self, path: str, **more: Any) -> Any:
        status, _, body = self.ask(path, **more)
        assert status == 200, body
        return json.loads(body)


@contextmanager
def served(endpoint: str, port: int = 0, **settings: Any) -> Iterator[Served]:
    made = Served(endpoint, port, **settings)
    try:
        yield made
    finally:
        made.stop()


@contextmanager
def published(
    path: Any, endpoint: str = FREE, requests: str | None = None, **more: Any
) -> Iterator[Publisher]:
    """A real publisher with a history in the file `path`."""
    config = BusConfig(bind=endpoint) if requests is None else BusConfig(bind=endpoint, requests=requests)
    with publisher(path, bus=config, **more) as made:
        yield made


class Listener:
    """A browser's stream: server-sent events as (name, data, id)."""

    def __init__(self, port: int, last: str = "", headers: Headers | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
        head = {"Host": f"127.0.0.1:{port}", **({"Last-Event-ID": last} if last else {}), **(headers or {})}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        self.socket.sendall(f"GET /stream HTTP/1.1\r\n{lines}\r\n".encode())
        self.received = b""
        self.news: list[tuple[str, Any, str]] = []
        self.last = last
        self.ended = False

    def take(self, seconds: float) -> None:
        """What arrives within so long."""
        if not select.select([self.socket], [], [], seconds)[0]:
            return
        data = self.socket.recv(1 << 20)
        self.ended = self.ended or not data
        self.received += data
        *whole, rest = self.received.replace(b"\r\n", b"\n").split(b"\n\n")
        self.received = rest
        for block in whole:
            self._read(block.decode())

    def _read(self, block: str) -> None:
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if "event" in fields:
            self.last = fields.get("id", self.last)
            self.news.append((fields["event"], json.loads(fields["data"]), fields.get("id", "")))

    def until(self, enough: Callable[[], Any], what: str = "") -> None:
        end = time.monotonic() + DEADLINE
        while not enough():
            assert time.monotonic() < end, f"{what}: {self.news[-5:]}"
            assert not self.ended, f"{what}: the stream ended"
            self.take(0.1)

    def of(self, name: str) -> list[Any]:
        return [data for kind, data, _ in self.news if kind == name]

    def events(self) -> dict[str, Any]:
        """Every event that the page has been told of, as it stands now."""
        found: dict[str, Any] = {}
        for kind, data, _ in self.news:
            told = [data] if kind == "event" else data["missed"] + data["events"] if kind == "state" else []
            found.update((event["id"], event) for event in told)
        return found

    def close(self) -> None:
        self.socket.close()


@contextmanager
def listening(port: int, last: str = "", headers: Headers | None = None) -> Iterator[Listener]:
    made = Listener(port, last, headers)
    try:
        yield made
    finally:
        made.close()


def live(listener: Listener) -> None:
    """Wait until the page is told that everything is known."""
    listener.until(lambda: any(kind == "state" and place for kind, _, place in listener.news), "live")


__all__ = ["Listener", "Served", "listening", "live", "published", "served", "until"]


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Publisher]:
    with published(tmp_path / "events.db") as made:
        yield made


def act(bus: Publisher, name: str, label: str = "waving", camera: str = "cam0") -> None:
    bus.event(event(name, Phase.START, label=label, camera=camera))
    bus.event(event(name, Phase.END, label=label, camera=camera))
