"""The stream of news to one browser: server-sent events, resumed where it left off.

sse-starlette was weighed: it brings pings and a limit for sending, which are the smaller part of this file.
What makes it long (the state anew for whoever is behind, the history for whoever was away, one queue each)
would stay, and the end within 3 seconds would hang on that library's patch of uvicorn's signal handler.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.types import Receive, Scope, Send

from streamer.bus.messages import parse_events
from streamer.bus.position import Position
from streamer.errors import BusError
from streamer.subscribers.web.client_queues import ClientQueue, ClientQueues, sse
from streamer.subscribers.web.page_state import Json, record_of
from streamer.subscribers.web.publisher_feed import PublisherFeed
from streamer.subscribers.web.publisher_requests import AskPublisher

BEAT = 2.0  # seconds without news after which a sign of life is sent
PAUSE = 0.2  # seconds between two deliveries: news that come close together travel together
STUCK = 20.0  # seconds after which a browser that does not read is given up
PAGES = 8  # of the history, that are read for a browser that was away
PAGE = 2000  # phases of events


class EventStream:
    """An ASGI application that answers one request; `join` has given it its queue."""

    def __init__(
        self,
        queues: ClientQueues,
        queue: ClientQueue,
        feed: PublisherFeed,
        ask: AskPublisher,
        last: Position | None,
        hello: Json,
    ) -> None:
        self._queues, self._queue, self._feed, self._ask = queues, queue, feed, ask
        self._last, self._hello = last, hello

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),  # a proxy in between must not collect
        ]
        leaving = asyncio.ensure_future(self._watch(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": head})
            async for data in self._pieces():
                body = {"type": "http.response.body", "body": data, "more_body": True}
                if not await self._within(send(body), STUCK):
                    return  # it does not read: the connection is closed
            with contextlib.suppress(OSError):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._queues.leave(self._queue)
            leaving.cancel()

    async def _within(self, sending: object, seconds: float) -> bool:
        """Send; False where it takes too long, or the program ends meanwhile."""
        task = asyncio.ensure_future(sending)  # type: ignore[call-overload]
        try:
            for _ in range(int(seconds / 0.25)):
                done, _pending = await asyncio.wait({task}, timeout=0.25)
                if done:
                    task.result()
                    return True
                if self._queue.closed:
                    return False
            return False
        finally:
            task.cancel()

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._queue.close()

    async def _pieces(self) -> AsyncIterator[bytes]:
        yield b"retry: 1000\n\n" + sse("hello", self._hello)
        while not self._queue.closed:
            if self._queue.behind:
                yield await self._catch_up()
            data = self._queue.take()
            if data:
                yield data
                if self._feed.reached is not None:
                    self._last = self._feed.reached
                await asyncio.sleep(PAUSE)
                continue
            await self._queue.wait(BEAT)
            if not self._queue.closed and not self._queue.behind:
                yield self._queue.take() or b"event: beat\ndata: {}\n\n"

    async def _catch_up(self) -> bytes:
        """The whole state, preceded by what it does not reach back to."""
        missed: dict[str, Json] = {}
        complete = True
        if self._feed.missing_after(self._last):
            missed, complete = await self._from_history(self._last)
        # From here to the end without a pause: what arrives later is put into the queue.
        self._queue.caught_up()
        state = self._feed.state()
        known = {told["id"] for told in state["events"]}
        state["missed"] = [told for told in missed.values() if told["id"] not in known]
        state["complete"] = complete
        reached = self._feed.reached
        if reached is not None:
            self._last = reached
        return sse("state", state, reached)

    async def _from_history(self, last: Position | None) -> tuple[dict[str, Json], bool]:
        assert last is not None
        found: dict[str, Json] = {}
        seq, session = last.seq, last.session
        for _ in range(PAGES):
            try:
                reply = await self._ask("events", after=seq, session=session, limit=PAGE)
                page = parse_events(reply)
            except (BusError, ValueError):
                return found, False
            for message in page.events:
                found[message.id] = record_of(message)
                seq, session = message.seq, message.session
            if not page.more or not page.events or self._feed.memory.reaches(seq):
                return found, True
        return found, False
