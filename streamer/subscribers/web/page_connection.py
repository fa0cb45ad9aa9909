"""One browser's connection: how long its requests may take, and which is closed when there are too many.

Whoever can reach the port can open connections. So each request's head has a deadline, whatever comes byte by
byte meanwhile; a connection whose request was refused is closed; and where there are more connections than
may be, the oldest of a stranger's gives way. So somebody who shows the token is never kept out by others who
only hold connections.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from starlette.types import Scope
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

REQUEST_HEAD = 10.0  # seconds for a request's head to come whole
KEEP_ALIVE = 15  # seconds of silence between two requests


class PageConnection(H11Protocol):
    """uvicorn's connection, with these deadlines. `limit_concurrency` is how many there may be."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, {**app_state, "connection": self}, _loop)
        # uvicorn would answer 503 to everybody
        self._most, self.limit_concurrency = self.limit_concurrency, None
        self.trusted = False  # a request was let in
        self._opened_at = 0.0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._opened_at = self.loop.time()
        self._expect_head(REQUEST_HEAD)
        if self._most is not None and len(self.connections) > self._most:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_arrived()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        if self._busy:
            self._head_arrived()

    def on_response_complete(self) -> None:
        self._expect_head(KEEP_ALIVE + REQUEST_HEAD)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Where a request's body turns out to be none, an answer is under way: then the connection ends."""
        if self._busy or self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            if self.cycle is not None:
                self.cycle.disconnected = True  # nothing more is sent
                self.cycle.message_event.set()
            self.transport.abort()
        else:
            super().send_400_response(msg)

    @property
    def _busy(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _expect_head(self, seconds: float) -> None:
        self._head_arrived()
        self._head_timer = self.loop.call_later(seconds, self.transport.abort)

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _make_room(self) -> None:
        """Strangers go first, then who waits between two requests, then this one; the oldest of each."""
        others = [one for one in self.connections if isinstance(one, PageConnection) and one is not self]
        strangers = [one for one in others if not one.trusted]
        idle = [one for one in others if not one._busy]
        gone = min(strangers or idle or [self], key=lambda one: one._opened_at)
        self.connections.discard(gone)  # now: its own end comes in the loop's next round
        gone.transport.abort()


def trust(scope: Scope) -> None:
    """A request was let in: its connection is not a stranger's."""
    connection = scope.get("state", {}).get("connection")
    if isinstance(connection, PageConnection):
        connection.trusted = True
