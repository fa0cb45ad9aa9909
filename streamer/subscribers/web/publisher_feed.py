"""Follows the publisher and informs the browsers: the only place where messages arrive.

A subscriber with replay: of events nothing is missed, whoever was restarted. Browsers get events only once
the subscriber has caught up, so that the number a browser remembers always means "everything before it".
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from streamer.bus.messages import (
    EventMessage,
    Gap,
    HeartbeatMessage,
    Message,
    PredictionMessage,
    StatusMessage,
    parse_snapshot,
)
from streamer.bus.position import Position
from streamer.bus.subscriber import AsyncSubscriber
from streamer.errors import BusError
from streamer.subscribers.publisher_address import PublisherAddress
from streamer.subscribers.web.client_queues import ClientQueues, sse
from streamer.subscribers.web.page_state import WINDOW, Json, PageState, whose
from streamer.subscribers.web.publisher_requests import AskPublisher, refusal
from streamer.subscribers.web.run_features import Features
from streamer.system.backoff import Backoff
from streamer.system.clock import SYSTEM_CLOCK, Clock

POLL = 0.5  # seconds between two looks at whether the publisher is still there
AGAIN = 3.0  # seconds before another attempt where the publisher refused us, or did not answer ...
MOST_AGAIN = 60.0  # ... again and again
TOPICS = ["event/", "status/", "prediction/", "heartbeat/"]


class PublisherFeed:
    """`run` follows until it is cancelled; the rest is what is known."""

    def __init__(
        self,
        publisher: PublisherAddress,
        queues: ClientQueues,
        ask: AskPublisher,
        clock: Clock = SYSTEM_CLOCK,
        recordings: Path | None = None,
    ) -> None:
        self._publisher, self._queues, self._ask, self._clock = publisher, queues, ask, clock
        self._recordings = recordings
        self.memory = PageState()
        self.features = Features()
        self.link: Json = {"state": "connecting", "since": clock.wall(), "detail": ""}
        self.reached: Position | None = None  # the newest event; None until everything before it is known
        self._since = Position.at(max(0.0, clock.wall() - WINDOW))
        self._session = ""
        self._journal = ""
        self._offers_of = ""  # session of which `features` tells
        self._recognised = ""  # session in which something was: its models are loaded
        self._newest = 0  # number of the newest event, as the publisher says
        self._tasks = asyncio.TaskGroup()

    async def run(self) -> None:
        """Follow the publisher for ever."""
        async with self._tasks:  # the end of one is the end of all
            while True:
                try:
                    async with self._publisher.async_subscriber(TOPICS, since=self._since) as subscriber:
                        await self._follow(subscriber)
                except BusError as error:
                    self._publish_link("refused", str(error))
                    await asyncio.sleep(AGAIN)

    async def _follow(self, subscriber: AsyncSubscriber) -> None:
        while True:
            message = await subscriber.receive(POLL)
            if message is not None:
                self._handle(message)
            position = subscriber.position
            self._since = position or self._since
            self._check_publisher(subscriber.connected, None if position is None else position.seq)

    def _check_publisher(self, connected: bool, reached: int | None) -> None:
        """Is the publisher there, and is everything it has said known here? `reached`: the newest number."""
        if connected:
            self._publish_link("live")
        elif self.link["state"] == "live":
            self._publish_link("silent", "nothing was heard from it for 3 seconds")
        if self._session and self.reached is None and reached is not None and reached >= self._newest:
            self.memory.synced(reached)
            self._set_reached(reached, self._session)
            self._queues.resync()

    def _handle(self, message: Message) -> None:
        if isinstance(message, HeartbeatMessage):
            self._heartbeat(message)
        elif isinstance(message, EventMessage):
            told = self.memory.event(message)
            if self.reached is not None:
                self._set_reached(message.seq, message.session)
                self._queues.publish(("event", message.id), sse("event", told, self.reached))
        elif isinstance(message, StatusMessage):
            if self.memory.status(message):
                status = self.memory.statuses[message.camera]
                self._queues.publish(("status", message.camera), sse("status", status))
        elif isinstance(message, PredictionMessage):
            if message.session != self._recognised:
                self._recognised = message.session
                self._tasks.create_task(self._offers())
            if self.memory.prediction(message):
                key = whose(message)
                told = self.memory.predictions[message.camera][key]
                self._queues.publish(("prediction", message.camera, key), sse("prediction", told))
        elif isinstance(message, Gap) and message.kind == "event":
            data = {"count": message.count, "reason": message.reason}
            self._queues.publish(("gap", message.first), sse("gap", data))

    def _heartbeat(self, beat: HeartbeatMessage) -> None:
        self._newest = beat.last_event_seq
        self.memory.forget(self._clock.wall())
        journal = str(beat.raw.get("journal", ""))
        if journal != self._journal:
            if self._journal:
                self.memory.new_history()
            self._journal = journal
            self.reached = None  # until everything of that history is known
        if beat.session != self._session:
            self._session = beat.session
            self.reached = None
            self._tasks.create_task(self._snapshot())
        elif self.memory.keep_cameras(beat.cameras):
            self._queues.resync()
        if self.memory.keep_workers(beat.raw.get("workers") or {}):
            self._queues.publish("workers", sse("workers", self.memory.workers))

    def _set_reached(self, seq: int, session: str) -> None:
        self.reached = Position.of_cursor(Position("seq", seq, session, self._journal).cursor)

    async def _snapshot(self) -> None:
        """Statuses are repeated every 5 s only: ask for them at once. Where that fails they come anyway."""
        with contextlib.suppress(BusError, ValueError):
            self.memory.snapshot(parse_snapshot(await self._ask("snapshot")))
            self._queues.resync()
        await self._offers()

    async def _offers(self) -> None:
        """What the run offers, asked until it answers; again when it begins to recognise: only then its
        labels are known.
        """
        session, waits = self._session, Backoff(AGAIN, MOST_AGAIN)
        while session == self._session:
            try:
                self._offered(session, Features.of(await self._ask("features")))
                return
            except BusError as error:
                if refusal(error)[0] != "no_answer":  # an older run
                    self._offered(session, Features())
                    return
                if self._offers_of != session:  # what another run offered says nothing of this one
                    self._offered(session, Features())
            await asyncio.sleep(waits.next())

    def _offered(self, session: str, features: Features) -> None:
        self.features, self._offers_of = features, session
        self._queues.resync()

    def _publish_link(self, state: str, detail: str = "") -> None:
        if (state, detail) != (self.link["state"], self.link["detail"]):
            self.link = {"state": state, "since": self._clock.wall(), "detail": detail}
            self._queues.publish("link", sse("link", self.link))

    @property
    def recordings(self) -> Path | None:
        """The folder of snapshots and clips: the one that was named, or the run's where that is here."""
        return self._recordings or self.features.folder

    # ---- for a browser that was away

    def missing_after(self, last: Position | None) -> bool:
        """Whether something that came after `last` is no longer, or not yet, in the memory."""
        if last is None or self.reached is None or last.journal != self.reached.journal:
            return False
        return not self.memory.reaches(last.seq)

    def state(self) -> Json:
        """Everything, for one browser."""
        return {
            "features": self.features.told(self.recordings is not None),
            **self.memory.state(),
            "link": self.link,
            "now": self._clock.wall(),
            "endpoint": self._publisher.endpoint,
        }
