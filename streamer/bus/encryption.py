"""Encryption (CURVE) and who may connect: key files, and the answers when ZeroMQ asks about a connection.

A keys folder on the publisher's machine: `server.key_secret` (never leaves it), `server.key` (given to every
client), and `allowed/NAME.key`, one public key for each client that may connect. On a client's machine:
`client.key_secret`, `client.key` (to be allowed), and the publisher's `server.key`. Files are in ZeroMQ's own
certificate format, so other tools can read them; secret ones are readable by their owner only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamer.errors import BusError
from streamer.system.clock import Clock
from streamer.system.log_rate_limit import LogLimit
from streamer.system.private_files import exposure, read_with_rights

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FIELD = re.compile(r'^[ \t]*(public-key|secret-key)[ \t]*=[ \t]*"([^"\s]{40})"[ \t\r]*$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CURVE key pair in Z85, 40 bytes each."""

    public: bytes
    secret: bytes | None = field(default=None, repr=False)

    @classmethod
    def new(cls) -> KeyPair:
        """One that nobody knows yet."""
        import zmq

        return cls(*zmq.curve_keypair())


def read_key(path: Path) -> KeyPair:
    """The keys in a certificate file. Raises BusError where it cannot be read, holds no key, or is open to
    others.
    """
    text, exposed = read_with_rights(path, "key file", BusError, "; 'streamer keys new' makes one")
    found = dict(_FIELD.findall(text))
    if "public-key" not in found:
        raise BusError(
            f"{path} is no key file: there is no line public-key = \"...\"; 'streamer keys new' makes one"
        )
    secret = found.get("secret-key")
    if secret is not None and exposed:
        raise BusError(exposure(path, "secret key"))
    return KeyPair(
        checked_key(found["public-key"], path), None if secret is None else checked_key(secret, path)
    )


def checked_key(text: str, where: object) -> bytes:
    """A key in Z85, as ZeroMQ wants it. Raises BusError naming `where` it stands."""
    from zmq.utils import z85

    try:
        if len(z85.decode(text)) == 32:
            return text.encode("ascii")
    except (ValueError, KeyError, UnicodeEncodeError):
        pass
    raise BusError(f"{where}: a key there is damaged; make a new one with 'streamer keys new'")


def _read_secret(path: Path) -> KeyPair:
    pair = read_key(path)
    if pair.secret is None:
        raise BusError(f"{path} holds no secret key; it is the public half of one")
    return pair


@dataclass(frozen=True)
class ClientKeys:
    """What a subscriber needs: its own pair and the publisher's public key."""

    own: KeyPair
    server: bytes

    @classmethod
    def load(cls, place: str | os.PathLike[str]) -> ClientKeys:
        """From a folder with `client.key_secret` and `server.key`, or a secret key file with `server.key`
        beside it.
        """
        path = Path(os.path.expanduser(place))
        secret = path / "client.key_secret" if path.is_dir() else path
        return cls(_read_secret(secret), read_key(secret.parent / "server.key").public)

    def apply_to(self, socket: Any) -> None:
        socket.curve_publickey, socket.curve_secretkey = self.own.public, self.own.secret
        socket.curve_serverkey = self.server


class ServerKeys:
    """The publisher's pair and the list of those who may connect, which is read anew whenever it changes."""

    def __init__(self, pair: KeyPair, allowed: Path) -> None:
        self._pair, self._folder = pair, allowed
        self._names: dict[bytes, str] = {}
        self._seen: tuple[object, ...] = ()
        self.damaged: list[str] = []

    @classmethod
    def load(cls, place: str | os.PathLike[str]) -> ServerKeys:
        """From a keys folder. Raises BusError."""
        folder = Path(os.path.expanduser(place))
        return cls(_read_secret(folder / "server.key_secret"), folder / "allowed")

    def apply_to(self, socket: Any) -> None:
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = self._pair.public, self._pair.secret

    def name_of(self, public: bytes) -> str | None:
        """The name under which a key is allowed; None = it is not."""
        self._refresh()
        return self._names.get(public)

    def __len__(self) -> int:
        self._refresh()
        return len(self._names)

    def _refresh(self) -> None:
        try:
            files = sorted(self._folder.glob("*.key"))
            seen = tuple((str(path), path.stat().st_mtime_ns) for path in files)
        except OSError:
            files, seen = [], ()
        if seen == self._seen and self._names:
            return
        self._seen, names, damaged = seen, {}, []
        for path in files:
            try:
                names[read_key(path).public] = path.stem
            except BusError as error:
                damaged.append(str(error))
        self._names, self.damaged = names, damaged


class Admission:
    """Answers ZeroMQ's question whether a connection may come in (ZAP, RFC 27), on the bus thread.

    With keys: only CURVE, and only allowed keys. Without: only NULL. That it is asked at all makes libzmq
    turn away what does not speak ZMTP 3, such as a browser's POST, which it would else take for ZMTP 1.
    """

    def __init__(
        self, context: Any, keys: ServerKeys | None, clock: Clock, on_problem: Callable[[str], None]
    ) -> None:
        import zmq

        self._keys, self._log = keys, LogLimit(on_problem, clock=clock)
        self.refused = 0
        self.socket = context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.bind("inproc://zeromq.zap.01")
        if keys is not None and not len(keys):
            on_problem("no client may connect yet: allow one with 'streamer keys allow FILE'")
        for line in () if keys is None else keys.damaged:
            on_problem(line)

    def apply_to(self, socket: Any) -> None:
        """Have this socket ask; before it is bound."""
        socket.zap_domain = b"streamer"
        if self._keys is not None:
            self._keys.apply_to(socket)

    def handle(self) -> None:
        """Answer what is asked now."""
        import zmq

        for _ in range(32):
            try:
                frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            split = frames.index(b"") + 1
            envelope, question = frames[:split], frames[split:]
            code, text, user = self._judge(question)
            self.socket.send_multipart([*envelope, b"1.0", question[1], code, text, user, b""])

    def _judge(self, question: list[bytes]) -> tuple[bytes, bytes, bytes]:
        from zmq.utils import z85

        address, mechanism = question[3].decode("utf-8", "replace"), question[5]
        wanted = b"NULL" if self._keys is None else b"CURVE"
        if mechanism != wanted or (self._keys is not None and len(question) < 7):
            self._refuse("mechanism", f"its mechanism is not {wanted.decode()}", address)
            return b"400", b"only " + wanted + b" is accepted", b""
        if self._keys is None:
            return b"200", b"OK", b""
        public = z85.encode(question[6])
        name = self._keys.name_of(public)
        if name is None:
            self._refuse("key", f"its key {public.decode()} is not allowed here", address)
            return b"400", b"key not allowed", b""
        return b"200", b"OK", name.encode()

    def no_handshake(self, left: bool) -> None:
        """A peer failed before anything could be asked about it, or (`left`) was gone before that."""
        if self._keys is not None:
            self._refuse("handshake", "it does not use encryption, expects another server key, or left", "")
        elif left:
            self.refused += 1  # or only looked whether the port is open: no news for people
        else:
            self._refuse("handshake", "it expects encryption, or is no ZeroMQ of version 4 or later", "")

    def _refuse(self, cause: str, why: str, address: str) -> None:
        self.refused += 1
        at = f" from {address}" if address else ""
        self._log(cause, f"a connection{at} was refused: {why}")
