"""The publisher's sockets: how they are set up, and what each hands to the bus thread, which alone uses
them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import zmq
from zmq.utils.monitor import parse_monitor_message

from streamer.bus import endpoints
from streamer.bus.encryption import Admission, ServerKeys
from streamer.bus.requests import Peer, Pending, Requests
from streamer.config import BusConfig
from streamer.errors import BusError
from streamer.system.clock import Clock

ANSWER_TIME = 0.005  # seconds spent on requests before messages have their turn again
AT_ONCE = 64  # subscriptions, or comings and goings, looked at in one round
LINGER = 300  # milliseconds that ZeroMQ may go on sending after the end
MAX_FRAME = 2 << 20  # bytes; a peer that sends more is disconnected by ZeroMQ (requests: see requests.py)


_FAILED = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
_WATCHED = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | _FAILED


class PublisherSockets:
    """XPUB for messages, ROUTER for requests, and for encrypted ones the answers to who may connect.

    With an empty `bind` there are none, and everything here does nothing. Raises BusError where an endpoint
    cannot be bound or keys cannot be read.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        poller: zmq.Poller,
        config: BusConfig,
        clock: Clock,
        on_problem: Callable[[str], None],
    ) -> None:
        self._context, self._config = context, config
        self.endpoint = ""
        self.requests_endpoint: str | None = None
        self._topics: frozenset[bytes] = frozenset()  # to which somebody subscribes
        self._waiting: list[tuple[list[bytes], Pending]] = []  # answers that others are still working on
        self._peers: set[int] = set()  # connected subscribers, by file descriptor
        self._pub: zmq.Socket[bytes] | None = None
        self._router: zmq.Socket[bytes] | None = None
        self._monitors: list[zmq.Socket[bytes]] = []  # of the PUB socket, then of the ROUTER
        self._admission: Admission | None = None
        if not config.bind:
            return
        wanted = endpoints.requests_beside(config.bind) if config.requests is None else config.requests
        for endpoint in filter(None, (config.bind, wanted)):
            endpoints.check(endpoint)
            endpoints.check_exposure(
                endpoint, keys=config.keys is not None, insecure_bind=config.insecure_bind
            )
        keys = None if config.keys is None else ServerKeys.load(config.keys)
        self._admission = Admission(context, keys, clock, on_problem)
        poller.register(self._admission.socket, zmq.POLLIN)
        self._bind(wanted)
        for socket in (self._pub, self._router, *self._monitors):
            if socket is not None:
                poller.register(socket, zmq.POLLIN)

    # ---- setting up

    def _bind(self, wanted: str) -> None:
        config = self._config
        pub = self._pub = self._socket(zmq.XPUB)
        pub.setsockopt(zmq.XPUB_VERBOSE, 1)  # every newcomer is seen, and greeted with a heartbeat
        pub.sndhwm = pub.rcvhwm = config.high_water_mark
        pub.sndbuf = 128 * 1024  # else the system keeps megabytes of old news for a reader that stopped
        pub.maxmsgsize = 4096  # subscriptions are short
        self._monitors.append(pub.get_monitor_socket(_WATCHED))
        self.endpoint = endpoints.bind(pub, config.bind)
        if not wanted:
            return
        router = self._router = self._socket(zmq.ROUTER)
        self._monitors.append(router.get_monitor_socket(_FAILED))
        router.rcvhwm, router.sndhwm = 16, 8  # of one peer; an answer may have a megabyte
        if config.requests is None and config.bind.endswith((":0", ":*")):
            self._bind_pair(pub, router)
        else:
            self.requests_endpoint = endpoints.bind(router, wanted)

    def _bind_pair(self, pub: zmq.Socket[bytes], router: zmq.Socket[bytes]) -> None:
        """Free ports of which the second follows the first, as subscribers expect it (or any, after ten
        tries).
        """
        for _ in range(10):
            with contextlib.suppress(BusError):
                self.requests_endpoint = endpoints.bind(router, endpoints.requests_beside(self.endpoint))
                return
            pub.unbind(self.endpoint)
            self.endpoint = endpoints.bind(pub, self._config.bind)
        self.requests_endpoint = endpoints.bind(router, self._config.bind)

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        made: zmq.Socket[bytes] = self._context.socket(kind)
        made.linger = LINGER
        made.maxmsgsize = MAX_FRAME
        made.setsockopt(zmq.HANDSHAKE_IVL, 5000)  # who says nothing after connecting is let go
        # and so is who vanished without a goodbye; why not by ZMTP's heartbeats: subscriber_sockets.py
        made.tcp_keepalive, made.tcp_keepalive_idle = 1, 10  # seconds
        made.tcp_keepalive_intvl, made.tcp_keepalive_cnt = 5, 3
        if self._admission is not None:
            self._admission.apply_to(made)
        return made

    # ---- at work

    @property
    def subscribers(self) -> int:
        return len(self._peers)

    @property
    def refused(self) -> int:
        return 0 if self._admission is None else self._admission.refused

    def send(self, topic: str, data: bytes) -> None:
        """Publish; never blocks: for a reader that is behind, XPUB drops."""
        if self._pub is not None:
            self._pub.send_multipart([topic.encode("utf-8", "replace"), data])

    def serve(self, ready: dict[Any, int], requests: Requests) -> bool:
        """Deal with whatever arrived; True where a newcomer waits for a heartbeat."""
        if self._admission is not None and self._admission.socket in ready:
            self._admission.handle()
        for monitor in self._monitors:
            if monitor in ready:
                self._count(monitor)
        if self._router is not None and self._router in ready:
            self._answer(self._router, requests)
        if self._router is not None and self._waiting:
            self._answer_waiting(self._router)
        return self._pub is not None and self._pub in ready and self._newcomer(self._pub)

    def _answer(self, router: zmq.Socket[bytes], requests: Requests) -> None:
        until = time.monotonic() + ANSWER_TIME
        while time.monotonic() < until:
            try:
                frames = router.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            envelope = [frame.bytes for frame in frames[:-1]]
            if len(envelope) > 5 or any(len(part) > 255 for part in envelope):
                envelope = [*envelope[:1], b""]  # no client's doing; the answer goes where it can
            reply = requests.answer(frames[-1].bytes, self._peer(frames[-1]), len(self._waiting))
            if isinstance(reply, Pending):
                self._waiting.append((envelope, reply))
                continue
            with contextlib.suppress(zmq.Again):  # a peer that asks and never reads loses the answer
                router.send_multipart([*envelope, reply], zmq.NOBLOCK)

    def _answer_waiting(self, router: zmq.Socket[bytes]) -> None:
        waiting, self._waiting = self._waiting, []
        for envelope, pending in waiting:
            if not pending.done:
                self._waiting.append((envelope, pending))
                continue
            with contextlib.suppress(zmq.Again):
                router.send_multipart([*envelope, pending.answer()], zmq.NOBLOCK)

    def wanted(self, topic: str) -> bool:
        """Whether somebody subscribes to a topic, or to a part of it; any thread."""
        name = topic.encode()
        return any(name.startswith(one) or one.startswith(name) for one in self._topics)

    def _peer(self, frame: zmq.Frame) -> Peer:
        def told(name: str) -> str | None:
            try:
                return str(frame.get(name)) or None
            except zmq.ZMQError:
                return None

        local = endpoints.is_local(self.requests_endpoint or "")
        return Peer(told("Peer-Address") or "", told("User-Id"), local)

    def _newcomer(self, pub: zmq.Socket[bytes]) -> bool:
        found = False
        for _ in range(AT_ONCE):
            try:
                message = pub.recv_multipart(zmq.NOBLOCK)[0]
            except zmq.Again:
                break
            changed = self._topics.union if message[:1] == b"\x01" else self._topics.difference
            self._topics = changed((message[1:],))
            found = found or (message[:1] == b"\x01" and b"heartbeat/".startswith(message[1:]))
        return found

    def _count(self, monitor: zmq.Socket[bytes]) -> None:
        for _ in range(AT_ONCE):
            try:
                told = parse_monitor_message(monitor.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            if told["event"] == zmq.EVENT_ACCEPTED:
                self._peers.add(told["value"])
            elif told["event"] == zmq.EVENT_DISCONNECTED:
                self._peers.discard(told["value"])
            elif self._admission is not None:
                left = told["event"] == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
                self._admission.no_handshake(left)
