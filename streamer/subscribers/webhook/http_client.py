"""One HTTP POST after another to one receiver, each with one deadline for all of it.

httpx2 (which the Hub's client brings along) does it, on an event loop of this object's own: a task can be
cancelled wherever it waits, so that the deadline covers looking the name up, connecting, TLS, and an answer
that drips in byte by byte, and another thread can end it at any moment.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit
from weakref import WeakSet

from streamer.errors import ConfigError
from streamer.system.addresses import bracketed
from streamer.system.redaction import redact

if TYPE_CHECKING:
    import httpx2

MOST_READ = 64 * 1024  # bytes of an answer's body; nobody needs it, it only has to be out of the way
IDLE = 60.0  # seconds for which a connection is kept


class PostError(Exception):
    """No answer came; the text says why, without secrets."""


@dataclass(frozen=True, slots=True)
class Target:
    """A receiver's address. `shown` has no secrets: some services put theirs into the path."""

    tls: bool
    host: str
    path: str = field(repr=False)
    url: str = field(repr=False)
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
    place = bracketed(host) + ("" if port is None else f":{port}")
    shown = f"{parts.scheme}://{place}{'' if path == '/' else '/...'}"
    return Target(tls, host, path, f"{parts.scheme}://{place}{path}", authorization, shown)


class _EventLoop(asyncio.SelectorEventLoop):
    """Knows its connections: cancelled while TLS begins, httpx2 would leave them to the garbage collector."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: WeakSet[asyncio.Transport] = WeakSet()

    async def create_connection(self, *args: Any, **more: Any) -> Any:
        """As asyncio's."""
        made = await super().create_connection(*args, **more)
        self.opened.add(made[0])
        return made


class HttpClient:
    """Posts to one target, and keeps the connection while the receiver does. Used on one thread; any thread
    may `abort`. `timeout`: seconds for a whole exchange, from looking the name up to the answer's head.
    """

    def __init__(self, target: Target, timeout: float, context: ssl.SSLContext | None) -> None:
        self._target, self._timeout, self._context = target, timeout, context
        self._loop = _EventLoop()
        self._client: httpx2.AsyncClient | None = None
        self._task: asyncio.Task[Answer] | None = None
        self._aborted = False

    def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """The receiver's answer. Raises PostError."""
        if self._aborted:
            raise PostError("stopped")
        self._task = self._loop.create_task(self._post(body, headers))
        try:
            return self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            self._loop.run_until_complete(self._drop())
            raise PostError("stopped") from None

    async def _post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        import httpx2

        try:
            async with asyncio.timeout(self._timeout):
                kept = self._client is not None
                try:
                    return await self._exchange(body, headers)
                except (httpx2.RemoteProtocolError, httpx2.NetworkError):
                    await self._drop()
                    if not kept:  # else it closed a connection that had been idle: not its fault
                        raise
                    return await self._exchange(body, headers)
        except TimeoutError as error:
            await self._drop()
            raise PostError(f"no whole answer within {self._timeout:g} s") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            await self._drop()
            raise PostError(_why(error)) from error

    async def _exchange(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        import httpx2

        if self._client is None:
            self._client = httpx2.AsyncClient(
                verify=self._target.tls if self._context is None else self._context,
                timeout=None, follow_redirects=False, trust_env=False,
                limits=httpx2.Limits(max_connections=1, keepalive_expiry=IDLE),
            )  # fmt: skip
        own = dict(headers)
        if self._target.authorization is not None:
            own["Authorization"] = self._target.authorization
        request = self._client.build_request("POST", self._target.url, content=body, headers=own)
        response = await self._client.send(request, stream=True)
        answer = Answer(
            response.status_code, response.reason_phrase[:60], response.headers.get("Retry-After")
        )
        await self._read_away(response)
        return answer

    async def _read_away(self, response: httpx2.Response) -> None:
        """A body that is too long, late or cut costs the connection, not the answer."""
        import httpx2

        read = 0
        try:
            async for chunk in response.aiter_raw():
                read += len(chunk)
                if read > MOST_READ:
                    break
            else:
                return
        except (httpx2.HTTPError, httpx2.StreamError, TimeoutError):
            pass
        await self._drop()

    async def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()
        for transport in list(self._loop.opened):
            transport.abort()
        await asyncio.sleep(0)  # the loop's next round closes their sockets

    def abort(self) -> None:
        """From any thread: end the request in progress, and begin none."""
        self._aborted = True
        with contextlib.suppress(RuntimeError):  # closed already
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def close(self) -> None:
        """Close the connection; nothing can be posted any more."""
        if not self._loop.is_closed():
            self._loop.run_until_complete(self._drop())
            self._loop.close()


def _why(error: BaseException) -> str:
    chain: list[BaseException] = [error]
    while (last := chain[-1].__cause__ or chain[-1].__context__) is not None and len(chain) < 16:
        chain.append(last.exceptions[0] if isinstance(last, BaseExceptionGroup) else last)
    for one in chain:
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {one.verify_message} (a private authority: --ca FILE)"
    if "disconnected without" in str(error):
        return "the receiver closed the connection without an answer"
    for one in chain:
        if isinstance(one, OSError) and one.strerror:
            return os.strerror(one.errno) if one.errno is not None and one.errno > 0 else one.strerror
    if type(error).__name__ == "RemoteProtocolError":
        return "it does not speak HTTP"
    return f"{type(error).__name__}: {error}"[:120]
