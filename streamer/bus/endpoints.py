"""ZeroMQ addresses: which are allowed, how they are bound, and where requests are answered beside them."""

from __future__ import annotations

import contextlib
import errno as codes
import socket as sockets
from typing import Any

from streamer.errors import BusError
from streamer.system.addresses import bracketed, is_loopback, split_host_port
from streamer.system.redaction import redact_address

TCP = "tcp://"
ANY_INTERFACE = "0.0.0.0"
DEFAULT = "tcp://127.0.0.1:5555"
LONGEST_PATH = 100  # characters of an ipc endpoint that every system takes


def split_tcp(endpoint: str) -> tuple[str, int] | None:
    """Host (without brackets) and port of a tcp endpoint; None for another transport or another shape.

    `*`, as ZeroMQ writes it, is every interface (0.0.0.0) and a free port (0).
    """
    if not endpoint.startswith(TCP):
        return None
    address = endpoint[len(TCP) :]
    if address.endswith(":*"):
        address = f"{address[:-1]}0"
    if address.startswith("*:"):
        address = f"{ANY_INTERFACE}{address[1:]}"
    try:
        host, port = split_host_port(address, default_host="")
    except ValueError:
        return None
    return (host, port) if host else None


def check(endpoint: str) -> None:
    """Raises BusError where an endpoint cannot be used."""
    if split_tcp(endpoint) is None and not (endpoint.startswith("ipc://") and len(endpoint) > len("ipc://")):
        raise BusError(
            f"{redact_address(endpoint)!r} is no endpoint of the bus: write tcp://HOST:PORT"
            " (tcp://127.0.0.1:0 takes a free port) or ipc:///PATH"
        )


def is_local(endpoint: str) -> bool:
    """Whether only this machine can reach an endpoint."""
    found = split_tcp(endpoint)
    if found is None:
        return endpoint.startswith(("ipc://", "inproc://"))
    return is_loopback(found[0])


def check_exposure(endpoint: str, *, keys: bool, insecure_bind: bool) -> None:
    """Raises BusError where everybody on the network could read an endpoint without anyone having said so."""
    if not (is_local(endpoint) or keys or insecure_bind):
        raise BusError(
            f"{endpoint} would show what happens before your cameras to everybody on the network: make keys"
            " with 'streamer keys new server' and set bus.keys, or allow it with --insecure-bind"
            " (bus.insecure_bind: true)"
        )


def requests_beside(endpoint: str) -> str:
    """Where requests are answered unless configured: the next port, or for ipc the path with '-requests'."""
    found = split_tcp(endpoint)
    if found is None:
        return f"{endpoint}-requests"
    host, port = found
    return f"{TCP}{bracketed(host)}:{0 if port in (0, 65535) else port + 1}"


def reachable(announced: str, endpoint: str) -> str | None:
    """The announced requests endpoint as seen by someone who reached the publisher at `endpoint`: always on
    the same host. None where what is announced cannot be that.
    """
    mine, theirs = split_tcp(endpoint), split_tcp(announced)
    if mine is None:
        usable = announced.startswith("ipc://") and len("ipc://") < len(announced) <= LONGEST_PATH
        return announced if usable and "\0" not in announced else None
    if theirs is None or theirs[1] == 0:
        return None
    return f"{TCP}{bracketed(mine[0])}:{theirs[1]}"


def bind(socket: Any, endpoint: str) -> str:
    """Bind a ZeroMQ socket; returns the endpoint with its real port. Raises BusError with what to do."""
    import zmq

    _refuse_taken_path(endpoint)
    if "[" in endpoint:
        socket.ipv6 = True
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        raise BusError(f"cannot bind {endpoint}: {_why(error.errno or 0, endpoint, str(error))}") from error
    return str(socket.getsockopt_string(zmq.LAST_ENDPOINT))


def _refuse_taken_path(endpoint: str) -> None:
    """libzmq takes an ipc path away from its owner without a word; ask first whether somebody listens."""
    path = endpoint.removeprefix("ipc://")
    if path == endpoint or not hasattr(sockets, "AF_UNIX"):
        return
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probe, contextlib.suppress(OSError):
        probe.settimeout(0.5)
        probe.connect(f"\0{path[1:]}" if path.startswith("@") else path)
        raise BusError(
            f"cannot bind {endpoint}: another program listens there; end it, or choose another path"
        )


def _why(errno: int, endpoint: str, text: str) -> str:
    import zmq

    found = split_tcp(endpoint)
    if errno == zmq.EADDRINUSE:
        port = found[1] if found else endpoint
        return (
            f"the port is in use, perhaps by a streamer ('ss -ltnp sport = :{port}' or 'lsof -i :{port}'"
            " names the program); end that, or take a free port with --bind tcp://127.0.0.1:0"
        )
    if errno in (zmq.EADDRNOTAVAIL, codes.ENODEV):
        return "this machine has no such address or interface; use 127.0.0.1, or one that 'ip address' lists"
    if errno == codes.EACCES:
        return "not allowed; ports below 1024 and other people's folders need rights that this user lacks"
    return f"{text}; for a socket file, its folder must exist and the path be short (about 100 characters)"
