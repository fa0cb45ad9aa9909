"""An RTSP camera that answers nonsense: broken descriptions, RTP from noise, heads without an end.

Each connection gets one trouble, drawn from a seed, so a run can be repeated.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable

_SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=cam\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    "a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z0LAHtkDxWhAAAADAEAAAAwDxYuS,aMuMsg==\r\n"
    "a=control:track1\r\n"
)
_NASTY = (
    "A" * 48_000, "=" * 48_000, '"' * 20_000, "://@" * 12_000, "%s%n" * 500, "\x00\x1b[2J\x9b", "9" * 400,
    "-1", "",
    "a=fmtp:96 " * 3000, "\r\n" * 3000, "Digest " * 5000, "m=video " * 4000,
)  # fmt: skip


class FuzzRtsp:
    """`url` answers until the block ends; `troubles` counts what was done to whom."""

    def __init__(self, seed: int) -> None:
        self.troubles: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._ended = threading.Event()
        self._links: set[socket.socket] = set()

    def __enter__(self) -> FuzzRtsp:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=32)
        self.url = f"rtsp://user:hunter2-fuzz@127.0.0.1:{self._listener.getsockname()[1]}/cam"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for link in [self._listener, *self._links]:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            link.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            self._links.add(link)
            trouble = self._random.choice(TROUBLES)
            self.troubles[trouble.__name__.strip("_")] += 1
            chance = random.Random(self._random.getrandbits(32))
            threading.Thread(target=self._serve, args=(link, trouble, chance), daemon=True).start()

    def _serve(self, link: socket.socket, trouble: Trouble, chance: random.Random) -> None:
        with contextlib.suppress(OSError, ValueError), link:
            link.settimeout(20.0)
            while data := link.recv(65536):
                if b"\r\n\r\n" in data:
                    trouble(self, link, data.decode("latin-1"), chance)
        self._links.discard(link)

    def wait(self, seconds: float) -> bool:
        """True when the server has ended."""
        return self._ended.wait(seconds)


Trouble = Callable[[FuzzRtsp, socket.socket, str, random.Random], None]


def _reply(
    link: socket.socket, request: str, lines: str = "", body: str = "", status: str = "200 OK"
) -> None:
    numbered = [line for line in request.split("\r\n") if line.lower().startswith("cseq")]
    head = f"RTSP/1.0 {status}\r\n{numbered[0] if numbered else 'CSeq: 1'}\r\n{lines}"
    link.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode("latin-1", "replace"))


def _hang_up(_: FuzzRtsp, link: socket.socket, request: str, chance: random.Random) -> None:
    link.shutdown(socket.SHUT_RDWR)


def _noise(_: FuzzRtsp, link: socket.socket, request: str, chance: random.Random) -> None:
    link.sendall(chance.randbytes(chance.choice((1, 100, 5000, 100_000))))


def _huge_header(_: FuzzRtsp, link: socket.socket, request: str, chance: random.Random) -> None:
    name = chance.choice(("Public", "Content-Base", "Content-Type", "Server", "Session", "Location", "X"))
    status = chance.choice(("200 OK", "302 Found", "404 Not Found", "500 Error"))
    _reply(link, request, f"{name}: {chance.choice(_NASTY)}\r\n", status=status)


def _huge_challenge(_: FuzzRtsp, link: socket.socket, request: str, chance: random.Random) -> None:
    value = chance.choice(("Digest ", "Basic ", 'Digest realm="', "Digest nonce=")) + chance.choice(_NASTY)
    _reply(link, request, f"WWW-Authenticate: {value}\r\n", status="401 Unauthorized")


def _endless_head(fuzz: FuzzRtsp, link: socket.socket, request: str, chance: random.Random) -> None:
    link.sendall(b"RTSP/1.0 200 OK\r\n")
    while not fuzz.wait(0.02):
        link.sendall(b"X-Header: more\r\n" * 20)


def _slow_head(fuzz: FuzzRtsp, link: socket.socket, request: str, chance: random.Random) -> None:
    for byte in b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: DESCRIBE, SETUP, PLAY\r\n\r\n":
        link.sendall(bytes([byte]))
        if fuzz.wait(0.1):
            return


def _broken_sdp(_: FuzzRtsp, link: socket.socket, request: str, chance: random.Random) -> None:
    text = list(_SDP)
    for _number in range(chance.randint(1, 40)):
        place = chance.randrange(len(text))
        text[place] = chance.choice(
            (*_NASTY[5:9], "\r", "\n", "=", chr(chance.randrange(256)), text[place] * 50)
        )
    described = request.startswith("DESCRIBE")
    _reply(
        link,
        request,
        "Content-Type: application/sdp\r\n" if described else "",
        "".join(text) if described else "",
    )


def _broken_rtp(fuzz: FuzzRtsp, link: socket.socket, request: str, chance: random.Random) -> None:
    """A right description, then packets of noise, in frames that are sometimes wrong."""
    if request.startswith("DESCRIBE"):
        _reply(link, request, "Content-Type: application/sdp\r\n", _SDP)
        return
    _reply(
        link, request, "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 12345678;timeout=60\r\n"
    )
    if not request.startswith("PLAY"):
        return
    for number in range(chance.randint(50, 400)):
        kind = bytes([chance.choice((0x65, 0x41, 0x67, 0x68, 28, 24, 25, 0, 255)), chance.randrange(256)])
        payload = kind + chance.randbytes(chance.choice((0, 1, 20, 1400)))
        head = struct.pack(">BBHII", chance.choice((0x80, 0x9F, 0xBF)), 96 | (number % 3 == 0) << 7,
                           (number * chance.choice((1, 1, 7))) & 0xFFFF,
                           (number * 3600) & 0xFFFFFFFF, 1)  # fmt: skip
        packet = head + payload
        size = chance.choice((len(packet),) * 9 + (65535,)) if chance.random() < 0.1 else len(packet)
        link.sendall(b"$" + struct.pack(">BH", chance.choice((0, 0, 0, 1, 9)), size) + packet)
        if fuzz.wait(0.01):
            return


def _silence(fuzz: FuzzRtsp, link: socket.socket, request: str, chance: random.Random) -> None:
    fuzz.wait(chance.choice((0.5, 5.0, 15.0)))


TROUBLES: tuple[Trouble, ...] = (
    _hang_up, _noise, _huge_header, _huge_challenge, _endless_head, _slow_head, _broken_sdp, _broken_sdp,
    _broken_rtp, _broken_rtp, _silence,
)  # fmt: skip
