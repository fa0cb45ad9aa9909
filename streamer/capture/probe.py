"""Asks a network camera why it did not open: one request over a plain socket, with a deadline.

OpenCV says only False, and FFmpeg's reason goes to stderr together with the address. A small RTSP and HTTP
client (RFC 2326, RFC 7235, RFC 7616 with MD5) needs no dependency and cannot leak a password.
"""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from streamer.capture.address import Address, split_userinfo
from streamer.errors import SourceCode

Reason = tuple[SourceCode, str, str]  # code, what happened, what to do
_PORTS = {"rtsp": 554, "rtsps": 322, "rtmp": 1935, "rtmps": 443, "http": 80, "https": 443}
_MOST = 64 * 1024  # bytes of an answer that are looked at


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    challenges: tuple[str, ...]  # the WWW-Authenticate headers
    body: str


def probe(address: Address, timeout: float) -> Reason:
    """Why `address` cannot be opened, found within about `timeout` seconds. Never raises, never leaks."""
    url = split_userinfo(str(address.secret_url))[0]
    parts = urlsplit(url)
    port = parts.port or _PORTS.get(parts.scheme, 0)
    deadline = time.monotonic() + timeout
    try:
        return _ask(address, url, parts.scheme, parts.hostname or "", port, deadline)
    except socket.gaierror:
        return "unreachable", "has no known address (name not found)", "check the host's name and your DNS"
    except ConnectionRefusedError:
        return (
            "unreachable",
            f"refuses connections on port {port}",
            "check the port, and that the camera's streaming is on",
        )
    except TimeoutError:
        return "timeout", "does not answer in time", "check that it is on and reachable from here"
    except ssl.SSLError:
        return "unreachable", "does not speak TLS there", "use the address without the s (rtsp, http)"
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "broken answer"
        return "unreachable", f"cannot be reached ({why})", "check the address and the network"


def _ask(address: Address, url: str, scheme: str, host: str, port: int, deadline: float) -> Reason:
    with _connect(host, port, deadline, tls=scheme in ("rtsps", "rtmps", "https")) as link:
        if scheme.startswith("rtmp"):
            return (
                "unknown",
                "accepts connections but gives no RTMP stream",
                "check the path and stream key, and that something is published there",
            )
        rtsp = scheme.startswith("rtsp")
        answer = _request(link, url, rtsp, {}, deadline)
        if answer.status == 401 and address.user is not None:
            method = "DESCRIBE" if rtsp else "GET"
            proof = _authorization(answer.challenges, address.user, address.password or "", method, url, rtsp)
            if proof is not None:
                if not rtsp or answer.headers.get("connection", "").lower() == "close":
                    link.close()
                    with _connect(host, port, deadline, tls=scheme.endswith("s")) as again:
                        answer = _request(again, url, rtsp, {"Authorization": proof}, deadline)
                else:
                    answer = _request(link, url, rtsp, {"Authorization": proof}, deadline)
    return _judge(answer, address.user is not None, rtsp)


def _judge(answer: _Answer, has_user: bool, rtsp: bool) -> Reason:
    if answer.status in (401, 403):
        if has_user:
            return "auth_failed", f"refuses the user or the password ({answer.status})", "correct them"
        return "auth_failed", f"asks for a user and a password ({answer.status})", "set user and password"
    if answer.status in (404, 410):
        return "not_found", f"knows no such stream ({answer.status})", "check the path in the address"
    if answer.status >= 400:
        return "unknown", f"answers with error {answer.status}", "look into the camera's own log"
    if rtsp and "m=video" not in answer.body:
        return "codec", "offers no video", "check the path: this one may be sound only"
    kind = answer.headers.get("content-type", "")
    if not rtsp and kind.startswith(("text/html", "application/json")):
        return "codec", f"gives no video but {kind.split(';')[0]}", "use the address of the stream itself"
    return (
        "codec",
        "answers, but its video cannot be opened",
        "set the camera to H.264 and try the address in a video player",
    )


def _connect(host: str, port: int, deadline: float, tls: bool) -> socket.socket:
    link = socket.create_connection((host, port), timeout=_left(deadline))
    if not tls:
        return link
    context = ssl.create_default_context()
    context.check_hostname = False  # cameras sign for themselves; nothing secret goes out unencoded here
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(link, server_hostname=host)


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
    data = b""
    while b"\r\n\r\n" not in data and len(data) < _MOST:
        data += _receive(link, deadline)
    head, _, body = data.partition(b"\r\n\r\n")
    status, headers, challenges = _parse_head(head.decode("latin-1"))
    if rtsp:
        size = min(int(headers.get("content-length", "0") or 0), _MOST)
        while len(body) < size:
            body += _receive(link, deadline)
    return _Answer(status, headers, challenges, body.decode("latin-1"))


def _receive(link: socket.socket, deadline: float) -> bytes:
    link.settimeout(_left(deadline))
    data = link.recv(4096)
    if not data:
        raise ConnectionError("it hung up")
    return data


def _parse_head(head: str) -> tuple[int, dict[str, str], tuple[str, ...]]:
    first, *rest = head.split("\r\n")
    match = re.match(r"\S+ (\d{3})", first)
    if match is None:
        raise ValueError("no status line")
    pairs = [
        (name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in rest)
    ]
    challenges = tuple(value for name, value in pairs if name == "www-authenticate")
    return int(match[1]), dict(pairs), challenges


def _authorization(
    challenges: tuple[str, ...], user: str, password: str, method: str, url: str, rtsp: bool
) -> str | None:
    """The Authorization header that answers the strongest challenge understood here; None without one."""
    for challenge in challenges:
        if challenge.lower().startswith("digest"):
            pairs = re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]*))', challenge)
            fields = {name.lower(): quoted or plain for name, quoted, plain in pairs}
            if fields.get("algorithm", "MD5").upper() == "MD5":
                parts = urlsplit(url)
                uri = url if rtsp else (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                return _digest(fields, user, password, method, uri)
    if any(challenge.lower().startswith("basic") for challenge in challenges):
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    return None


def _digest(fields: Mapping[str, str], user: str, password: str, method: str, uri: str) -> str:
    def md5(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    realm, nonce = fields.get("realm", ""), fields.get("nonce", "")
    secret, what = md5(f"{user}:{realm}:{password}"), md5(f"{method}:{uri}")
    head = f'Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}"'
    if "auth" in re.split(r"[,\s]+", fields.get("qop", "")):
        client, count = "0a4f113b", "00000001"
        response = md5(f"{secret}:{nonce}:{count}:{client}:auth:{what}")
        head += f', qop=auth, nc={count}, cnonce="{client}"'
    else:
        response = md5(f"{secret}:{nonce}:{what}")
    return f'{head}, response="{response}"'
