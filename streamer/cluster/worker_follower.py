"""Follows one worker: its events from its history on, in order, once each; the rest as it comes.

A thread for each process of a worker. Events go into the front's history with their place in the worker's; a
follower that begins anew, after a crash too, goes on behind the last one that is written there.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from streamer.bus import EventMessage, HeartbeatMessage, Message, Position, Publisher, Subscriber
from streamer.bus.encryption import ClientKeys
from streamer.bus.forwarded_events import Origin
from streamer.bus.messages import PredictionMessage, PreviewMessage, StatusMessage
from streamer.cluster.front_leases import Members
from streamer.cluster.lease_renewal import Renewal
from streamer.errors import BusError

log = logging.getLogger(__name__)

TOPICS = ["event/", "status/", "prediction/"]
PREVIEWS = "preview/"
LOOK = 0.2  # seconds between two looks at whether to end, and whether somebody wants to see pictures
AGAIN = 1.0  # seconds until it is tried again where a worker refuses us, or anything else failed
HANDED_OVER = ("moved", "lease lost", "camera changed", "camera removed")  # last words: others go on
HEAD = ("v", "session", "seq", "sent_at")
QUEUE = 2000  # messages that may wait; events that do not fit are asked for again
MOST_WAITING = 4000  # messages of all workers that the front has not sent, until nothing more is taken
PAUSE = 0.02  # seconds


class Follower:
    """`start` it; `stop` returns at once.

    Args:
        told: where the worker is, and where its history ends now.
        before: follows the worker's process before this one, and was stopped: what it still forwards comes
            first, as it stands first in the worker's history.
    """

    def __init__(
        self,
        told: Renewal,
        keys: ClientKeys | None,
        publisher: Publisher,
        members: Members,
        note: Callable[[str], None],
        before: Follower | None = None,
    ) -> None:
        self.told, self._before = told, before
        self._keys, self._publisher, self._members, self._note = keys, publisher, members, note
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"follow-{told.name}", daemon=True)

    def start(self, followed: Iterable[str] = ()) -> None:
        """`followed`: the histories of all workers that are followed now."""
        journal = self.told.journal
        if self._publisher.origin(journal.id) is None:  # new to us: what was before does not concern us
            origin = Origin(self.told.name, journal.id, journal.session, journal.last)
            self._publisher.begin_at(origin, followed)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def join(self, timeout: float | None = None) -> None:
        self._thread.join(timeout)

    @property
    def ready(self) -> bool:
        """Where the worker's history begins for us is written."""
        return self._publisher.origin(self.told.journal.id) is not None

    def _run(self) -> None:
        if self._before is not None:
            self._before.join()
            self._before = None
        while not self.ready:
            if self._stop.wait(0.005):
                return
        while not self._stop.is_set():
            try:
                self._follow()
            except Exception as error:  # a thread's top: it begins anew behind what is written
                if not isinstance(error, BusError):
                    log.exception("following worker %s failed", self.told.name)
                self._note(f"worker {self.told.name}: {error}")
                self._stop.wait(AGAIN)

    def _follow(self) -> None:
        place = self._publisher.origin(self.told.journal.id)
        assert place is not None
        since = Position("seq", place.seq, place.session, place.journal)
        with Subscriber(
            self.told.endpoint, topics=TOPICS, since=since, requests=self.told.requests, keys=self._keys,
            high_water_mark=QUEUE,
        ) as subscriber:  # fmt: skip
            pictures = connected = False
            while not self._stop.is_set():
                if self._publisher.waiting > MOST_WAITING:  # the worker's history keeps what does not fit now
                    if connected:
                        self._members.heard(self.told.name)
                    self._stop.wait(PAUSE)
                    continue
                if pictures != (wanted := self._publisher.wanted(PREVIEWS)):
                    pictures = wanted
                    subscriber.want(PREVIEWS, wanted)
                message = subscriber.receive(LOOK)
                if connected := subscriber.connected:
                    self._members.heard(self.told.name)
                if message is not None:
                    self._take(message, subscriber)

    def _take(self, message: Message, subscriber: Subscriber) -> None:
        if isinstance(message, EventMessage):
            position = subscriber.position
            assert position is not None
            self._event(message, position)
        elif isinstance(message, (PredictionMessage, StatusMessage, PreviewMessage)):
            goes = isinstance(message, StatusMessage) and message.detail in HANDED_OVER
            if self._members.owner(message.camera) == self.told.name and not goes:
                self._publisher.forward({**_without_head(message.raw), "worker": self.told.name})
        elif not isinstance(message, HeartbeatMessage) and message.type == "gap":
            self._lost(message)

    def _event(self, message: EventMessage, position: Position) -> None:
        raw, name = message.raw, self.told.name
        body = _without_head(raw)
        lease = body.pop("lease", None)
        origin = Origin(name, position.journal, message.session, message.seq)
        may_start = self._members.may_start(name, message.camera, lease)
        self._publisher.forward({**body, "worker": name, "origin": origin.as_json}, may_start=may_start)

    def _lost(self, gap: Any) -> None:
        if gap.kind == "event":
            self._note(
                f"worker {self.told.name}: events {gap.first} to {gap.last} of its history cannot be had"
                f" ({gap.reason})"
            )


def _without_head(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in raw.items() if key not in HEAD}
