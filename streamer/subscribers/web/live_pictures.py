"""The newest live picture of each camera, where the run publishes previews; nothing otherwise.

On a subscriber of its own: pictures are large, and must not be what makes an event late.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from streamer.bus.messages import PreviewMessage
from streamer.errors import BusError
from streamer.subscribers.publisher_address import PublisherAddress
from streamer.subscribers.web.client_queues import ClientQueues, sse
from streamer.system.clock import SYSTEM_CLOCK, Clock

FRESH = 10.0  # seconds for which a picture counts as live
LARGEST = 2_000_000  # bytes
MOST = 500  # cameras
AGAIN = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Picture:
    """A JPEG, and when it came."""

    jpeg: bytes
    at: float  # monotonic seconds


class Pictures:
    """`run` follows the previews until it is cancelled."""

    def __init__(
        self, publisher: PublisherAddress, queues: ClientQueues, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._publisher, self._queues, self._clock = publisher, queues, clock
        self._newest: dict[str, Picture] = {}

    async def run(self) -> None:
        """Follow the previews for ever."""
        while True:
            try:
                async with self._publisher.async_subscriber(["preview/"], high_water_mark=4) as subscriber:
                    while True:
                        message = await subscriber.receive(FRESH)
                        if isinstance(message, PreviewMessage):
                            self._handle(message)
            except BusError:  # the feed says what is wrong
                await asyncio.sleep(AGAIN)

    def _handle(self, message: PreviewMessage) -> None:
        camera, data = message.camera, message.jpeg
        if len(data) > LARGEST or not data.startswith(b"\xff\xd8\xff"):
            return
        if camera in self._newest or len(self._newest) < MOST:
            self._newest[camera] = Picture(data, self._clock.monotonic())
            told = {"camera": camera, "seq": message.seq, "tracks": message.raw.get("tracks", [])}
            self._queues.publish(("preview", camera), sse("preview", told))

    def jpeg(self, camera: str) -> bytes | None:
        """The newest picture; None where there is none that is live."""
        picture = self._newest.get(camera)
        if picture is None or self._clock.monotonic() - picture.at > FRESH:
            return None
        return picture.jpeg
