"""An RTSP camera (RFC 2326, 6184), standard library only: H.264 over RTP, inside TCP or by UDP.

It behaves like a camera: one clock of its own, and who comes late joins in the middle of a group of
pictures. Faults are attributes, to be set at any time.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import random
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_PAYLOAD = 1400  # bytes of one RTP packet
_SPS, _PPS = 7, 8  # kinds of NAL units
_SLICES = (1, 5)


def access_units(stream: bytes) -> list[list[bytes]]:
    """An H.264 byte stream (Annex B) -> the NAL units of each picture."""
    starts = [match.start() for match in re.finditer(b"\x00\x00\x01", stream)]
    units: list[list[bytes]] = []
    current: list[bytes] = []
    has_slice = False
    for begin, end in zip(starts, [*starts[1:], len(stream)], strict=True):
        nal = stream[begin + 3 : end].rstrip(b"\x00")
        kind = nal[0] & 31
        first_slice = kind in _SLICES and nal[1] & 0x80
        if has_slice and (kind in (6, 7, 8, 9) or first_slice):
            units.append(current)
            current, has_slice = [], False
        current.append(nal)
        has_slice |= kind in _SLICES
    return [*units, current] if current else units


@dataclass(eq=False)
class _Client:
    link: socket.socket
    session: str = field(default_factory=lambda: os.urandom(4).hex())
    lock: threading.Lock = field(default_factory=threading.Lock)
    alive: bool = True
    udp: socket.socket | None = None
    udp_to: tuple[str, int] = ("", 0)

    def rtp(self, packet: bytes, channel: int = 0) -> None:
        if self.udp is not None:
            self.udp.sendto(packet, (self.udp_to[0], self.udp_to[1] + channel))
            return
        with self.lock:
            self.link.sendall(b"$" + struct.pack(">BH", channel, len(packet)) + packet)


class MiniRtsp:
    """`rtsp://127.0.0.1:PORT/cam`. A context manager; `stop()` and `start()` again keep the port.

    Faults: `stall` keeps the connections and sends nothing; `mute` accepts and never answers; `loss` is the
    part of RTP packets that never leave; `sprop = False` leaves the parameter sets out of the SDP; `drop()`
    hangs up; `udp_only` refuses RTP inside TCP; `path` is where it is; `load(clip)` changes what is sent.
    `auth`: None, "basic" or "digest".
    """

    def __init__(
        self, clip: Path, fps: float = 25.0, *, user: str = "", password: str = "", auth: str | None = None
    ) -> None:
        self.fps = fps
        self.port = 0
        self.stall = self.mute = False
        self.loss = 0.0
        self.sprop = True
        self.udp_only = False
        self.path = "/cam"
        self.requests: list[str] = []
        self._user, self._password, self._auth = user, password, auth
        self._nonce = os.urandom(8).hex()
        self._clients: set[_Client] = set()
        self._halt = threading.Event()
        self._listener: socket.socket | None = None
        self._began = time.monotonic()
        self._random = random.Random(7)
        self.load(clip)

    # -- life ------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}{self.path}"

    def load(self, clip: Path) -> None:
        """Send this Annex B file from now on (new clients; running ones get its pictures too)."""
        self.clip = clip
        self._units = access_units(clip.read_bytes())
        nals = [nal for unit in self._units[:60] for nal in unit]
        self._sps = next(nal for nal in nals if nal[0] & 31 == _SPS)
        self._pps = next(nal for nal in nals if nal[0] & 31 == _PPS)

    def __enter__(self) -> MiniRtsp:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> MiniRtsp:
        self._halt = threading.Event()
        listener = socket.create_server(("127.0.0.1", self.port), backlog=16)
        self.port, self._listener = listener.getsockname()[1], listener
        threading.Thread(target=self._accept, args=(listener, self._halt), daemon=True).start()
        return self

    def stop(self) -> None:
        self._halt.set()
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.drop()

    def drop(self) -> None:
        """Hang up on every client."""
        for client in list(self._clients):
            with contextlib.suppress(OSError):
                client.link.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket, halt: threading.Event) -> None:
        while not halt.is_set():
            try:
                link, _ = listener.accept()
            except OSError:
                return
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client = _Client(link)
            self._clients.add(client)
            threading.Thread(target=self._serve, args=(client, halt), daemon=True).start()

    # -- requests --------------------------------------------------------------------------------------

    def _serve(self, client: _Client, halt: threading.Event) -> None:
        try:
            while (request := _read_request(client)) is not None:
                method, address, headers = request
                self.requests.append(method)
                while self.mute and not halt.wait(0.02):
                    pass
                status, extra, body = self._answer(client, method, address, headers)
                lines = [f"RTSP/1.0 {status}", f"CSeq: {headers.get('cseq', '0')}"]
                lines += [f"{name}: {value}" for name, value in extra.items()]
                lines += [f"Content-Length: {len(body)}", "", ""]
                with client.lock:
                    client.link.sendall("\r\n".join(lines).encode() + body.encode())
                if method == "PLAY" and status.startswith("200"):
                    threading.Thread(target=self._play, args=(client, halt), daemon=True).start()
                if method == "TEARDOWN":
                    return
        except (OSError, ValueError):
            pass  # the client went away
        finally:
            client.alive = False
            self._clients.discard(client)
            client.link.close()

    def _answer(
        self, client: _Client, method: str, address: str, headers: dict[str, str]
    ) -> tuple[str, dict[str, str], str]:
        if method == "OPTIONS":
            return "200 OK", {"Public": "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"}, ""
        if not self._authorized(method, headers.get("authorization", "")):
            challenge = (
                f'Digest realm="cam", nonce="{self._nonce}"'
                if self._auth == "digest"
                else 'Basic realm="cam"'
            )
            return "401 Unauthorized", {"WWW-Authenticate": challenge}, ""
        if method == "DESCRIBE":
            if "/" + address.partition("://")[2].partition("/")[2].rstrip("/") != self.path:
                return "404 Not Found", {}, ""
            base = address.rstrip("/") + "/"
            return "200 OK", {"Content-Type": "application/sdp", "Content-Base": base}, self._sdp()
        if method == "SETUP" and self.udp_only and "TCP" in headers.get("transport", ""):
            return "461 Unsupported Transport", {}, ""
        if method == "SETUP":
            transport = self._set_up(client, headers.get("transport", ""))
            return "200 OK", {"Transport": transport, "Session": f"{client.session};timeout=60"}, ""
        if method in ("PLAY", "TEARDOWN", "GET_PARAMETER"):
            return "200 OK", {"Session": client.session}, ""
        return "405 Method Not Allowed", {}, ""

    def _authorized(self, method: str, given: str) -> bool:
        if self._auth is None:
            return True
        if self._auth == "basic":
            wanted = base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
            return given == f"Basic {wanted}"

        def md5(text: str) -> str:
            return hashlib.md5(text.encode()).hexdigest()

        fields = dict(re.findall(r'(\w+)="?([^",]*)"?', given))
        secret = md5(f"{self._user}:cam:{self._password}")
        what = md5(f"{method}:{fields.get('uri')}")
        wanted = md5(f"{secret}:{self._nonce}:{what}")
        return fields.get("nonce") == self._nonce and fields.get("response") == wanted

    def _sdp(self) -> str:
        format_line = f"a=fmtp:96 packetization-mode=1;profile-level-id={self._sps[1:4].hex()}"
        if self.sprop:
            sets = ",".join(base64.b64encode(nal).decode() for nal in (self._sps, self._pps))
            format_line += f";sprop-parameter-sets={sets}"
        head = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=cam", "c=IN IP4 0.0.0.0", "t=0 0", "a=range:npt=now-"]
        video = [
            "a=control:*",
            "m=video 0 RTP/AVP 96",
            "a=rtpmap:96 H264/90000",
            format_line,
            "a=control:track1",
        ]
        return "\r\n".join([*head, *video, ""])

    def _set_up(self, client: _Client, transport: str) -> str:
        if "TCP" in transport:
            return "RTP/AVP/TCP;unicast;interleaved=0-1"
        ports = re.search(r"client_port=(\d+)-(\d+)", transport)
        if ports is None:
            raise ValueError(transport)
        client.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.udp.bind(("127.0.0.1", 0))
        client.udp_to = (client.link.getpeername()[0], int(ports[1]))
        own = client.udp.getsockname()[1]
        return f"RTP/AVP;unicast;client_port={ports[1]}-{ports[2]};server_port={own}-{own + 1}"

    # -- pictures --------------------------------------------------------------------------------------

    def _play(self, client: _Client, halt: threading.Event) -> None:
        sequence, source = self._random.getrandbits(16), self._random.getrandbits(32)
        number = self._now()

        def send(payload: bytes, last: bool, stamp: int) -> None:
            nonlocal sequence
            sequence = (sequence + 1) & 0xFFFF
            head = struct.pack(">BBHII", 0x80, 96 | (last << 7), sequence, stamp & 0xFFFFFFFF, source)
            if self._random.random() >= self.loss:
                client.rtp(head + payload)

        try:
            while client.alive and not halt.wait(
                max(0.0, self._began + number / self.fps - time.monotonic())
            ):
                if self.stall:
                    number = self._now()
                    continue
                stamp = int(number * 90000 / self.fps)
                unit = self._units[number % len(self._units)]
                for place, nal in enumerate(unit):
                    _packets(nal, place == len(unit) - 1, stamp, send)
                number += 1
        except OSError:
            with contextlib.suppress(OSError):
                client.link.shutdown(socket.SHUT_RDWR)

    def _now(self) -> int:
        return int((time.monotonic() - self._began) * self.fps) + 1


def _packets(nal: bytes, last: bool, stamp: int, send: Callable[[bytes, bool, int], None]) -> None:
    """One NAL unit as RTP payloads: whole, or in FU-A pieces."""
    if len(nal) <= _PAYLOAD:
        send(nal, last, stamp)
        return
    head, body = nal[0], nal[1:]
    for begin in range(0, len(body), _PAYLOAD - 2):
        end = begin + _PAYLOAD - 2 >= len(body)
        mark = (0x80 if begin == 0 else 0) | (0x40 if end else 0) | head & 31
        send(bytes([head & 0xE0 | 28, mark]) + body[begin : begin + _PAYLOAD - 2], last and end, stamp)


def _read_request(client: _Client) -> tuple[str, str, dict[str, str]] | None:
    """The next request; what the client interleaves (RTCP) is skipped. None when it hung up."""
    data = b""
    while True:
        if data[:1] == b"$":
            if len(data) >= 4 and len(data) >= 4 + struct.unpack(">H", data[2:4])[0]:
                data = data[4 + struct.unpack(">H", data[2:4])[0] :]
                continue
        elif b"\r\n\r\n" in data:
            break
        more = client.link.recv(4096)
        if not more:
            return None
        data += more
    first, *rest = data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    method, address = first.split()[:2]
    pairs = (line.split(":", 1) for line in rest if ":" in line)
    return method, address, {name.strip().lower(): value.strip() for name, value in pairs}
