"""Requests to the publisher: history, snapshots, corrections. One at a time, on a subscriber of its own, so
that a long search never holds up what is live.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

from streamer.bus.subscriber import AsyncSubscriber
from streamer.errors import BusError
from streamer.subscribers.publisher_address import PublisherAddress

ANSWER = 2.0  # seconds to wait for one
_REFUSAL = re.compile(r"cannot serve op '\w+': (.*) \((\w+)\)$", re.DOTALL)


class AskPublisher(Protocol):
    """Ask the publisher: `await ask("events", after=0)`. Raises BusError."""

    def __call__(self, op: str, /, **fields: Any) -> Awaitable[Mapping[str, Any]]: ...


class PublisherRequests:
    """Sends requests one after the other. Call it as `AskPublisher` says."""

    def __init__(self, publisher: PublisherAddress) -> None:
        self._publisher = publisher
        self._lock = asyncio.Lock()
        self._subscriber: AsyncSubscriber | None = None

    async def __call__(self, op: str, /, **fields: Any) -> Mapping[str, Any]:
        async with self._lock:
            if self._subscriber is None:
                self._subscriber = self._publisher.async_subscriber(["heartbeat/"], high_water_mark=2)
            while await self._subscriber.receive(0.0) is not None:
                pass  # heartbeats say where requests are answered
            return await self._subscriber.request(op, timeout=ANSWER, **fields)

    def close(self) -> None:
        if self._subscriber is not None:
            self._subscriber.close()
            self._subscriber = None


def refusal(error: BusError) -> tuple[str, str]:
    """(code, message) as the publisher said them; the code is "no_answer" where it said nothing."""
    found = _REFUSAL.search(str(error))
    return (found[2], found[1]) if found else ("no_answer", str(error))
