"""One queue for each browser. A slow one gets the newest state instead of old messages, and delays nobody."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Hashable, Mapping
from typing import Any

from streamer.bus.position import Position

MOST_WAITING = 400  # different pieces of news; a browser that is further behind gets the whole state anew


class TooManyClientsError(Exception):
    """As many browsers are connected as may be."""


def sse(name: str, data: Mapping[str, Any], reached: Position | None = None) -> bytes:
    """One server-sent event; JSON holds no line break, so `data` is one line."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    head = f"event: {name}\n" if reached is None else f"id: {reached.cursor}\nevent: {name}\n"
    return f"{head}data: {text}\n\n".encode("utf-8", "replace")


class ClientQueue:
    """What was not sent to one browser yet: at most MOST_WAITING messages, the newest of each kind."""

    def __init__(self) -> None:
        self.behind = True  # it needs the whole state
        self.closed = False
        self._waiting: dict[Hashable, bytes] = {}
        self._woken = asyncio.Event()

    def put(self, key: Hashable, data: bytes) -> None:
        if self.behind:
            return  # the state it is about to get has this in it
        self._waiting.pop(key, None)  # news stay in order, so that a part of them is never a later part
        self._waiting[key] = data
        if len(self._waiting) > MOST_WAITING:
            self.fall_behind()
        self._woken.set()

    def fall_behind(self) -> None:
        """Nothing that waits is needed: the whole state will be sent."""
        self.behind = True
        self._waiting.clear()
        self._woken.set()

    def caught_up(self) -> None:
        """The whole state is about to be sent, as it is at this moment."""
        self.behind = False
        self._waiting.clear()

    def take(self) -> bytes:
        """All that waits, as one piece; empty where nothing does."""
        data = b"".join(self._waiting.values())
        self._waiting.clear()
        self._woken.clear()
        return data

    async def wait(self, seconds: float) -> None:
        """Until there is something to do, at most so long."""
        if self.closed:
            return
        with contextlib.suppress(TimeoutError):  # not `wait_for`: Python 3.11's may lose a cancellation
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    def close(self) -> None:
        self.closed = True
        self._woken.set()


class ClientQueues:
    """The queues of all browsers."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._queues: set[ClientQueue] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._queues)

    @property
    def full(self) -> bool:
        return len(self._queues) >= self.most or self._closed

    def join(self) -> ClientQueue:
        """A queue for one more browser. Raises TooManyClientsError."""
        if self.full:
            raise TooManyClientsError(f"{len(self._queues)} pages are open already, as many as may be")
        queue = ClientQueue()
        self._queues.add(queue)
        return queue

    def leave(self, queue: ClientQueue) -> None:
        self._queues.discard(queue)

    def publish(self, key: Hashable, data: bytes) -> None:
        """Tell everybody; what waits under the same key is replaced."""
        for queue in self._queues:
            queue.put(key, data)

    def resync(self) -> None:
        """Everybody gets the whole state anew."""
        for queue in self._queues:
            queue.fall_behind()

    def close(self) -> None:
        """Every stream ends, and no new one begins."""
        self._closed = True
        for queue in self._queues:
            queue.close()
