"""Ready-made events of other publishers: which of them enter this one's history, and as what.

A publisher in front of others (a front) tells their events under its own numbers. Each keeps its `origin`,
which goes into the history in the same transaction: after a crash the front finds its place in every other
history, so that nothing is lost and nothing comes twice. On the bus thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from streamer.bus import wire


@dataclass(frozen=True, slots=True)
class Origin:
    """A place in another publisher's history."""

    worker: str
    journal: str
    session: str
    seq: int

    @classmethod
    def of(cls, body: Mapping[str, object]) -> Origin | None:
        """Where an event message comes from; None where it is this publisher's own."""
        told = body.get("origin")
        return cls(**told) if isinstance(told, dict) else None

    @property
    def as_json(self) -> wire.Body:
        return {"worker": self.worker, "journal": self.journal, "session": self.session, "seq": self.seq}


@dataclass(frozen=True, slots=True)
class End:
    """What a publisher that is gone has left open is to be ended."""

    worker: str
    cameras: frozenset[str] | None  # None: all of its cameras
    reason: str


class Forwarded:
    """The events that are open here, and what is taken of those that come.

    Args:
        left: the last messages of events that an earlier run left open; they go on.
        origins: the last place in each history that was taken.
    """

    def __init__(self, left: Iterable[wire.Body] = (), origins: Iterable[Origin] = ()) -> None:
        self._open = {body["event"]["id"]: body for body in left}
        self._last = {origin.journal: (origin.session, origin.seq) for origin in origins}

    def admits(self, body: wire.Body, may_start: bool) -> bool:
        """Whether an event phase is told. A start where somebody may begin one; what follows where it is open
        and comes from the same publisher. Never the same place twice.
        """
        origin = Origin.of(body)
        if origin is not None:
            session, seq = self._last.get(origin.journal, ("", 0))
            if session == origin.session and origin.seq <= seq:
                return False
            self._last[origin.journal] = (origin.session, origin.seq)
        event = body["event"]
        name, phase, before = event["id"], event["phase"], self._open.get(event["id"])
        if before is None:
            if phase != "start" or not may_start:
                return False
        elif phase == "start" or before.get("worker") != body.get("worker"):
            return False
        if phase == "end":
            del self._open[name]
        else:
            self._open[name] = body
        return True

    def forget(self, journals: Iterable[str]) -> None:
        """Their places are kept no more."""
        for journal in journals:
            self._last.pop(journal, None)

    def ends(self, end: End, now: float) -> list[wire.Body]:
        """The ends of what somebody has left open; `now` in Unix seconds."""
        left = [
            body
            for body in self._open.values()
            if body.get("worker") == end.worker and (end.cameras is None or body["camera"] in end.cameras)
        ]
        for body in left:
            del self._open[body["event"]["id"]]
        return [closing(body, end.reason, max(round(now, 3), body["event"]["started_at"])) for body in left]


def closing(message: wire.Body, reason: str, at: float) -> wire.Body:
    """The end of an event of which `message` was the last word; `at` in Unix seconds."""
    event = {**message["event"], "phase": "end", "reason": reason, "ended_at": at}
    if "media_started_at" in event:
        event["media_ended_at"] = None
    kept: wire.Body = {
        key: message[key] for key in ("type", "camera", "model", "track", "worker") if key in message
    }
    return {**kept, "event": event}
