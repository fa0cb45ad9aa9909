"""Why a network camera did not open: one question over a plain socket, with a deadline.

OpenCV says only False, and FFmpeg's reason goes to stderr together with the address. PyAV raises typed
errors, but over 20 faults they named 12 (a silent host, a wrong answer and one that hangs up are all "invalid
data", a login page is "input/output error"), seven of them with the password in the text, and PyAV is an
extra. This small RTSP and HTTP client (RFC 2326, 7235, 7616) names all 20.

What a camera answers is foreign: at most MOST_HEAD bytes of a head are read, LONGEST_VALUE characters of a
value are kept, and nothing here takes longer than the length of the answer asks for, or than the deadline.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from streamer.capture.address import Address, split_userinfo
from streamer.capture.authentication import authorization, choose, parse_challenges
from streamer.errors import SourceCode
from streamer.system.terminal_text import printable

PORTS = {"rtsp": 554, "rtsps": 322, "rtmp": 1935, "rtmps": 443, "http": 80, "https": 443}
MOST_HEAD = 16 * 1024  # bytes of an answer's head
MOST_BODY = 64 * 1024  # bytes of a description
LONGEST_VALUE = 200  # characters of a header's value; of challenges and addresses LONGEST_CHALLENGE
LONGEST_CHALLENGE = 2000
_LONG = ("www-authenticate", "location")
_MOST_HEADERS = 100


@dataclass(frozen=True)
class Reason:
    """Why a source cannot be opened: code, what happened, what to do; `moved_to`: where it sends us."""

    code: SourceCode
    what: str
    remedy: str
    moved_to: str = ""


PLAYABLE = Reason(  # it offers video: what is wrong is not between the camera and this question
    "codec",
    "answers, but its video cannot be opened",
    "set the camera to H.264 and try the address in a video player",
)


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    challenges: tuple[str, ...]  # the WWW-Authenticate headers
    body: str


def port_of(url: str) -> int:
    """The port of a URL, or its scheme's own. Raises ValueError."""
    parts = urlsplit(url)
    return parts.port or PORTS.get(parts.scheme.lower(), 0)


def find_reason(address: Address, context: ssl.SSLContext | None, timeout: float) -> Reason:
    """Why `address` cannot be opened, found within about `timeout` seconds. Never raises, never leaks.

    `context`: to connect with where the address is encrypted; nothing secret is sent where it does not trust.
    """
    url = split_userinfo(str(address.secret_url))[0]
    try:
        port = port_of(url)
    except ValueError:
        return Reason("not_found", "has no usable port", "correct the address")
    try:
        return _ask(address, url, context, time.monotonic() + timeout)
    except (OSError, ValueError) as error:
        return reason_of(error, None if urlsplit(url).port else port)


def reason_of(error: Exception, port: int | None) -> Reason:
    """What an error of a connection means; `port`: where it is not told with the host anyway."""
    if isinstance(error, socket.gaierror):
        return Reason("unreachable", "has no known address (name not found)", "check the name and your DNS")
    if isinstance(error, ConnectionRefusedError):
        advice = "check the port, and that the camera's streaming is on"
        where = "" if port is None else f" on port {port}"
        return Reason("unreachable", f"refuses connections{where}", advice)
    if isinstance(error, TimeoutError):
        return Reason("timeout", "does not answer in time", "check that it is on and reachable from here")
    if isinstance(error, ssl.SSLCertVerificationError):
        return Reason("permission", "shows another certificate than before", "see tls_verify")
    if isinstance(error, ssl.SSLError):
        return Reason("unreachable", "does not speak TLS there", "use the address without the s (rtsp, http)")
    told = error.strerror if isinstance(error, OSError) else None
    why = printable(told or "broken answer", LONGEST_VALUE)
    return Reason("unreachable", f"cannot be reached ({why})", "check the address and the network")


