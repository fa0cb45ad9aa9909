"""What a publisher demands of who connects, read from the greeting of every ZeroMQ peer (RFC 37).

ZeroMQ itself may never learn it: a publisher that wants encryption hangs up on who greets it without, often
before its own greeting has left. Here so little is sent that it has to wait for the rest.
"""

from __future__ import annotations

import contextlib
import socket
import threading

from streamer.bus.endpoints import split_tcp

PATIENCE = 2.0  # seconds for the connection, and for each part of the answer
_BEGIN = b"\xff" + bytes(7) + b"\x01\x7f" + b"\x03"  # signature and version of a greeting, without the rest
_MECHANISM = slice(12, 32)  # bytes of a greeting


def offered_mechanism(endpoint: str) -> str:
    """`CURVE` (encryption) or `NULL` (none) as the peer at `endpoint` names it; "" where it says nothing."""
    greeting = b""
    with contextlib.suppress(OSError), _connected(endpoint) as peer:
        peer.sendall(_BEGIN)
        while len(greeting) < _MECHANISM.stop and (more := peer.recv(64)):
            greeting += more
    if len(greeting) < _MECHANISM.stop or greeting[:1] != _BEGIN[:1]:
        return ""
    return greeting[_MECHANISM].rstrip(b"\0").decode("ascii", "replace")


def _connected(endpoint: str) -> socket.socket:
    found = split_tcp(endpoint)
    if found is not None:
        return socket.create_connection(found, PATIENCE)
    if not hasattr(socket, "AF_UNIX"):
        raise OSError("Python has no such sockets on this system")
    path = endpoint.removeprefix("ipc://")
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.settimeout(PATIENCE)
        made.connect(f"\0{path[1:]}" if path.startswith("@") else path)
    except BaseException:
        made.close()
        raise
    return made


class MechanismQuestion:
    """`offered_mechanism` on a thread of its own; `answer` is None until it is known."""

    def __init__(self, endpoint: str) -> None:
        self.answer: str | None = None
        self._endpoint = endpoint
        threading.Thread(target=self._ask, name="mechanism", daemon=True).start()

    def _ask(self) -> None:
        try:
            self.answer = offered_mechanism(self._endpoint)
        finally:
            self.answer = self.answer or ""
