"""Cameras answer an ONVIF probe: a real responder on loopback's multicast, and hostile answers."""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from streamer.capture.network_discovery import FoundCamera, camera_of, find_cameras

MATCH = (
    '<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"'
    ' xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery"><s:Body><d:ProbeMatches><d:ProbeMatch>'
    "<d:Types>{types}</d:Types><d:Scopes>{scopes}</d:Scopes>"
    "<d:XAddrs>http://203.0.113.9/onvif/device_service</d:XAddrs>"
    "</d:ProbeMatch></d:ProbeMatches></s:Body></s:Envelope>"
)
CAMERA = MATCH.format(
    types="dn:NetworkVideoTransmitter",
    scopes="onvif://www.onvif.org/type/video_encoder onvif://www.onvif.org/name/ACME_Door%20Cam"
    " onvif://www.onvif.org/hardware/DC-1",
)


@contextmanager
def responder(
    answers: list[str], *, only_untyped: bool = False
) -> Iterator[tuple[tuple[str, int], list[str]]]:
    """Joins the group on loopback as a camera does; gives (group, the probes it got)."""
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.bind(("", 0))
    group = ("239.255.255.250", link.getsockname()[1])
    member = struct.pack("4s4s", socket.inet_aton(group[0]), socket.inet_aton("127.0.0.1"))
    link.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    probes: list[str] = []

    def serve() -> None:
        while True:
            data, sender = link.recvfrom(65_536)
            if data == b"end":
                return
            probes.append(data.decode())
            if not only_untyped or "Types" not in probes[-1]:
                for answer in answers:
                    link.sendto(answer.encode(), sender)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield group, probes
    finally:
        link.sendto(b"end", ("127.0.0.1", group[1]))
        thread.join()
        link.close()


@pytest.mark.realtime
@pytest.mark.parametrize("only_untyped", [False, True])
def test_a_camera_that_answers_is_found_where_its_answer_came_from(only_untyped: bool) -> None:
    with responder(["noise", CAMERA, CAMERA], only_untyped=only_untyped) as (group, probes):
        found = find_cameras(1.5, interfaces=["127.0.0.1", "192.0.2.77"], group=group)
    assert found == [FoundCamera("127.0.0.1", "ACME Door Cam DC-1")]
    assert len(probes) == 4, "with and without a type, twice"
    ids = [re.search("urn:uuid:([0-9a-f-]{36})", probe) for probe in probes]
    assert len({match[1] for match in ids if match}) == 4


@pytest.mark.realtime
def test_where_nothing_answers_nothing_is_found() -> None:
    assert find_cameras(0.5, interfaces=["127.0.0.1"], group=("239.255.255.250", 9)) == []
    assert find_cameras(0.5, interfaces=[]) == []


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"\x00\xff", b"<a", b"<a/>", CAMERA.replace("ProbeMatches", "Hello").encode(),
        MATCH.format(types="wprt:PrintDeviceType", scopes="").encode(),
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]>' + CAMERA.encode(),
        CAMERA.encode()[:-20],
    ],
)  # fmt: skip
def test_other_answers_are_no_camera(answer: bytes) -> None:
    assert camera_of(answer, "192.168.1.9") is None


def test_names_are_text_and_short() -> None:
    scopes = "onvif://www.onvif.org/name/" + "%1B%5B2J" + "x" * 5000
    found = camera_of(MATCH.format(types="", scopes=scopes).encode(), "192.168.1.9")
    assert found is not None
    assert "\x1b" not in found.name
    assert len(found.name) <= 61
