"""Answers to requests (`snapshot`, `events`, and what the program adds): bytes in, bytes out, no sockets.

Whatever comes in, an answer goes out: an object of type "error" with a `code` for programs and a `message`
for people, where the request cannot be served.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeAlias

from streamer.bus import wire
from streamer.bus.journal import CHUNK, MAX_LIMIT, Journal
from streamer.errors import RequestError, StreamerError
from streamer.system.clock import Clock

MAX_REQUEST = 64 * 1024  # bytes
TRACK_GONE = 10.0  # seconds after the last prediction of somebody
MOST_PEOPLE = 128  # of a camera, of whom the last prediction is told
MOST_WAITING = 64  # answers that others work on
_MAX_SEQ = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Peer:
    """Who asks."""

    address: str  # network address, "" where there is none (ipc)
    key: str | None  # name of its key file; None without encryption
    local: bool  # asks through an endpoint that only this machine can reach


# A handler that has to ask others gives a future; it must end by itself, within seconds.
Answer: TypeAlias = Mapping[str, Any] | Future[Mapping[str, Any]]
Handler: TypeAlias = Callable[[Mapping[str, Any], Peer], Answer]


class Present:
    """What is true now: the last message of each kind, by camera, and the events that are open."""

    def __init__(self) -> None:
        self.statuses: dict[str, wire.Body] = {}
        # by camera, then by model and person (None: the whole picture), of people the oldest news first
        self.predictions: dict[str, dict[tuple[str, int | None], wire.Body]] = {}
        self.events: dict[str, wire.Body] = {}  # event id -> its last message

    def note(self, message: wire.Body) -> None:
        kind = message["type"]
        if kind == "status":
            self.statuses[message["camera"]] = message
        elif kind == "prediction":
            self._predicted(message)
        elif message["event"]["phase"] == "end":
            self.events.pop(message["event"]["id"], None)
        else:
            self.events[message["event"]["id"]] = message

    def _predicted(self, message: wire.Body) -> None:
        known = self.predictions.setdefault(message["camera"], {})
        track = message.get("track")
        key = message["model"], None if track is None else track["id"]
        if track is not None:
            known.pop(key, None)
        known[key] = message
        people = [key for key in known if key[1] is not None]
        for number, old in enumerate(people):  # who left says so nowhere
            gone = message["sent_at"] - known[old]["sent_at"] > TRACK_GONE
            if not gone and len(people) - number <= MOST_PEOPLE:
                break
            del known[old]

    def forget(self, camera: str) -> None:
        self.statuses.pop(camera, None)
        self.predictions.pop(camera, None)

    def _whole(self, camera: str) -> wire.Body | None:
        """The prediction to tell where only one is wanted: of the whole picture, where there is one."""
        known = self.predictions.get(camera, {})
        return next((known[key] for key in known if key[1] is None), next(iter(known.values()), None))

    def cameras(self) -> wire.Body:
        """One entry per camera, for a snapshot."""
        names = dict.fromkeys([*self.statuses, *self.predictions])
        names.update(dict.fromkeys(event["camera"] for event in self.events.values()))
        return {
            name: {
                "status": self.statuses.get(name),
                "events": [event for event in self.events.values() if event["camera"] == name],
                "prediction": self._whole(name),
                "predictions": list(self.predictions.get(name, {}).values()),
            }
            for name in names
        }


@dataclass(frozen=True, slots=True)
class Pending:
    """An answer that somebody else is working on."""

    op: str
    told: Future[Mapping[str, Any]]
    echo: wire.Body

    @property
    def done(self) -> bool:
        return self.told.done()

    def answer(self) -> bytes:
        """The reply; once it is done."""
        gone = RequestError("failed", "the program ends")
        error = gone if self.told.cancelled() else self.told.exception()
        if error is None:
            return wire.encode({"v": wire.VERSION, "type": self.op, **self.told.result(), **self.echo})
        known = isinstance(error, RequestError)
        code = error.code if isinstance(error, RequestError) else "failed"
        text = str(error) if known or isinstance(error, StreamerError) else f"op {self.op!r} failed here"
        return wire.encode({**self.echo, **wire.error_body(code, text)})


class Requests:
    """The table of operations. `handlers` adds to it: each gets the request and who asks, runs on the bus
    thread (so it must be quick) and returns the reply's keys.
    """

    def __init__(
        self,
        session: str,
        present: Present,
        journal: Journal,
        clock: Clock,
        handlers: Mapping[str, Handler],
        on_problem: Callable[[str], None],
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """`wake`: called by any thread when an answer that was waited for is there."""
        self._wake = wake
        self._session, self._present, self._journal, self._clock = session, present, journal, clock
        self._handlers, self._on_problem = handlers, on_problem
        self._broken: set[str] = set()

    def answer(self, data: bytes, peer: Peer, waiting: int = 0) -> bytes | Pending:
        """The reply to one request, or what will have it; never raises. `waiting`: how many wait already."""
        request: wire.Body = {}
        try:
            if len(data) > MAX_REQUEST:
                raise RequestError(
                    "too_large", f"a request may have {MAX_REQUEST} bytes, this has {len(data)}"
                )
            try:
                request = wire.decode(data)
            except ValueError as error:
                raise RequestError("bad_json", f"a request is one JSON object: {error}") from None
            if waiting >= MOST_WAITING:
                raise RequestError("busy", f"{waiting} requests wait for their answer; ask again")
            return self._serve(request, peer)
        except RequestError as error:
            return wire.encode({**_echo(request), **wire.error_body(error.code, str(error))})

    def _serve(self, request: wire.Body, peer: Peer) -> bytes | Pending:
        op = request.get("op")
        if op == "snapshot":
            return self._snapshot(request)
        if op == "events":
            return self._events(request)
        handler = self._handlers.get(op) if isinstance(op, str) else None
        if handler is None:
            known = ", ".join(["snapshot", "events", *self._handlers])
            raise RequestError("unknown_op", f"op {_short(op)} is not known here; known: {known}")
        return self._handled(str(op), handler, request, peer)

    def _handled(self, op: str, handler: Handler, request: wire.Body, peer: Peer) -> bytes | Pending:
        try:
            told = handler(request, peer)
            if isinstance(told, Future):
                told.add_done_callback(lambda _: self._wake())
                return Pending(op, told, _echo(request))
            return wire.encode({"v": wire.VERSION, "type": op, **told, **_echo(request)})
        except RequestError:
            raise
        except Exception as error:  # a handler's edge: the server lives on, and says it
            if op not in self._broken:
                self._broken.add(op)
                self._on_problem(f"the answer to op {op!r} failed: {type(error).__name__}: {error}")
            raise RequestError("failed", f"op {op!r} failed here; the publisher's log says why") from error

    def _snapshot(self, request: wire.Body) -> bytes:
        return wire.encode(
            {
                "v": wire.VERSION,
                "type": "snapshot",
                **_echo(request),
                "session": self._session,
                "sent_at": round(self._clock.wall(), 6),
                "journal": self._journal.id,
                "last_event_seq": self._journal.last,
                "cameras": self._present.cameras(),
            }
        )

    def _events(self, request: wire.Body) -> bytes:
        camera, label, session = (_text(request, key) for key in ("camera", "label", "session"))
        limit = _whole(request, "limit", CHUNK, 1, MAX_LIMIT)
        try:
            if "after" in request:
                after = _whole(request, "after", 0, 0, _MAX_SEQ)
            elif "since" in request:
                after = self._journal.before(_time(request, "since"))
                session = None
            else:
                raise RequestError(
                    "bad_request", "op 'events' needs 'after' (a seq) or 'since' (Unix seconds)"
                )
            page = self._journal.after(after, session=session, camera=camera, label=label, limit=limit)
        except sqlite3.Error as error:
            raise RequestError("unavailable", f"the event history cannot be read: {error}") from error
        extra = {
            **_echo(request),
            "session": self._session,
            "journal": self._journal.id,
            "after": page.after,
            "last_event_seq": self._journal.last,
        }
        return wire.events_reply([row.message for row in page.rows], page.more, extra)


def _echo(request: wire.Body) -> wire.Body:
    """A request's own `id` comes back with its answer, so that answers can be told apart."""
    marker = request.get("id")
    return {"id": marker[:100] if isinstance(marker, str) else marker} if _is_marker(marker) else {}


def _is_marker(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))


def _text(request: wire.Body, key: str) -> str | None:
    value = request.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        raise RequestError("bad_request", f"{key!r} must be text, not {_short(value)}")
    return value.encode("utf-8", "replace").decode()  # as the history stores it


def _whole(request: wire.Body, key: str, default: int, low: int, high: int) -> int:
    value = request.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise RequestError("bad_request", f"{key!r} must be a whole number from {low} to {high}")
    return value


def _time(request: wire.Body, key: str) -> float:
    value = request[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RequestError("bad_request", f"{key!r} must be a number of Unix seconds")
    if abs(value) > 1e15 or not math.isfinite(value):
        raise RequestError("bad_request", f"{key!r} is beyond every calendar")
    return float(value)


def _short(value: object) -> str:
    text = repr(value) if isinstance(value, str | int | float | None) else type(value).__name__
    return text if len(text) <= 40 else text[:37] + "..."
