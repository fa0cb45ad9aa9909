"""The bus thread: owner of all sockets and of the event history, which it makes, uses and closes itself.

Order for events, always: into the history, then out. Everything else here is what a publisher owes its
readers: heartbeats, repeated statuses, answers, and patience with none of them.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import zmq

from streamer.bus import wire
from streamer.bus.forwarded_events import Forwarded, Origin
from streamer.bus.journal import Journal, Sent
from streamer.bus.outbox import Item, Outbox
from streamer.bus.publisher_sockets import LINGER, PublisherSockets
from streamer.bus.requests import Handler, Present, Requests
from streamer.bus.sinks import SinkThread
from streamer.config import BusConfig, JournalConfig
from streamer.errors import BusError
from streamer.system.clock import Clock
from streamer.types import PublisherState

REPEAT = 5.0  # seconds between two repetitions of a camera's unchanged status
CHECK_CLOCK = 0.25  # seconds after which the clock is looked at again, at the latest
WELCOME = 0.1  # least seconds between two heartbeats sent for newcomers
FLUSH = 0.8  # seconds for everything that waits, at the end
MAX_BURST = 25  # messages sent without a pause: fewer than any sensible high-water mark
START = 15.0  # seconds to bind and to open the history
JOIN = 0.1  # seconds between two looks at whether the end must come now
FAILURES = 10  # rounds in a row that may fail before the thread gives up


@dataclass(slots=True)
class Setup:
    """What the bus thread is made of."""

    config: BusConfig
    journal: JournalConfig
    clock: Clock
    outbox: Outbox
    sinks: Sequence[SinkThread]
    handlers: Mapping[str, Handler]
    on_problem: Callable[[str], None]
    keeps_open: bool = False  # events that an earlier run left open go on
    beat: Callable[[], Mapping[str, Any]] = dict  # what heartbeats tell beside the rest


class BusThread:
    """One run of the bus. `start` returns when everything is bound, or raises BusError."""

    def __init__(self, setup: Setup) -> None:
        self._setup, self._clock, self._outbox = setup, setup.clock, setup.outbox
        self._session = uuid.uuid4().hex[:12]
        self._failure: BaseException | None = None
        self._state = PublisherState(self._session, wants_durable=setup.journal.path != "")
        self._ready, self._closing, self._never = threading.Event(), threading.Event(), threading.Event()
        self._seqs = dict.fromkeys((kind for kind in wire.KINDS if kind != "event"), 0)
        self._present = Present()
        self._sent_events: list[Sent] = []
        self.left_by: frozenset[str] = frozenset()  # whose events an earlier run left open, and go on
        self._unsent = 0  # messages that were taken on and have not left
        self._flush_until = math.inf  # monotonic seconds: the end waits no longer than this
        self._burst = max(1, min(MAX_BURST, setup.config.high_water_mark // 2))
        self._thread = threading.Thread(target=self._main, name="streamer-bus", daemon=True)

    # ---- for other threads

    def start(self) -> None:
        self._thread.start()
        if not self._ready.wait(START):
            raise BusError(f"the bus did not start within {START:g} s; does journal.path's disk answer?")
        if self._failure is not None:
            self._thread.join(2.0)
            raise self._failure

    def state(self) -> PublisherState:
        """How it is now; any thread."""
        state, outbox = self._state, self._outbox
        last_loop = state.last_loop if self._thread.is_alive() else None
        lost = self._unsent + outbox.dropped + outbox.late + sum(sink.missed for sink in self._setup.sinks)
        return replace(state, last_loop=last_loop, waiting=len(outbox), dropped=outbox.dropped, lost=lost)

    def close(self, timeout: float, patient: threading.Event | None = None) -> bool:
        """Send what waits and end; False where the thread is still busy after `timeout` seconds.

        Sinks that are slow have FLUSH seconds; with `patient` these begin when it is set.
        """
        self._closing.set()
        self._outbox.close()
        while patient is not None and not patient.is_set() and self._thread.is_alive():
            self._thread.join(JOIN)
        self._flush_until = time.monotonic() + FLUSH
        for sink in self._setup.sinks:
            sink.hurry(FLUSH)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # ---- the thread

    def _main(self) -> None:
        with contextlib.ExitStack() as stack:
            try:
                self._open(stack)
            except Exception as error:  # noqa: BLE001 - a thread's top: `start` raises it where it was called
                self._failure = error
                self._ready.set()
                return
            self._ready.set()
            failures = 0
            while not self._closing.is_set():
                try:
                    self._round()
                    failures = 0
                except Exception as error:  # noqa: BLE001 - a thread's top: one bad message must not end the bus
                    failures += 1
                    self._setup.on_problem(f"the bus failed at something: {type(error).__name__}: {error}")
                    if failures >= FAILURES:
                        self._setup.on_problem("the bus fails again and again and is stopped")
                        break
            self._outbox.close()  # after failures: nobody may wait for room now
            self._flush()
        self._outbox.release()

    def _open(self, stack: contextlib.ExitStack) -> None:
        setup = self._setup
        context: zmq.Context[Any] = zmq.Context()
        stack.callback(context.destroy, LINGER)
        self._poller = zmq.Poller()
        self._poller.register(self._outbox.wake, zmq.POLLIN)
        self._sockets = PublisherSockets(context, self._poller, setup.config, self._clock, setup.on_problem)
        self._journal = Journal(setup.journal, self._session, clock=self._clock, on_problem=setup.on_problem)
        stack.callback(self._journal.close)
        self._requests = Requests(
            self._session, self._present, self._journal, self._clock, setup.handlers, setup.on_problem,
            self._outbox.ring,
        )  # fmt: skip
        self._started_at = round(self._clock.wall(), 6)
        now = self._clock.monotonic()
        self._beat_at, self._repeat_at, self._beaten_at = now, now + REPEAT, now - WELCOME
        left = self._journal.left_open() if setup.keeps_open else []
        self._forwarded = Forwarded(left, self._journal.origins.values())
        for message in left:
            self._present.note(message)
        self.left_by = frozenset(str(message.get("worker", "")) for message in left)
        if not setup.keeps_open:
            self._send_all([Item(0, body) for body in self._journal.take_open()])
        self._update_state()

    def _round(self) -> None:
        self._outbox.answer()
        self._send_all(self._outbox.take(self._burst))
        busy = self._timers()
        self._update_state()
        if busy or len(self._outbox):
            wait = 1  # lets ZeroMQ's own thread empty its queues: a burst must not look like a slow reader
        else:
            due = min(self._beat_at, self._repeat_at) - self._clock.monotonic()
            wait = int(max(0.0, min(due, CHECK_CLOCK)) * 1000) + 1
        if self._sockets.serve(dict(self._poller.poll(wait)), self._requests):
            self._beat_at = min(self._beat_at, self._beaten_at + WELCOME)

    def _update_state(self) -> None:
        """Bring up to date what other threads may know."""
        self._state = replace(
            self._state,
            endpoint=self._sockets.endpoint,
            requests_endpoint=self._sockets.requests_endpoint,
            subscribers=self._sockets.subscribers,
            refused=self._sockets.refused,
            journal=self._journal.id,
            last_event_seq=self._journal.last,
            durable=self._journal.durable,
            last_loop=self._clock.monotonic(),
        )

    def _timers(self) -> bool:
        """What is due; True where the history has more to tidy up."""
        now = self._clock.monotonic()
        if now >= self._repeat_at:
            self._repeat_at = now + REPEAT
            self._send_all([Item(0, status=status) for status in self._outbox.told_statuses()])
        if now >= self._beat_at:
            self._beat()
        return self._journal.tidy()

    # ---- sending

    def _beat(self) -> None:
        self._beaten_at = self._clock.monotonic()
        self._beat_at = self._beaten_at + self._setup.config.heartbeat
        cameras = {name: status["state"] for name, status in self._present.statuses.items()}
        cameras.update((name, str(status.state)) for name, status in self._outbox.statuses().items())
        extra = {
            "journal": self._journal.id,
            "requests": self._sockets.requests_endpoint,
            "started_at": self._started_at,
            **self._setup.beat(),
        }
        self._send(self._numbered(wire.heartbeat_body(self._journal.last, cameras, extra)))

    def _send_all(self, items: Sequence[Item]) -> None:
        """Send items in order; their events enter the history together before the first of them leaves."""
        self._unsent += len(items)  # until they have left
        items = self._written(items)
        events = iter(self._sent_events)
        for item in items:
            if item.forget:
                self._present.forget(item.forget)
                self._unsent -= 1
                continue
            if item.status is not None:
                sent = self._numbered(wire.status_body(item.status, self._clock.monotonic()))
            elif item.body is not None and item.body["type"] == "event":
                sent = next(events)
            elif item.body is not None and item.body["type"] == "status":
                sent = self._numbered(item.body)
            elif item.body is not None and item.body["type"] == "preview":
                message, data = self._numbered(item.body)
                self._sockets.send(wire.topic_of(message), data)
                self._unsent -= 1
                continue
            else:
                body = item.body or {}
                if item.captured is not None:
                    age = max(0.0, self._clock.monotonic() - item.captured) * 1000
                    body["latency_ms"]["capture_to_publish"] = round(age, 2)
                sent = self._numbered(body)
            self._present.note(sent[0])
            self._send(sent)
            self._unsent -= 1

    def _written(self, items: Sequence[Item]) -> list[Item]:
        """Decide which events are told, and write those into the history: what is left to be sent."""
        kept: list[Item] = []
        passed: list[Origin] = []
        followed: frozenset[str] | None = None
        for item in items:
            event = item.body is not None and item.body["type"] == "event"
            if item.end is not None:
                ends = self._forwarded.ends(item.end, self._clock.wall())
                kept += [Item(0, body) for body in ends]
                self._unsent += len(ends) - 1
            elif item.origin is not None:
                passed.append(item.origin)
                followed = item.followed | {item.origin.journal}
                self._unsent -= 1
            elif event and item.body is not None and (origin := Origin.of(item.body)) is not None:
                passed.append(origin)
                if self._forwarded.admits(item.body, item.may_start):
                    kept.append(item)
                else:
                    self._unsent -= 1
            else:
                kept.append(item)
        bodies = [item.body for item in kept if item.body is not None and item.body["type"] == "event"]
        self._sent_events = self._journal.append(bodies, passed)
        if followed is not None:
            self._forwarded.forget(self._journal.forget_origins(followed))
        return kept

    def origin(self, journal: str) -> Origin | None:
        """The last place in another history that is in this one; any thread."""
        return self._journal.origins.get(journal)

    def wanted(self, topic: str) -> bool:
        """Whether somebody subscribes to a topic, or a part of it; any thread."""
        return self._sockets.wanted(topic)

    def _numbered(self, body: wire.Body) -> Sent:
        kind = body["type"]
        self._seqs[kind] += 1
        message = wire.stamp(body, self._session, self._seqs[kind], self._clock.wall())
        return message, wire.encode(message)

    def _send(self, sent: Sent) -> None:
        message, data = sent
        topic = wire.topic_of(message)
        self._sockets.send(topic, data)
        for sink in self._setup.sinks:
            sink.put(topic, message)

    # ---- the end

    def _flush(self) -> None:
        """Everything that waits goes into the history and out, until `_flush_until`."""
        try:
            while items := self._outbox.take(self._burst):
                self._update_state()
                if time.monotonic() > self._flush_until:
                    items += self._outbox.take(1 << 30)
                    self._unsent += len(items)
                    self._written(items)
                    self._setup.on_problem(f"the bus was closed with {len(items)} messages not sent")
                    break
                self._send_all(items)
                if len(self._outbox):
                    self._never.wait(0.001)  # see _round
            self._beat()
            self._update_state()
        except Exception as error:  # noqa: BLE001 - a thread's top
            self._setup.on_problem(f"the bus failed at its end: {type(error).__name__}: {error}")
        for sink in self._setup.sinks:
            while not (ended := sink.close(JOIN)) and time.monotonic() < self._flush_until:
                self._update_state()
            if not ended:
                self._setup.on_problem("a receiver inside the program blocks; it was left behind")
