"""Asks a publisher without following it: one request after the other, on one thread."""

from __future__ import annotations

import os
import time
import uuid
from typing import Any, Self

import zmq

from streamer.bus import endpoints, wire
from streamer.bus.encryption import ClientKeys
from streamer.bus.subscriber_sockets import MAX_FRAME
from streamer.errors import BusError, RequestError
from streamer.system.terminal_text import printable

POLL = 50  # milliseconds between two looks while the connection is being made


class RequestClient:
    """A context manager. A request that is not answered closes its connection: after a broken link
    the next one begins anew, which is quicker than waiting for the old one.

    Raises BusError for a bad endpoint or key.
    """

    def __init__(self, endpoint: str, keys: str | os.PathLike[str] | ClientKeys | None = None) -> None:
        endpoints.check(endpoint)
        self.endpoint = endpoint
        self._keys = keys if isinstance(keys, ClientKeys | None) else ClientKeys.load(keys)
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket: zmq.Socket[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._context.destroy(linger=0)
        self._socket = None

    def ask(self, op: str, timeout: float, **fields: Any) -> dict[str, Any]:
        """The answer as it came.

        Raises:
            BusError: none came within `timeout` seconds.
            RequestError: the request cannot be served; with the code and the message of the answer.
        """
        marker = uuid.uuid4().hex[:12]
        try:
            reply = self._exchange(wire.encode({"op": op, **fields, "id": marker}), marker, timeout)
        except zmq.ZMQError as error:
            raise BusError(f"cannot ask {self.endpoint}: {error}") from error
        if reply is None:
            if self._socket is not None:
                self._socket.close(linger=0)
                self._socket = None
            hint = "; is our key allowed there, and is the server.key here its own?" if self._keys else ""
            raise BusError(f"{self.endpoint} did not answer op {op!r} within {timeout:g} s{hint}")
        if reply.get("type") == "error":
            code, message = printable(str(reply.get("code")), 50), printable(str(reply.get("message")), 500)
            raise RequestError(code, message)
        return reply

    def _exchange(self, request: bytes, marker: str, timeout: float) -> dict[str, Any] | None:
        socket, until, sent = self._connected(), time.monotonic() + timeout, False
        while (left := until - time.monotonic()) > 0:
            if not sent:
                try:
                    socket.send(request, zmq.NOBLOCK)
                    sent = True
                except zmq.Again:
                    socket.poll(min(POLL, int(left * 1000) + 1), zmq.POLLOUT)
                continue
            if not socket.poll(int(left * 1000) + 1):
                continue
            try:
                reply = wire.decode(socket.recv_multipart()[-1])
            except ValueError:
                continue
            if reply.get("id") == marker:
                return reply
        return None

    def _connected(self) -> zmq.Socket[bytes]:
        if self._socket is None:
            made = self._socket = self._context.socket(zmq.DEALER)
            made.linger = 0
            made.immediate = True  # nothing is queued for somebody who is not there
            made.maxmsgsize = MAX_FRAME
            made.reconnect_ivl, made.reconnect_ivl_max = 50, 500  # milliseconds
            if "[" in self.endpoint:
                made.ipv6 = True
            if self._keys is not None:
                self._keys.apply_to(made)
            made.connect(self.endpoint)
        return self._socket
