"""The sockets of a subscriber, and all it does without waiting; subscriber.py adds the waiting, twice."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Mapping
from typing import Any

import zmq
from zmq.utils.monitor import parse_monitor_message

from streamer.bus import endpoints, wire
from streamer.bus.encryption import ClientKeys
from streamer.bus.messages import EventMessage, Gap, Message, PredictionMessage
from streamer.bus.offered_mechanism import MechanismQuestion
from streamer.bus.position import Position, Since
from streamer.bus.subscriber_protocol import SubscriberProtocol
from streamer.errors import BusError
from streamer.system.clock import SYSTEM_CLOCK, Clock
from streamer.system.terminal_text import printable

MAX_FRAME = (
    16 << 20
)  # bytes; answers have about one megabyte. A peer that sends more is disconnected by ZeroMQ
BATCH = 50  # messages taken from the socket at once
CHECK_DEADLINES = 0.25  # seconds after which deadlines are looked at again, at the latest
SOON = 0.02  # ... while a request waits for its connection
SILENT_FAILURES = 5  # handshakes in a row that end without a word before it is asked why, and then believed

_FAILED = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
_WATCHED = _FAILED | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_SUCCEEDED


class SubscriberSockets:
    """The sockets of one subscriber, and everything that needs no waiting."""

    def __init__(
        self,
        endpoint: str = endpoints.DEFAULT,
        *,
        topics: tuple[str, ...] | list[str] = (),
        since: Since | None = None,
        timeout: float | None = None,
        requests: str | None = None,
        keys: str | os.PathLike[str] | ClientKeys | None = None,
        high_water_mark: int = 100,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        if isinstance(topics, str):
            raise BusError(f"topics={topics!r} must be a list of topics, such as [{topics!r}]")
        for given in filter(None, (endpoint, requests)):
            endpoints.check(given)
        self.endpoint, self._timeout, self._clock = endpoint, timeout, clock
        self._protocol = SubscriberProtocol(topics, None if since is None else Position.of(since), clock)
        self._keys = keys if isinstance(keys, ClientKeys | None) else ClientKeys.load(keys)
        self._requests = requests
        self._inbox: deque[Message] = deque()
        self._given = self._protocol.position
        self._replies: dict[str, dict[str, Any]] = {}
        self._waited: set[str] = set()
        self._counter = self._failures = 0
        self._unsent = False
        self._question: MechanismQuestion | None = None
        self._context: zmq.Context[Any] | None = zmq.Context()
        self._dealer: zmq.Socket[bytes] | None = None
        self._dealer_at: str | None = None
        try:
            self._sub = self._socket(zmq.SUB)
            self._sub.rcvhwm, self._sub.rcvbuf = high_water_mark, 128 * 1024
            for topic in self._protocol.subscriptions:
                self._sub.subscribe(topic)
            self._monitor = self._sub.get_monitor_socket(_WATCHED)
            self._connect(self._sub, endpoint)
        except BaseException:
            self.close()
            raise

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        assert self._context is not None
        made: zmq.Socket[bytes] = self._context.socket(kind)
        made.linger = 0
        made.maxmsgsize = MAX_FRAME
        made.reconnect_ivl, made.reconnect_ivl_max = 100, 2000  # milliseconds
        # A machine that vanished is noticed by the system, and connected to anew. Not by ZMTP's heartbeats: a
        # reader that pauses until its queue is full would time out, and libzmq then ends the whole process
        # when it reads on (zeromq/libzmq#3937: "Assertion failed: _input_stopped").
        made.tcp_keepalive, made.tcp_keepalive_idle = 1, 10  # seconds
        made.tcp_keepalive_intvl, made.tcp_keepalive_cnt = 5, 3
        if self._keys is not None:
            self._keys.apply_to(made)
        return made

    def _connect(self, socket: zmq.Socket[bytes], endpoint: str) -> None:
        if "[" in endpoint:
            socket.ipv6 = True
        try:
            socket.connect(endpoint)
        except zmq.ZMQError as error:
            raise BusError(
                f"cannot connect to {endpoint}: {error}; write tcp://HOST:PORT or ipc:///PATH"
            ) from error

    def want(self, topic: str, wanted: bool) -> None:
        """Follow one more topic from now on, or no longer; for kinds whose messages nobody misses."""
        data = topic.encode("utf-8", "replace")
        self._sub.subscribe(data) if wanted else self._sub.unsubscribe(data)
        self._protocol.want(topic, wanted)

    def close(self) -> None:
        """Close all sockets at once; what was not received is gone (with `since`, ask for it next time)."""
        if self._context is not None:
            with contextlib.suppress(AttributeError):
                self._sub.disable_monitor()
            self._context.destroy(linger=0)
            self._context = None

    @property
    def connected(self) -> bool:
        """Whether the publisher was heard within the last 3 s (as far as messages were taken from the
        socket).
        """
        return self._protocol.connected

    @property
    def caught_up(self) -> bool:
        """Whether all of the history that `since` asked for was given out: what follows is the present."""
        past = any(isinstance(message, EventMessage | Gap) for message in self._inbox)
        return self._protocol.caught_up and not past

    @property
    def invalid(self) -> int:
        """How many messages broke the contract, and were skipped."""
        return self._protocol.invalid

    @property
    def position(self) -> Position | None:
        """Give this as `since` to a later subscriber, and it goes on behind the last event given out here.

        Save it after each event that is dealt with: events that wait inside are not counted.
        """
        if not any(_numbered(message) for message in self._inbox):
            self._given = self._protocol.position
        return self._given

    # ---- without waiting

    def _pump(self) -> None:
        """Take what has arrived, ask what is to be asked."""
        if self._context is None:
            raise BusError("the Subscriber is closed; make a new one")
        for _ in range(BATCH):
            try:
                parts = self._sub.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            self._inbox.extend(self._protocol.received(parts))
        self._watch()
        self._take_replies()
        self._ask()
        self._inbox.extend(self._protocol.given_up())

    @property
    def _knows_where(self) -> bool:
        """Whether it is known where requests are answered; on the next port somebody else may be."""
        return self._requests is not None or self._protocol.announced

    def _ask(self) -> None:
        if not self._knows_where:
            return
        request = self._protocol.request()
        self._unsent = request is not None and not self._send(request)
        if self._unsent:
            self._protocol.unsent()

    def _send(self, request: bytes) -> bool:
        try:
            self._requester().send(request, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _take_replies(self) -> None:
        while self._dealer is not None:
            try:
                data = self._dealer.recv_multipart(zmq.NOBLOCK)[-1]
            except zmq.Again:
                return
            self._inbox.extend(self._protocol.replied(data))
            with contextlib.suppress(ValueError):
                reply = wire.decode(data)
                marker = reply.get("id")
                if isinstance(marker, str) and marker in self._waited:
                    self._replies[marker] = reply
            self._ask()  # the next page

    def _requester(self) -> zmq.Socket[bytes]:
        """The socket for requests, connected to where the publisher says it answers."""
        announced = self._protocol.requests_endpoint
        told = None if announced is None else endpoints.reachable(announced, self.endpoint)
        where = self._requests or told or endpoints.requests_beside(self.endpoint)
        if self._dealer is None or self._dealer_at != where:
            if self._dealer is not None:
                self._dealer.close(linger=0)
            self._dealer, self._dealer_at = self._socket(zmq.DEALER), where
            self._dealer.immediate = True  # nothing is queued for a publisher that is not there
            self._connect(self._dealer, where)
        return self._dealer

    def _watch(self) -> None:
        """Raises BusError where the publisher refuses us: without this a wrong key is only silence."""
        while True:
            try:
                told = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            if told["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._failures, self._question = 0, None
            elif told["event"] == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                raise BusError(
                    f"{self.endpoint} refused our key: allow it on the publisher's machine with"
                    " 'streamer keys allow client.key'"
                )
            else:
                self._failures += 1
                if told["event"] & _FAILED or self._silence_refuses():
                    raise BusError(f"{self.endpoint} does not accept us: {self._likely()}")

    def _silence_refuses(self) -> bool:
        """Whether handshakes that end without a word, again and again, mean that we are refused.

        A tunnel to a publisher that is away hangs up in the same way, so the peer is asked what it wants; and
        only who goes on failing then is refused, as the publisher may just have come back.
        """
        if self._failures < SILENT_FAILURES:
            return False
        self._failures = 0
        if self._question is None:
            self._question = MechanismQuestion(self.endpoint)
            return False
        if (answer := self._question.answer) is None:
            return False
        self._question = None
        return answer != "" and (self._keys is not None or answer != "NULL")

    def _likely(self) -> str:
        if self._keys is None:
            return "it wants encryption (keys=FOLDER, made by 'streamer keys new client'), or is no publisher"
        return "our server.key is not this publisher's, it uses no encryption, or it is no publisher"

    def _give(self) -> Message:
        message = self._inbox.popleft()
        if isinstance(message, EventMessage):
            now = self._protocol.position or Position("seq")
            self._given = now._replace(seq=message.seq, session=message.session)
        elif isinstance(message, Gap) and message.kind == "event" and self._given is not None:
            self._given = self._given._replace(seq=message.last)
        return message

    def _sockets(self) -> list[zmq.Socket[bytes]]:
        return [self._sub, self._monitor, *([self._dealer] if self._dealer is not None else [])]

    def _deadline(self, timeout: float | None) -> float | None:
        return None if timeout is None else self._clock.monotonic() + timeout

    def _remaining(self, deadline: float | None) -> float:
        """Seconds to wait now; 0 or less when the deadline has passed."""
        look = SOON if self._unsent else CHECK_DEADLINES
        return look if deadline is None else min(look, deadline - self._clock.monotonic())

    def _take_latest(self) -> dict[str, PredictionMessage]:
        newest: dict[str, PredictionMessage] = {}
        while True:
            self._pump()
            if not self._inbox:
                return newest
            for message in self._inbox:
                if isinstance(message, PredictionMessage):
                    newest[message.camera] = message
            self._inbox.clear()

    def _begin_request(self, op: str, fields: Mapping[str, Any]) -> tuple[str, bytes]:
        self._counter += 1
        marker = f"request-{self._counter}"
        self._waited.add(marker)
        return marker, wire.encode({"op": op, **fields, "id": marker})

    def _end_request(self, marker: str, op: str, timeout: float) -> dict[str, Any]:
        self._waited.discard(marker)
        reply = self._replies.pop(marker, None)
        if reply is None:
            asked = self._dealer_at or self.endpoint
            raise BusError(
                f"{asked} did not answer op {op!r} within {timeout:g} s: is the publisher running,"
                " and is this where it answers requests?"
            )
        if reply.get("type") == "error":
            message, code = printable(str(reply.get("message")), 500), printable(str(reply.get("code")), 50)
            raise BusError(f"{self._dealer_at} cannot serve op {op!r}: {message} ({code})")
        return reply


def _numbered(message: Message) -> bool:
    return isinstance(message, EventMessage) or (isinstance(message, Gap) and message.kind == "event")
