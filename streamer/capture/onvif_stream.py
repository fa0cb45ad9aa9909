"""Asks a network camera by ONVIF where its video is (SOAP 1.2 over HTTP), so that nobody has to guess.

Four questions: what time it is there (the login's digest is good for some seconds of the camera's clock),
where its media service is, which profiles there are (the first is the main stream), and the first one's
address. The login goes along as the digest of WS-Security's username token, never in clear.

A camera may answer anything: of its answers only ports and paths are taken. The host stays the one that was
asked, so that nobody can send a login elsewhere.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import re
import secrets
import socket
import threading
import time
from datetime import UTC, datetime
from urllib.parse import urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from streamer.system.addresses import bracketed
from streamer.system.redaction import secret_parameters

PORTS = (80, 2020, 8000, 8080, 8899)  # where most cameras answer; TP-Link; Reolink; others
_DEVICE = "/onvif/device_service"
_PATIENCE = 2.0  # seconds for each step of one answer
_LONGEST = 5.0  # seconds for one answer
_LARGEST = 1_000_000  # bytes of an answer
_ADDRESS = re.compile(r"rtsp://[!-~]{1,1000}")
_SOAP = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Header>{login}</s:Header>'
    '<s:Body xmlns:tds="http://www.onvif.org/ver10/device/wsdl" xmlns:trt="http://www.onvif.org/ver10/media/wsdl"'
    ' xmlns:tt="http://www.onvif.org/ver10/schema">{question}</s:Body></s:Envelope>'
)
_WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
_LOGIN = (
    f'<Security xmlns="{_WSSE}wssecurity-secext-1.0.xsd"><UsernameToken><Username>{{user}}</Username>'
    f'<Password Type="{_WSSE}username-token-profile-1.0#PasswordDigest">{{digest}}</Password>'
    "<Nonce>{nonce}</Nonce>"
    f'<Created xmlns="{_WSSE}wssecurity-utility-1.0.xsd">{{created}}</Created></UsernameToken></Security>'
)
_TIME = "<tds:GetSystemDateAndTime/>"
_SERVICES = "<tds:GetCapabilities><tds:Category>Media</tds:Category></tds:GetCapabilities>"
_PROFILES = "<trt:GetProfiles/>"
_STREAM = (
    "<trt:GetStreamUri><trt:StreamSetup><tt:Stream>RTP-Unicast</tt:Stream><tt:Transport><tt:Protocol>RTSP"
    "</tt:Protocol></tt:Transport></trt:StreamSetup><trt:ProfileToken>{token}</trt:ProfileToken></trt:GetStreamUri>"
)


class _NoAnswerError(Exception):
    """It is no ONVIF camera, or wants another login."""


def stream_address(host: str, user: str | None, password: str | None) -> str | None:
    """The address of the main stream, without the login; None where the camera does not tell it.

    `host`: HOST or HOST:PORT; a port is the video's, and stays.
    """
    place = urlsplit(f"//{host}")
    for port in PORTS:
        try:
            told = _told(place.hostname or "", port, user, password)
        except (OSError, http.client.HTTPException, ValueError, _NoAnswerError):
            continue
        if not _ADDRESS.fullmatch(told) or secret_parameters(told):  # the login belongs elsewhere
            return None
        video = urlsplit(told)
        at = place.port or video.port or 554
        where = bracketed(place.hostname or "") + ("" if at == 554 else f":{at}")
        return f"rtsp://{where}{video.path or '/'}" + (f"?{video.query}" if video.query else "")
    return None


def _told(host: str, port: int, user: str | None, password: str | None) -> str:
    """Raises OSError, HTTPException, ValueError, _NoAnswerError."""
    try:
        ahead = _clock(_ask(host, port, _DEVICE, _TIME)) - time.time()
    except (_NoAnswerError, ValueError):
        ahead = 0.0  # it keeps its time to itself

    def login() -> str:
        return "" if user is None or password is None else _login(user, password, time.time() + ahead)

    services = _ask(host, port, _DEVICE, _SERVICES, login())
    media = urlsplit(_text(services, "XAddr")).path or _DEVICE
    profiles = _ask(host, port, media, _PROFILES, login())
    token = next((one.get("token", "") for one in profiles.iter() if _name(one) == "Profiles"), "")
    stream = _STREAM.format(token=escape(token))
    return _text(_ask(host, port, media, stream, login()), "Uri")


def _ask(host: str, port: int, path: str, question: str, login: str = "") -> ElementTree.Element:
    link = http.client.HTTPConnection(host, port, timeout=_PATIENCE)
    link.connect()
    end = threading.Timer(_LONGEST, _cut, (link.sock,))  # also of one that sends a byte now and then
    end.start()
    try:
        headers = {"Content-Type": "application/soap+xml; charset=utf-8"}
        link.request("POST", path, _SOAP.format(login=login, question=question).encode(), headers)
        answer = link.getresponse()
        data = answer.read(_LARGEST)
    finally:
        end.cancel()
        link.close()
    if answer.status != 200 or b"<!" in data:  # a fault; no entities
        raise _NoAnswerError(str(answer.status))
    try:
        return ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise _NoAnswerError("it is no XML") from error


def _cut(link: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has ended meanwhile
        link.shutdown(socket.SHUT_RDWR)


def _login(user: str, password: str, now: float) -> str:
    nonce, created = secrets.token_bytes(16), datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    digest = hashlib.sha1(nonce + created.encode() + password.encode(), usedforsecurity=False).digest()
    base = (base64.b64encode(one).decode() for one in (digest, nonce))
    return _LOGIN.format(user=escape(user), digest=next(base), nonce=next(base), created=created)


def _clock(told: ElementTree.Element) -> float:
    """Unix seconds. Raises ValueError."""
    utc = next((one for one in told.iter() if _name(one) == "UTCDateTime"), None)
    if utc is None:
        raise ValueError("it does not say")
    words = (_text(utc, name) for name in ("Year", "Month", "Day", "Hour", "Minute", "Second"))
    year, month, day, hour, minute, second = map(int, words)
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()


def _text(told: ElementTree.Element, name: str) -> str:
    return next(((one.text or "").strip() for one in told.iter() if _name(one) == name), "")


def _name(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]
