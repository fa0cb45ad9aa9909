"""Cameras in the local network that answer an ONVIF probe (WS-Discovery 1.1 over SOAP 1.2, UDP multicast).

A small client of its own: of the libraries, WSDiscovery (LGPL, a source package, threads that live on) also
answers and announces, which is not wanted here, and the ONVIF clients (zeep, lxml, aiohttp: 27 packages) do
not discover. Each interface is asked by itself, because a multicast leaves by one of them only. Some cameras
answer only to a probe that names no type, so both are sent, and twice, as the specification asks for.

Whoever is in the network may answer anything: a camera's address is where its answer came from, never what
the answer says, so that nobody can send a login elsewhere; names are cut short and shown as text.
"""

from __future__ import annotations

import ipaddress
import re
import selectors
import socket
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import unquote
from xml.etree import ElementTree

from streamer.system.terminal_text import printable

GROUP = ("239.255.255.250", 3702)
_TYPES = "dn:NetworkVideoTransmitter"
_REPEAT_AFTER = 0.3  # seconds
_LARGEST = 65_536  # bytes of an answer
_MOST = 256  # cameras
_LONGEST = 60  # characters of a name
_PROBE = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"'
    ' xmlns:w="http://schemas.xmlsoap.org/ws/2004/08/addressing"'
    ' xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery"'
    ' xmlns:dn="http://www.onvif.org/ver10/network/wsdl">'
    "<e:Header><w:MessageID>urn:uuid:{id}</w:MessageID>"
    "<w:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</w:To>"
    "<w:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</w:Action></e:Header>"
    "<e:Body><d:Probe>{types}</d:Probe></e:Body></e:Envelope>"
)


@dataclass(frozen=True, slots=True, order=True)
class FoundCamera:
    """A camera that answered: its address, and what it calls itself ("" where it does not say)."""

    host: str
    name: str = ""


def find_cameras(
    seconds: float = 3.0, *, interfaces: Sequence[str] | None = None, group: tuple[str, int] = GROUP
) -> list[FoundCamera]:
    """Ask the local network for ONVIF cameras and collect answers for `seconds`, ordered by address.

    Args:
        interfaces: own IPv4 addresses to ask from; None: all but loopback.
        group: multicast group and port.

    An interface that cannot multicast is passed over.
    """
    found: dict[str, FoundCamera] = {}
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for address in _own_addresses() if interfaces is None else interfaces:
            link = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            link.setblocking(False)
            try:
                link.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
                link.bind((address, 0))
                _send(link, group)
            except OSError:
                continue
            selector.register(link, selectors.EVENT_READ)
        end = time.monotonic() + seconds
        again: float | None = time.monotonic() + _REPEAT_AFTER
        while selector.get_map() and (left := end - time.monotonic()) > 0 and len(found) < _MOST:
            for key, _ in selector.select(min(left, _REPEAT_AFTER)):
                assert isinstance(key.fileobj, socket.socket)
                if (camera := _receive(key.fileobj)) is not None:
                    known = found.get(camera.host)
                    found[camera.host] = camera if known is None or not known.name else known
            if again is not None and time.monotonic() >= again:
                again = None
                for key in selector.get_map().values():
                    assert isinstance(key.fileobj, socket.socket)
                    try:
                        _send(key.fileobj, group)
                    except OSError:
                        continue
    return sorted(found.values(), key=lambda camera: (ipaddress.ip_address(camera.host), camera.name))


def _own_addresses() -> list[str]:
    import ifaddr

    addresses = [ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips if ip.is_IPv4]
    return [one for one in addresses if isinstance(one, str) and not ipaddress.ip_address(one).is_loopback]


def _send(link: socket.socket, group: tuple[str, int]) -> None:
    for types in (f"<d:Types>{_TYPES}</d:Types>", ""):
        link.sendto(_PROBE.format(id=uuid.uuid4(), types=types).encode(), group)


def _receive(link: socket.socket) -> FoundCamera | None:
    try:
        data, sender = link.recvfrom(_LARGEST)
    except OSError:  # such as a port that is closed, told by ICMP
        return None
    return camera_of(data, str(sender[0]))


def camera_of(answer: bytes, host: str) -> FoundCamera | None:
    """What an answer from `host` says; None where it is no ONVIF camera's."""
    if b"<!" in answer:  # no entities: an answer has no DOCTYPE
        return None
    try:
        root = ElementTree.fromstring(answer)
    except (ElementTree.ParseError, ValueError):
        return None
    texts: dict[str, str] = {}
    for element in root.iter():
        texts.setdefault(str(element.tag).rpartition("}")[2], element.text or "")
    scopes = texts.get("Scopes", "")
    if "ProbeMatches" not in texts or not (
        "onvif://www.onvif.org/" in scopes or "NetworkVideoTransmitter" in texts.get("Types", "")
    ):
        return None
    told = [re.search(r"onvif://www\.onvif\.org/name/(\S+)", scopes)]
    told.append(re.search(r"onvif://www\.onvif\.org/hardware/(\S+)", scopes))
    words = [unquote(match[1]).replace("_", " ").strip() for match in told if match]
    return FoundCamera(host, printable(" ".join(dict.fromkeys(words)), _LONGEST))
