"""Subscribers for Python programs: `Subscriber`, and `AsyncSubscriber` with the same names for asyncio.

A subscriber is made, used and closed on one thread (one event loop). It reconnects by itself; what the
protocol makes of the arriving bytes is decided in subscriber_protocol.py.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

import zmq
import zmq.asyncio

from streamer.bus.messages import Message, PredictionMessage, Snapshot, parse_snapshot
from streamer.bus.subscriber_sockets import SOON, SubscriberSockets
from streamer.errors import BusError


class Subscriber(SubscriberSockets):
    """Follows a publisher; iterate over it, or call `receive`.

    `topics`: prefixes such as "event/", "prediction/front-door/"; none = everything, heartbeats included.
    `since`: events are complete from there on: Unix seconds, ("seq", n), or a saved `position`; what was
    missed is asked for, what cannot be had is reported as a `Gap`. Without it, losses are reported as a
    `Gap` too, but not mended. `timeout`: seconds of silence after which iterating ends (None: never).
    `requests`: where requests are answered, when not on the next port. `keys`: folder with
    client.key_secret and server.key.

        with Subscriber("tcp://127.0.0.1:5555", topics=["event/"]) as subscriber:
            for message in subscriber:
                print(message)

    Raises BusError for a bad endpoint, key or `since`, and when the publisher refuses our key.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message:
        message = self.receive(self._timeout)
        if message is None:
            raise StopIteration
        return message

    def receive(self, timeout: float | None = None) -> Message | None:
        """The next message, or None when there was none for `timeout` seconds (None: wait for ever)."""
        deadline = self._deadline(timeout)
        while True:
            if not self._inbox:
                self._pump()
            if self._inbox:
                return self._give()
            wait = self._remaining(deadline)
            if wait <= 0:
                return None
            self._wait(wait)

    def latest(self, timeout: float = 0.0) -> dict[str, PredictionMessage]:
        """The newest prediction of each camera that arrived since the last call; waits for one up to
        `timeout`.

        For programs that want only the present: everything older, and every other kind of message, is
        discarded.
        """
        deadline = self._deadline(timeout)
        while True:
            newest = self._take_latest()
            wait = self._remaining(deadline)
            if newest or wait <= 0:
                return newest
            self._wait(wait)

    def snapshot(self, timeout: float = 2.0) -> Snapshot:
        """Every camera's state, open events and newest prediction. Raises BusError where no answer comes."""
        return _snapshot(self.request("snapshot", timeout=timeout))

    def request(self, op: str, *, timeout: float = 2.0, **fields: Any) -> dict[str, Any]:
        """Ask the publisher; the answer as it came. Raises BusError for an error or when none comes in
        time.
        """
        marker, request = self._begin_request(op, fields)
        deadline = self._deadline(timeout)
        sent = False
        while marker not in self._replies and (wait := self._remaining(deadline)) > 0:
            if not self._knows_where:
                self._pump()
                self._wait(wait)
                continue
            self._watch()
            if not sent:
                sent = self._send(request)
                wait = wait if sent else min(wait, SOON)
            self._wait(wait, only=self._requester())
            self._take_replies()
        return self._end_request(marker, op, timeout)

    def _wait(self, seconds: float, only: zmq.Socket[bytes] | None = None) -> None:
        poller = zmq.Poller()
        for socket in self._sockets() if only is None else [only]:
            poller.register(socket, zmq.POLLIN)
        poller.poll(int(seconds * 1000) + 1)


class AsyncSubscriber(SubscriberSockets):
    """`Subscriber` for asyncio: the same arguments, `async with`, `async for`, and awaited methods of the
    same names.

    Needs an event loop that watches file descriptors (on Windows: `asyncio.SelectorEventLoop`).
    """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        message = await self.receive(self._timeout)
        if message is None:
            raise StopAsyncIteration
        return message

    async def receive(self, timeout: float | None = None) -> Message | None:
        """As `Subscriber.receive`."""
        deadline = self._deadline(timeout)
        while True:
            if not self._inbox:
                self._pump()
            if self._inbox:
                return self._give()
            wait = self._remaining(deadline)
            if wait <= 0:
                return None
            await self._wait(wait)

    async def latest(self, timeout: float = 0.0) -> dict[str, PredictionMessage]:
        """As `Subscriber.latest`."""
        deadline = self._deadline(timeout)
        while True:
            newest = self._take_latest()
            wait = self._remaining(deadline)
            if newest or wait <= 0:
                return newest
            await self._wait(wait)

    async def snapshot(self, timeout: float = 2.0) -> Snapshot:
        """As `Subscriber.snapshot`."""
        return _snapshot(await self.request("snapshot", timeout=timeout))

    async def request(self, op: str, *, timeout: float = 2.0, **fields: Any) -> dict[str, Any]:
        """As `Subscriber.request`."""
        marker, request = self._begin_request(op, fields)
        deadline = self._deadline(timeout)
        sent = False
        while marker not in self._replies and (wait := self._remaining(deadline)) > 0:
            if not self._knows_where:
                self._pump()
                await self._wait(wait)
                continue
            self._watch()
            if not sent:
                sent = self._send(request)
                wait = wait if sent else min(wait, SOON)
            await self._wait(wait, only=self._requester())
            self._take_replies()
        return self._end_request(marker, op, timeout)

    async def _wait(self, seconds: float, only: zmq.Socket[bytes] | None = None) -> None:
        poller = zmq.asyncio.Poller()
        for socket in self._sockets() if only is None else [only]:
            poller.register(socket, zmq.POLLIN)
        try:
            await poller.poll(int(seconds * 1000) + 1)
            await asyncio.sleep(0)  # others may run, however much arrives
        except (NotImplementedError, RuntimeError) as error:
            raise BusError("this event loop cannot watch sockets; use asyncio.SelectorEventLoop") from error


def _snapshot(reply: dict[str, Any]) -> Snapshot:
    try:
        return parse_snapshot(reply)
    except ValueError as error:
        raise BusError(f"the publisher's snapshot cannot be understood: {error}") from error
