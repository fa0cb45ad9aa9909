"""Where a publisher is, and how to follow it: what every subscriber command needs to know."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streamer.bus.endpoints import DEFAULT
from streamer.bus.position import Since

if TYPE_CHECKING:
    from streamer.bus.subscriber import AsyncSubscriber, Subscriber


@dataclass(frozen=True, slots=True)
class PublisherAddress:
    """Where the publisher is, and the keys it wants."""

    endpoint: str = DEFAULT
    requests: str | None = None  # None: where heartbeats say, or the next port
    keys: str | os.PathLike[str] | None = None

    def subscriber(self, topics: list[str], since: Since | None = None) -> Subscriber:
        """One for threads. Raises BusError for a bad address or key."""
        from streamer.bus.subscriber import Subscriber

        return Subscriber(self.endpoint, topics=topics, since=since, requests=self.requests, keys=self.keys)

    def async_subscriber(self, topics: list[str], **more: Any) -> AsyncSubscriber:
        """One for asyncio. Raises BusError for a bad address or key."""
        from streamer.bus.subscriber import AsyncSubscriber

        return AsyncSubscriber(self.endpoint, topics=topics, requests=self.requests, keys=self.keys, **more)
