"""A small HTTP server for three paths: /metrics, /healthz and /readyz.

Only GET, one request a connection, a request's head of at most `MAX_HEAD` bytes, everything within `DEADLINE`
seconds, and at most `MOST` connections at once: whoever is slow or many harms nobody else. Nothing is read
but the first line and `Accept`, so there is nothing to go wrong with.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import logging
import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from streamer.errors import ConfigError

log = logging.getLogger(__name__)

MAX_HEAD = 8 * 1024  # bytes
DEADLINE = 5.0  # seconds for one request, and as long for its answer
HEAR_OUT = 0.5  # seconds for which a refused client is listened to ...
MOST_HEARD = 1 << 20  # ... and bytes
MOST = 8  # connections at once; further ones are closed
CLOSING = 1.0  # seconds for the server's thread to end
DEFAULT_HOST = "127.0.0.1"
TEXTS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
         431: "Request Header Fields Too Large", 500: "Internal Server Error",
         503: "Service Unavailable"}  # fmt: skip


class Reply(NamedTuple):
    """What one path answers."""

    status: int
    kind: str  # Content-Type
    body: bytes


Page = Callable[[str], Reply]  # the request's Accept -> its answer


def json_reply(status: int, value: dict[str, Any]) -> Reply:
    return Reply(status, "application/json", json.dumps(value, ensure_ascii=False).encode() + b"\n")


def address_of(text: str) -> tuple[str, int]:
    """HOST:PORT, :PORT or PORT (both of this machine alone). Port 0 takes a free one.

    Raises:
        ConfigError: it is none of these.
    """
    host, _, port = text.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or DEFAULT_HOST
    host = DEFAULT_HOST if host == "localhost" else host  # which may mean ::1 first, and then that alone
    if not (port.isascii() and port.isdigit() and int(port) <= 65535) or "/" in host or "*" in host:
        raise ConfigError(
            f"metrics.listen = {text!r}: give HOST:PORT, such as 127.0.0.1:9464 (other machines reach "
            "0.0.0.0:9464)"
        )
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Server:
    """Serves `pages` (path -> page) until `close`. The socket is bound when it is made.

    Raises:
        ConfigError: the address cannot be used.
    """

    def __init__(self, address: str, pages: dict[str, Page]) -> None:
        host, port = address_of(address)
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            self._server = _Threads((host, port), family, pages)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"metrics cannot be served at {host}:{port}: {why}; give another address with --metrics"
            ) from error
        serve = self._server.serve_forever
        self._thread = threading.Thread(target=serve, args=(0.2,), name="metrics", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Where it listens, with the real port."""
        host, port = self._server.server_address[:2]
        name = host.decode() if isinstance(host, bytes) else str(host)
        return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"

    def close(self) -> None:
        """No more answers; connections in progress are left to their deadline."""
        self._server.shutdown()
        self._thread.join(CLOSING)
        self._server.server_close()


class _Threads(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = os.name == "posix"  # elsewhere it would let two programs share a port
    request_queue_size = 16

    def __init__(self, address: tuple[str, int], family: int, pages: dict[str, Page]) -> None:
        self.address_family = family
        self.pages = pages
        self.free = threading.BoundedSemaphore(MOST)
        super().__init__(address, _Connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self.free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        threading.current_thread().name = "metrics-answer"
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a request for metrics failed", exc_info=True)


class _Connection(socketserver.BaseRequestHandler):
    server: _Threads

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # slow, or gone: its own fault
            head = self._head()
            if head is not None:
                reply = self._answer(head)
                self._send(reply)
                if reply.status in (400, 405, 431):
                    self._hear_out()

    def _head(self) -> bytes | None:
        """All up to the blank line; None where it does not come in time."""
        until, head = time.monotonic() + DEADLINE, b""
        while b"\r\n\r\n" not in head and b"\n\n" not in head:
            left = until - time.monotonic()
            if left <= 0:
                return None
            self.request.settimeout(left)
            part = self.request.recv(4096)
            head += part
            if not part:
                return None
            if len(head) > MAX_HEAD:
                break
        return head

    def _answer(self, head: bytes) -> Reply:
        if len(head) > MAX_HEAD:
            return _refusal(431, f"a request's head may have {MAX_HEAD} bytes")
        first, *lines = head.decode("latin-1").splitlines()
        words = first.split()
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _refusal(400, "this is no HTTP request")
        if words[0] != "GET":
            return _refusal(405, "only GET is answered here")
        page = self.server.pages.get(words[1].partition("?")[0])
        if page is None:
            return _refusal(404, f"known here: {', '.join(self.server.pages)}")
        accept = next((line[7:].strip() for line in lines if line[:7].lower() == "accept:"), "")
        try:
            return page(accept)
        except Exception as error:  # a page's edge: the server lives on, and says it
            log.exception("%s could not be answered", words[1][:100])
            return _refusal(500, f"this page failed: {type(error).__name__}")

    def _hear_out(self) -> None:
        """Read on for a moment: closing before the client has sent all would take our answer from it."""
        self.request.shutdown(socket.SHUT_WR)
        until, left = time.monotonic() + HEAR_OUT, MOST_HEARD
        while left > 0 and (wait := until - time.monotonic()) > 0:
            self.request.settimeout(wait)
            part = self.request.recv(4096)
            if not part:
                return
            left -= len(part)

    def _send(self, reply: Reply) -> None:
        allow = "Allow: GET\r\n" if reply.status == 405 else ""
        head = (
            f"HTTP/1.1 {reply.status} {TEXTS[reply.status]}\r\nContent-Type: {reply.kind}\r\n"
            f"Content-Length: {len(reply.body)}\r\nCache-Control: no-store\r\n"
            f"X-Content-Type-Options: nosniff\r\n{allow}Connection: close\r\n\r\n"
        )
        self.request.settimeout(DEADLINE)  # of sendall as a whole
        self.request.sendall(head.encode() + reply.body)


def _refusal(status: int, text: str) -> Reply:
    return Reply(status, "text/plain; charset=utf-8", f"{text}\n".encode())
