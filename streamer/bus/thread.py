"""The bus thread: owner of all sockets and of the event history, which it makes, uses and closes itself.

Order for events, always: into the history, then out. Everything else here is what a publisher owes its
readers: heartbeats, repeated statuses, answers, and patience with none of them.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import zmq

from streamer.bus import endpoints, wire
from streamer.bus.journal import Journal, Sent
from streamer.bus.outbox import Item, Outbox
from streamer.bus.requests import Handler, Peer, Present, Requests
from streamer.bus.security import ServerKeys, Zap
from streamer.bus.sinks import SinkThread
from streamer.clock import Clock
from streamer.config import BusConfig, JournalConfig
from streamer.errors import BusError

REPEAT = 5.0  # seconds between two repetitions of a camera's unchanged status
LOOK = 0.25  # seconds after which the clock is looked at again, at the latest
WELCOME = 0.1  # least seconds between two heartbeats sent for newcomers
ANSWER_TIME = 0.005  # seconds spent on requests before messages have their turn again
FLUSH = 0.8  # seconds for everything that waits, at the end
LINGER = 300  # milliseconds that ZeroMQ may go on sending after the end
MAX_FRAME = 2 << 20  # bytes; a peer that sends more is disconnected by ZeroMQ (requests: see requests.py)
MAX_BURST = 25  # messages sent without a pause: fewer than any sensible high-water mark
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


@dataclass(slots=True)
class Facts:
    """What other threads may read (each value is replaced whole)."""

    session: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    endpoint: str = ""
    requests_endpoint: str | None = None
    subscribers: int = 0
    refused: int = 0
    last_event_seq: int = 0
    journal_durable: bool = False
    error: BaseException | None = None


class BusThread:
    """One run of the bus. `start` returns when everything is bound, or raises BusError."""

    def __init__(self, setup: Setup) -> None:
        self._setup, self._clock, self._outbox = setup, setup.clock, setup.outbox
        self.facts = Facts()
        self._ready, self._closing = threading.Event(), threading.Event()
        self._seqs = dict.fromkeys(("prediction", "status", "heartbeat"), 0)
        self._present = Present()
        self._pub: zmq.Socket[bytes] | None = None
        self._router: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._zap: Zap | None = None
        self._peers: set[int] = set()  # connected subscribers, by file descriptor
        self._thread = threading.Thread(target=self._main, name="streamer-bus", daemon=True)

    # ---- for other threads

    def start(self) -> None:
        self._thread.start()
        self._ready.wait()
        if self.facts.error is not None:
            self._thread.join(2.0)
            raise self.facts.error

    def close(self, timeout: float) -> bool:
        """Send what waits and end; False where the thread is still busy after `timeout` seconds."""
        self._closing.set()
        self._outbox.close()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # ---- the thread

    def _main(self) -> None:
        with contextlib.ExitStack() as stack:
            try:
                self._open(stack)
            except Exception as error:  # noqa: BLE001 - a thread's top: `start` raises it where it was called
                self.facts.error = error
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
            self._flush()
        self._outbox.release()

    def _open(self, stack: contextlib.ExitStack) -> None:
        setup, facts = self._setup, self.facts
        context: zmq.Context[Any] = zmq.Context()
        stack.callback(context.destroy, LINGER)
        self._poller = zmq.Poller()
        self._poller.register(self._outbox.wake, zmq.POLLIN)
        if setup.config.bind:
            self._bind(context)
        self._journal = Journal(setup.journal, facts.session, clock=self._clock, on_problem=setup.on_problem)
        stack.callback(self._journal.close)
        self._requests = Requests(
            facts.session, self._present, self._journal, self._clock, setup.handlers, setup.on_problem
        )
        self._started_at = round(self._clock.wall(), 6)
        now = self._clock.monotonic()
        self._beat_at, self._repeat_at, self._welcome_at = now, now + REPEAT, now
        self._send_all([Item(0, body) for body in self._journal.take_open()])

    def _bind(self, context: zmq.Context[Any]) -> None:
        config, facts = self._setup.config, self.facts
        wanted = endpoints.requests_beside(config.bind) if config.requests is None else config.requests
        for endpoint in filter(None, (config.bind, wanted)):
            endpoints.check(endpoint)
            endpoints.check_exposure(
                endpoint, keys=config.keys is not None, insecure_bind=config.insecure_bind
            )
        keys = None
        if config.keys is not None:
            keys = ServerKeys.load(config.keys)
            self._zap = Zap(context, keys, self._clock, self._setup.on_problem)
            self._poller.register(self._zap.socket, zmq.POLLIN)
        self._pub, facts.endpoint = self._publisher(context, keys)
        self._router = self._socket(context, zmq.ROUTER, keys)
        self._router.rcvhwm, self._router.sndhwm = 16, 8  # of one peer; an answer may have a megabyte
        if wanted:
            facts.requests_endpoint = self._bind_requests(context, keys, wanted)
            self._poller.register(self._router, zmq.POLLIN)
        self._poller.register(self._pub, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)

    def _publisher(self, context: zmq.Context[Any], keys: ServerKeys | None) -> tuple[zmq.Socket[bytes], str]:
        pub = self._socket(context, zmq.XPUB, keys)
        pub.setsockopt(zmq.XPUB_VERBOSE, 1)  # every newcomer is seen, and greeted with a heartbeat
        pub.sndhwm = pub.rcvhwm = self._setup.config.high_water_mark
        pub.sndbuf = 128 * 1024  # else the system keeps megabytes of old news for a reader that stopped
        pub.maxmsgsize = 4096  # subscriptions are short
        self._monitor = pub.get_monitor_socket(
            zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        )
        return pub, endpoints.bind(pub, self._setup.config.bind)

    def _bind_requests(self, context: zmq.Context[Any], keys: ServerKeys | None, wanted: str) -> str:
        assert self._router is not None
        if self._setup.config.requests is not None or endpoints.split_tcp(self._setup.config.bind) is None:
            return endpoints.bind(self._router, wanted)
        if not self._setup.config.bind.endswith((":0", ":*")):
            return endpoints.bind(self._router, wanted)
        for _ in range(10):  # a free port of which the next one is free too: readers look there first
            with contextlib.suppress(BusError):
                return endpoints.bind(self._router, endpoints.requests_beside(self.facts.endpoint))
            assert self._pub is not None
            endpoint, self.facts.endpoint = self.facts.endpoint, ""
            self._pub.unbind(endpoint)
            self.facts.endpoint = endpoints.bind(self._pub, self._setup.config.bind)
        return endpoints.bind(self._router, wanted)

    def _socket(self, context: zmq.Context[Any], kind: int, keys: ServerKeys | None) -> zmq.Socket[bytes]:
        made: zmq.Socket[bytes] = context.socket(kind)
        made.linger = LINGER
        made.maxmsgsize = MAX_FRAME
        made.setsockopt(zmq.HANDSHAKE_IVL, 5000)  # who says nothing after connecting is let go
        made.setsockopt(zmq.HEARTBEAT_IVL, 5000)  # and so is who vanished without a goodbye
        made.setsockopt(zmq.HEARTBEAT_TIMEOUT, 15000)
        if keys is not None:
            keys.arm(made)
        return made

    def _round(self) -> None:
        limit = max(1, min(MAX_BURST, self._setup.config.high_water_mark // 2))
        self._outbox.answer()
        self._send_all(self._outbox.take(limit))
        self._timers()
        if len(self._outbox):
            wait = 1  # lets ZeroMQ's own thread empty its queues: a burst must not look like a slow reader
        else:
            due = min(self._beat_at, self._repeat_at) - self._clock.monotonic()
            wait = int(max(0.0, min(due, LOOK)) * 1000) + 1
        ready = dict(self._poller.poll(wait))
        if self._zap is not None and self._zap.socket in ready:
            self._zap.handle()
            self.facts.refused = self._zap.refused
        if self._router in ready:
            self._answer()
        if self._pub in ready:
            self._greet()
        if self._monitor in ready:
            self._count()

    def _timers(self) -> None:
        now = self._clock.monotonic()
        if now >= self._repeat_at:
            self._repeat_at = now + REPEAT
            self._send_all([Item(0, status=status) for status in self._outbox.statuses().values()])
        if now >= self._beat_at:
            self._beat()
        if self._journal.tidy():
            self._beat_at = min(self._beat_at, now + LOOK)  # come back soon
        self.facts.journal_durable = self._journal.durable

    def _beat(self) -> None:
        self._beat_at = self._clock.monotonic() + self._setup.config.heartbeat
        cameras = {name: str(status.state) for name, status in self._outbox.statuses().items()}
        extra = {
            "journal": self._journal.id,
            "requests": self.facts.requests_endpoint,
            "started_at": self._started_at,
        }
        self._send(self._numbered(wire.heartbeat_body(self._journal.last, cameras, extra)))

    # ---- sending

    def _send_all(self, items: Sequence[Item]) -> None:
        """Send items in order; their events enter the history together, in one go, before the first
        leaves.
        """
        events = iter(self._journal.append([i.body for i in items if i.body and i.body["type"] == "event"]))
        self.facts.last_event_seq = self._journal.last
        now = self._clock.monotonic()
        for item in items:
            if item.status is not None:
                sent = self._numbered(wire.status_body(item.status, now))
            elif item.body is not None and item.body["type"] == "event":
                sent = next(events)
            else:
                body = item.body or {}
                age = max(0.0, now - item.captured) * 1000
                body["latency_ms"]["capture_to_publish"] = round(age, 2)
                sent = self._numbered(body)
            self._present.note(sent[0])
            self._send(sent)

    def _numbered(self, body: wire.Body) -> Sent:
        kind = body["type"]
        self._seqs[kind] += 1
        message = wire.stamp(body, self.facts.session, self._seqs[kind], self._clock.wall())
        return message, wire.encode(message)

    def _send(self, sent: Sent) -> None:
        message, data = sent
        topic = wire.topic_of(message)
        if self._pub is not None:
            self._pub.send_multipart([topic.encode("utf-8", "replace"), data])  # never blocks: PUB drops
        for sink in self._setup.sinks:
            sink.put(topic, message)

    # ---- receiving

    def _answer(self) -> None:
        assert self._router is not None
        until = time.monotonic() + ANSWER_TIME
        while time.monotonic() < until:
            try:
                frames = self._router.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            envelope = [frame.bytes for frame in frames[:-1]]
            if len(envelope) > 5 or any(len(part) > 255 for part in envelope):
                envelope = [*envelope[:1], b""]  # no client's doing; the answer goes where it can
            reply = self._requests.answer(frames[-1].bytes, self._peer(frames[-1]))
            with contextlib.suppress(zmq.Again):  # a peer that asks and never reads loses the answer
                self._router.send_multipart([*envelope, reply], zmq.NOBLOCK)

    def _peer(self, frame: zmq.Frame) -> Peer:
        def told(name: str) -> str | None:
            try:
                return str(frame.get(name)) or None
            except zmq.ZMQError:
                return None

        local = endpoints.is_local(self.facts.requests_endpoint or "")
        return Peer(told("Peer-Address") or "", told("User-Id"), local)

    def _greet(self) -> None:
        assert self._pub is not None
        for _ in range(64):
            try:
                message = self._pub.recv_multipart(zmq.NOBLOCK)[0]
            except zmq.Again:
                break
            if message[:1] == b"\x01" and b"heartbeat/".startswith(message[1:]):
                self._beat_at = min(self._beat_at, max(self._clock.monotonic(), self._welcome_at))
        self._welcome_at = self._clock.monotonic() + WELCOME

    def _count(self) -> None:
        from zmq.utils.monitor import parse_monitor_message

        assert self._monitor is not None
        for _ in range(64):
            try:
                told = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                break
            if told["event"] == zmq.EVENT_ACCEPTED:
                self._peers.add(told["value"])
            elif told["event"] == zmq.EVENT_DISCONNECTED:
                self._peers.discard(told["value"])
            elif self._zap is not None:
                self._zap.not_encrypted()
                self.facts.refused = self._zap.refused
        self.facts.subscribers = len(self._peers)

    # ---- the end

    def _flush(self) -> None:
        """Everything that waits goes into the history first, then out, for FLUSH seconds at most."""
        items = self._outbox.take(1 << 30)
        until = time.monotonic() + FLUSH
        limit = max(1, min(MAX_BURST, self._setup.config.high_water_mark // 2))
        try:
            while items:
                self._send_all(items[:limit])
                items = items[limit:]
                if time.monotonic() > until:
                    self._journal.append([i.body for i in items if i.body and i.body["type"] == "event"])
                    self._setup.on_problem(f"the bus was closed with {len(items)} messages not sent")
                    break
                if items:
                    self._poller.poll(1) if not self._outbox.wake else self._closing.wait(0)
            self._beat()
        except Exception as error:  # noqa: BLE001 - a thread's top
            self._setup.on_problem(f"the bus failed at its end: {type(error).__name__}: {error}")
        until = time.monotonic() + FLUSH
        for sink in self._setup.sinks:
            if not sink.close(max(0.05, until - time.monotonic())):
                self._setup.on_problem("a receiver inside the program blocks; it was left behind")
