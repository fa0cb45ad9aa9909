"""Three paths over HTTP: /metrics, /healthz and /readyz. The standard library's server, and what it lacks.

Only GET is answered, one request a connection. What is added here is what strangers make necessary: a head
must come within `DEADLINE` seconds and be no larger than `MAX_HEAD`; when `MOST_CONNECTIONS` are open, the
one that has waited longest for its client gives way to a new one; and an address that this machine alone can
reach answers to its own names only, because a web page could read it under a name of its own (DNS rebinding).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any, BinaryIO, NamedTuple

from streamer.errors import ConfigError
from streamer.system.addresses import is_loopback, join_host_port, split_host_port
from streamer.system.log_rate_limit import LogLimit
from streamer.system.terminal_text import printable_json

log = logging.getLogger(__name__)

MAX_HEAD = 8 * 1024  # bytes
DEADLINE = 5.0  # seconds for a request's head, and as long for its answer
LINGER = 0.5  # seconds for which what a refused client sends is read ...
LINGER_BYTES = 1 << 20  # ... and how much of it
MOST_CONNECTIONS = 32
JOIN = 1.0  # seconds for the server's thread to end
TICK = 0.2  # seconds between two looks at the deadlines


class Reply(NamedTuple):
    """What one path answers."""

    status: int
    kind: str  # Content-Type
    body: bytes


Page = Callable[[str], Reply]  # the request's Accept -> its answer


def json_reply(status: int, value: dict[str, Any]) -> Reply:
    """`value` as JSON, in which nothing can steer the terminal of whoever asks with curl."""
    text = printable_json(json.dumps(value, ensure_ascii=False))
    return Reply(status, "application/json", f"{text}\n".encode())


def address_of(text: str) -> tuple[str, int]:
    """HOST:PORT, :PORT or PORT (both of this machine alone). Port 0 takes a free one.

    Raises:
        ConfigError: it is none of these.
    """
    try:
        host, port = split_host_port(text)
    except ValueError as error:
        raise ConfigError(
            f"metrics.listen = {text!r}: give HOST:PORT, such as 127.0.0.1:9464 (other machines reach "
            "0.0.0.0:9464)"
        ) from error
    # localhost may mean ::1 first, and then that alone
    return ("127.0.0.1" if host == "localhost" else host), port


class Server:
    """Serves `pages` (path -> page) until `close`. The socket is bound when it is made.

    Raises:
        ConfigError: the address cannot be used.
    """

    def __init__(self, address: str, pages: dict[str, Page]) -> None:
        host, port = address_of(address)
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            self._server = _Server((host, port), family, pages)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"metrics cannot be served at {host}:{port}: {why}; give another address with --metrics"
            ) from error
        serve = self._server.serve_forever
        self._thread = threading.Thread(target=serve, args=(TICK,), name="metrics", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Where it listens, with the real port."""
        host, port = self._server.server_address[:2]
        return join_host_port(host.decode() if isinstance(host, bytes) else str(host), port)

    def close(self) -> None:
        """No more answers; connections that wait for their client are closed."""
        self._server.shutdown()
        self._thread.join(JOIN)
        self._server.server_close()
        self._server.close_late(age=0.0)


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = os.name == "posix"  # elsewhere it would let two programs share a port
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], family: int, pages: dict[str, Page]) -> None:
        self.address_family = family
        self.pages = pages
        self.private = is_loopback(address[0])
        self.log_failure = LogLimit(log.exception)  # scrapes come every few seconds
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._waiting: dict[socket.socket, float] = {}  # for their client -> since when; the oldest first
        super().__init__(address, _Connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        """One thread a connection. Where all are taken, one that only waits for its client goes."""
        with self._lock:
            full = len(self._open) >= MOST_CONNECTIONS
            if full and self._waiting:
                self._hang_up(next(iter(self._waiting)))
                full = False
            if not full:
                self._open.add(request)
                self._waiting[request] = time.monotonic()
        if full:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        threading.current_thread().name = "metrics-answer"
        super().process_request_thread(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Closed, and first forgotten: nobody may shut down a socket whose number is another's already."""
        with self._lock:
            self._open.discard(request)
            self._waiting.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        self.close_late(DEADLINE)

    def set_waiting(self, request: socket.socket, waiting: bool) -> None:
        """Whether it waits for its client (to ask, or to take the answer) or for us."""
        with self._lock:
            if not waiting:
                self._waiting.pop(request, None)
            elif request in self._open:
                self._waiting[request] = time.monotonic()

    def close_late(self, age: float) -> None:
        """Close connections that have waited for their client for `age` seconds."""
        now = time.monotonic()
        with self._lock:
            for request in [one for one, since in self._waiting.items() if now - since >= age]:
                self._hang_up(request)

    def _hang_up(self, request: socket.socket) -> None:
        """Its thread wakes up, finds nothing to read and ends. With the lock."""
        self._waiting.pop(request, None)
        self._open.discard(request)
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a request for metrics failed", exc_info=True)


class _Head:
    """A request's lines, of which there may be `MAX_HEAD` bytes."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._left = stream, MAX_HEAD
        self.close = stream.close

    def readline(self, limit: int) -> bytes:
        if self._left <= 0:
            raise http.client.LineTooLong("request head")
        line = self._stream.readline(min(limit, self._left))
        self._left -= len(line)
        return line


class _Connection(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # what cannot be read is answered with headers, too
    server_version, sys_version = "streamer", ""

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(DEADLINE)
        self.rfile: Any = _Head(self.rfile)

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # slow, or gone: its own fault
            self.handle_one_request()
            self.wfile.flush()

    def parse_request(self) -> bool:
        """True where the request is to be answered; what is wrong with it is answered here."""
        if not super().parse_request():
            return False
        self.server.set_waiting(self.request, False)
        if len(self.requestline.split()) != 3:
            self.send_error(400)
        elif self.command != "GET":
            self.send_error(405)
        elif self.server.private and not self._own_name():
            self.send_error(421, explain="this address answers to its own name only, such as localhost")
        else:
            return True
        return False

    def _own_name(self) -> bool:
        """Whether it was asked for under a name of this machine. Programs may name none; browsers cannot."""
        names = self.headers.get_all("Host", [])
        return all(is_loopback(_without_port(name)) for name in names)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        page = self.server.pages.get(path)
        if page is None:
            self.send_error(404, explain=f"known here: {', '.join(self.server.pages)}")
            return
        try:
            reply = page(self.headers.get("Accept", ""))
        except Exception as error:  # noqa: BLE001 - a page's edge: the server lives on, and says it
            self.server.log_failure(path, f"{path} could not be answered")
            self.send_error(500, explain=f"this page failed: {type(error).__name__}")
            return
        self._send(reply)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """As one line of text; the library would send a page of HTML."""
        self.close_connection = True
        words = explain or self.responses[code][1] or self.responses[code][0]
        self._send(Reply(code, "text/plain; charset=utf-8", f"{words}\n".encode()))
        if 400 <= code < 500:
            self._linger()

    def _send(self, reply: Reply) -> None:
        self.close_connection = True
        self.server.set_waiting(self.request, True)  # who does not take the answer may be hung up on
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.kind)
        self.send_header("Content-Length", str(len(reply.body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if reply.status == 405:
            self.send_header("Allow", "GET")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(reply.body)

    def _linger(self) -> None:
        """Read on for a moment: closing before the client has sent all would take our answer from it."""
        self.connection.shutdown(socket.SHUT_WR)
        until, left = time.monotonic() + LINGER, LINGER_BYTES
        while left > 0 and (wait := until - time.monotonic()) > 0:
            self.connection.settimeout(wait)
            part = self.connection.recv(4096)
            if not part:
                return
            left -= len(part)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""


def _without_port(host: str) -> str:
    name, colon, port = host.strip().rpartition(":")
    return name if colon and port.isdigit() and (":" not in name or name.endswith("]")) else host.strip()
