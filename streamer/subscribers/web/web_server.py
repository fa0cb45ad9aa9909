"""Serving the page: the socket, uvicorn, and a stop within 3 seconds whatever browsers are connected."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from streamer.errors import ConfigError
from streamer.subscribers.web.access_control import LARGEST_HEAD
from streamer.subscribers.web.app import Page, Settings
from streamer.subscribers.web.connection_acceptor import ConnectionAcceptor
from streamer.subscribers.web.page_connection import KEEP_ALIVE, PageConnection

CONNECTIONS = 192  # beyond the streams
DEAD_PEER = 30_000  # milliseconds after which the system gives up a peer that takes nothing
_WHY = {
    errno.EADDRINUSE: "the port is in use; take another, or 0 for a free one",
    errno.EACCES: "not allowed; ports below 1024 need rights that this user lacks",
}
BACKLOG = 128  # connections that the system holds for us until they are taken
_NO_NEWS = (
    "Invalid HTTP request", "Unsupported upgrade", "No supported WebSocket",
    "ASGI callable returned without completing", "Waiting for", "Cancel ",
)  # fmt: skip
GRACE = 1  # seconds for requests in progress when the program ends


@dataclass(frozen=True, slots=True)
class Tls:
    """Files for https."""

    certificate: Path
    key: Path


def listen(host: str, port: int, option: str = "--bind") -> socket.socket:
    """A bound socket. Raises ConfigError where the address cannot be had."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"{option} {host}:{port}: no such address: {error.strerror}") from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # taken over by each connection
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_PEER)
        made.bind(address)
        made.listen(BACKLOG)  # so that "address in use" is said here
    except OSError as error:
        made.close()
        why = _WHY.get(error.errno or 0, str(error.strerror))
        raise ConfigError(f"{option} {host}:{port}: {why}") from error
    return made


class _EventLoop(asyncio.SelectorEventLoop):
    """The bus needs a loop that watches sockets, which is not the default on Windows."""

    async def create_server(self, protocol_factory: Any, **more: Any) -> Any:  # type: ignore[override]
        """What uvicorn calls: connections are taken by our own rules."""
        return ConnectionAcceptor(more["sock"], protocol_factory, more["ssl"])


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: whoever runs it says when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(
    settings: Settings,
    listening: socket.socket,
    stop: threading.Event,
    *,
    tls: Tls | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until `stop` is set; returns within 3 s from then. Closes the socket.

    Raises:
        ConfigError: the certificate cannot be used.
        Exception: a fault of the program, after which no more news would have come.
    """
    logging.getLogger("uvicorn.error").addFilter(_worth_saying)
    with contextlib.closing(listening), asyncio.Runner(loop_factory=_EventLoop) as runner:
        runner.run(_serve(settings, listening, stop, tls, on_ready))


async def _serve(
    settings: Settings,
    listening: socket.socket,
    stop: threading.Event,
    tls: Tls | None,
    on_ready: Callable[[], None],
) -> None:
    page = Page(settings)
    faults: list[BaseException] = []

    def fail(error: BaseException) -> None:  # better no page than one that looks alive and hears nothing
        faults.append(error)
        stop.set()

    config = uvicorn.Config(
        page.app(fail), loop="none", http=PageConnection, ws="none", lifespan="on", log_config=None,
        access_log=False, server_header=False, proxy_headers=False, timeout_graceful_shutdown=GRACE,
        timeout_keep_alive=KEEP_ALIVE,
        limit_concurrency=settings.pages + CONNECTIONS, h11_max_incomplete_event_size=LARGEST_HEAD,
        ssl_certfile=None if tls is None else str(tls.certificate),
        ssl_keyfile=None if tls is None else str(tls.key),
    )  # fmt: skip
    try:
        config.load()
    except (OSError, ValueError) as error:
        raise ConfigError(f"the certificate or its key cannot be used: {error}") from error
    server = _Server(config)
    loop = asyncio.get_running_loop()

    def end() -> None:
        page.queues.close()
        server.should_exit = True

    def wait() -> None:
        stop.wait()
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(end)

    threading.Thread(target=wait, name="web-stop", daemon=True).start()
    on_ready()
    try:
        await server.serve(sockets=[listening])
    finally:
        stop.set()  # ends the thread
    if faults:
        raise faults[0]


def _worth_saying(record: logging.LogRecord) -> bool:
    """What strangers send is no news, nor that requests are left in the middle: by a browser that does not
    read, and at the end.
    """
    text = record.getMessage()
    cancelled = record.exc_info is not None and record.exc_info[0] is asyncio.CancelledError
    return not (cancelled or text.startswith(_NO_NEWS))
