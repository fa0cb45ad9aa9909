"""One HTTP POST after another to one receiver, with an end to every wait.

The standard library's http.client does it: a webhook needs one request at a time, no redirects, no cookies,
no proxies, and TLS verified by the system's certificates, which is what http.client and ssl do by default;
another dependency would add only what must then be turned off.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

from streamer.errors import ConfigError
from streamer.system.redaction import redact

MOST_READ = 64 * 1024  # bytes of an answer's body; nobody needs it, it only has to be out of the way


class PostError(Exception):
    """No answer came; the text says why, without secrets."""


@dataclass(frozen=True, slots=True)
class Target:
    """A receiver's address. `shown` has no secrets: some services put theirs into the path."""

    tls: bool
    host: str
    port: int
    path: str = field(repr=False)
    authorization: str | None = field(repr=False)
    shown: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Status line and the one header that matters."""

    status: int
    reason: str
    retry_after: str | None


def parse_target(url: str) -> Target:
    """The parts of a webhook's URL; `user:password@` becomes basic authentication. Raises ConfigError."""
    shown = redact(url).split("?")[0]
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        if parts.scheme not in ("http", "https") or not host or any(c <= " " for c in url):
            raise ValueError("write https://HOST/PATH")
        host.encode("idna")
    except ValueError as error:  # UnicodeError is one
        raise ConfigError(f"{shown!r} is no address for webhooks: {error}") from error
    tls = parts.scheme == "https"
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    if parts.query:
        path += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
    authorization = None
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(user.encode()).decode("ascii")
    place = f"[{host}]" if ":" in host else host
    shown = f"{parts.scheme}://{place}{'' if port is None else f':{port}'}{'' if path == '/' else '/...'}"
    return Target(tls, host, port or (443 if tls else 80), path, authorization, shown)


class Poster:
    """Posts to one target, and keeps the connection while the receiver does; any thread may `abort`.

    `timeout`: seconds to connect, and again for the whole exchange however slowly its bytes drip in.
    """

    def __init__(self, target: Target, timeout: float, context: ssl.SSLContext | None) -> None:
        self._target, self._timeout, self._context = target, timeout, context
        self._connection: http.client.HTTPConnection | None = None
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._cut_off = self._aborted = False

    def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """The receiver's answer. Raises PostError."""
        if self._connection is not None:
            with contextlib.suppress(_StaleError):  # it closed a connection that had been idle: not its fault
                return self._post(body, headers)
        try:
            return self._post(body, headers)
        except _StaleError as error:
            raise PostError(f"the receiver closed the connection without an answer ({error})") from error

    def _post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        guard = threading.Timer(self._timeout, self._cut)
        guard.daemon = True
        self._cut_off = False
        try:
            raw = self._open() if self._connection is None else None
            guard.start()
            if raw is not None:
                self._greet(raw)
            return self._exchange(body, headers)
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            # AttributeError: http.client's, where a connection is cut between two of its steps
            self.close()
            if self._cut_off:
                raise PostError(f"no whole answer within {self._timeout:g} s") from error
            if isinstance(error, (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError)):
                raise _StaleError(_why(error)) from error
            raise PostError(_why(error)) from error
        finally:
            guard.cancel()

    def _open(self) -> socket.socket:
        if self._aborted:
            raise OSError("stopped")
        return socket.create_connection((self._target.host, self._target.port), self._timeout)

    def _greet(self, raw: socket.socket) -> None:
        """TLS, where wanted; afterwards `_cut` can end whatever blocks."""
        target, made = self._target, raw
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection: http.client.HTTPConnection
        if target.tls:
            assert self._context is not None
            made = self._context.wrap_socket(raw, server_hostname=target.host, do_handshake_on_connect=False)
            connection = http.client.HTTPSConnection(target.host, target.port, context=self._context)
        else:
            connection = http.client.HTTPConnection(target.host, target.port)
        with self._lock:
            self._socket = connection.sock = made
        connection.auto_open = 0  # only we connect
        self._connection = connection
        if isinstance(made, ssl.SSLSocket):
            made.do_handshake()

    def _exchange(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        connection, own = self._connection, dict(headers)
        assert connection is not None
        if self._target.authorization is not None:
            own["Authorization"] = self._target.authorization
        connection.request("POST", self._target.path, body, own)
        response = connection.getresponse()
        if self._cut_off:  # http.client takes an end among the headers for their end
            raise TimeoutError
        answer = Answer(response.status, response.reason[:60], response.getheader("Retry-After"))
        self._clear(response)
        return answer

    def _clear(self, response: http.client.HTTPResponse) -> None:
        """Read the body away; one that is too long, late or cut costs the connection, not the answer."""
        try:
            response.read(MOST_READ)
            response.read(1)  # the end of a chunked body is known only behind it
            if not response.isclosed() or response.will_close:
                self.close()
        except (OSError, http.client.HTTPException, ValueError):
            self.close()

    def _cut(self) -> None:
        """End a wait from another thread: shut the socket down, and the blocked call returns."""
        with self._lock:
            self._cut_off = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    # below TLS: SSLSocket.shutdown would take the session away from the thread that reads
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def abort(self) -> None:
        """From any thread: end the request in progress, and begin none."""
        self._aborted = True
        self._cut()

    def close(self) -> None:
        """Close the connection; the next post opens another."""
        with self._lock:
            connection, self._connection, self._socket = self._connection, None, None
        if connection is not None:
            connection.close()


class _StaleError(Exception):
    """The connection ended before the first byte of an answer."""


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message} (a private authority: --ca FILE)"
    if isinstance(error, TimeoutError):
        return "it cannot be reached in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, http.client.BadStatusLine):
        return "it does not speak HTTP"
    return f"{type(error).__name__}: {error}"[:120]