def _ask(address: Address, url: str, context: ssl.SSLContext | None, deadline: float) -> Reason:
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    place = (parts.hostname or "", port_of(url))
    with _connect(place, context, deadline) as link:
        if scheme.startswith("rtmp"):
            return Reason(
                "unknown",
                "accepts connections but gives no RTMP stream",
                "check the path and stream key, and that something is published there",
            )
        rtsp = scheme.startswith("rtsp")
        answer = _request(link, url, rtsp, {}, deadline)
        challenge = choose(parse_challenges(answer.challenges)) if answer.status == 401 else None
        if challenge is None or address.user is None:
            return _judge(answer, address, url, rtsp)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        proof = authorization(
            challenge,
            address.user,
            address.password or "",
            "DESCRIBE" if rtsp else "GET",
            url if rtsp else target,
        )
        extra = {"Authorization": proof}
        if rtsp and answer.headers.get("connection", "").lower() != "close":
            answer = _request(link, url, rtsp, extra, deadline)
        else:
            link.close()
            with _connect(place, context, deadline) as again:
                answer = _request(again, url, rtsp, extra, deadline)
    if challenge.algorithm == "SHA-256" and challenge.scheme == "digest" and answer.status < 300:
        return Reason(
            "auth_failed",
            "takes the password by SHA-256 digest only, which the decoder (FFmpeg) does not know",
            "allow MD5 digest in the camera too, or basic authentication over TLS",
        )
    return _judge(answer, address, url, rtsp)


def _judge(answer: _Answer, address: Address, url: str, rtsp: bool) -> Reason:
    status = answer.status
    if status in (401, 403):
        if address.user is not None:
            return Reason("auth_failed", f"refuses the user or the password ({status})", "correct them")
        return Reason("auth_failed", f"asks for a user and a password ({status})", "set user and password")
    if status in (404, 410):
        return Reason("not_found", f"knows no such stream ({status})", "check the path in the address")
    if 300 <= status < 400 and (location := answer.headers.get("location", "")):
        moved = urljoin(url, location)
        host = printable(urlsplit(moved).netloc.rpartition("@")[2], LONGEST_VALUE)
        advice = "give that address yourself if it is the right one"
        return Reason("not_found", f"sends us to another address ({host})", advice, moved)
    if status >= 300:
        return Reason("unknown", f"answers with error {status}", "look into the camera's own log")
    if rtsp and "m=video" not in answer.body:
        return Reason("codec", "offers no video", "check the path: this one may be sound only")
    kind = answer.headers.get("content-type", "").partition(";")[0]
    if not rtsp and kind.startswith(("text/html", "application/json")):
        return Reason("codec", f"gives no video but {kind}", "use the address of the stream itself")
    return PLAYABLE


def _connect(place: tuple[str, int], context: ssl.SSLContext | None, deadline: float) -> socket.socket:
    link = socket.create_connection(place, timeout=_left(deadline))
    if context is None:
        return link
    try:
        return context.wrap_socket(link, server_hostname=place[0])
    except BaseException:
        link.close()
        raise


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _request(link: socket.socket, url: str, rtsp: bool, extra: Mapping[str, str], deadline: float) -> _Answer:
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if rtsp:
        lines = [f"DESCRIBE {url} RTSP/1.0", f"CSeq: {2 if extra else 1}", "Accept: application/sdp"]
    else:
        lines = [f"GET {target} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close"]
    lines += ["User-Agent: streamer", *(f"{name}: {value}" for name, value in extra.items()), "", ""]
    link.settimeout(_left(deadline))
    link.sendall("\r\n".join(lines).encode("utf-8"))
    data = bytearray()
    while b"\r\n\r\n" not in data:
        if len(data) > MOST_HEAD:
            raise ValueError("a head without an end")
        data += _receive(link, deadline)
    head, _, rest = bytes(data).partition(b"\r\n\r\n")
    status, headers, challenges = _parse_head(head[:MOST_HEAD].decode("latin-1"))
    body = bytearray(rest)
    if rtsp:
        told = headers.get("content-length", "0")
        size = min(int(told), MOST_BODY) if told.isascii() and told.isdigit() else 0
        while len(body) < size:
            body += _receive(link, deadline)
    return _Answer(status, headers, challenges, body[:MOST_BODY].decode("latin-1"))


def _receive(link: socket.socket, deadline: float) -> bytes:
    link.settimeout(_left(deadline))
    data = link.recv(4096)
    if not data:
        raise ConnectionError("it hung up")
    return data


def _parse_head(head: str) -> tuple[int, dict[str, str], tuple[str, ...]]:
    """Status, headers by name in lower case, and the challenges. Raises ValueError."""
    first, *rest = head.split("\r\n")[: _MOST_HEADERS + 1]
    status = first.partition(" ")[2][:3]
    if len(status) != 3 or not (status.isascii() and status.isdigit()):
        raise ValueError("no status line")
    pairs = []
    for line in rest:
        name, _, value = line.partition(":")
        name = name.strip().lower()
        most = LONGEST_CHALLENGE if name in _LONG else LONGEST_VALUE
        pairs.append((printable(name, LONGEST_VALUE), printable(value.strip(), most)))
    challenges = tuple(value for name, value in pairs if name == "www-authenticate")
    return int(status), dict(pairs), challenges
