"""A broker that sends anything: the bridge says so, tries again, loses nothing, and ends when told."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamer.bus import Publisher
from streamer.bus.messages import PreviewMessage
from streamer.subscribers.event_filter import EventFilter
from streamer.subscribers.mqtt.camera_pictures import CameraPictures
from streamer.subscribers.mqtt.camera_topics import MOST_CAMERAS
from streamer.subscribers.mqtt.home_assistant import Layout
from streamer.subscribers.publisher_address import PublisherAddress
from streamer.system.clock import SYSTEM_CLOCK
from tests.helpers.bridge_parts import Running, publish_events
from tests.helpers.bus_parts import publisher, until
from tests.helpers.mqtt_parts import Bridged

CONNACK = b"\x20\x03\x00\x00\x00"  # accepted, no properties
LONG = b"\xff\xff\xff\x7f"  # the largest length that MQTT knows, 256 MB


class HostileBroker:
    """Accepts connections, reads the first packet, then sends `data` and reads on; counts who came."""

    def __init__(self, data: bytes, repeat: bool = False) -> None:
        self._data, self._repeat = data, repeat
        self.came = self.taken = 0
        self._ended = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                link, _ = self._socket.accept()
                self.came += 1
                threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        with link, contextlib.suppress(OSError):
            link.settimeout(10)
            link.recv(4096)
            link.sendall(self._data)
            while self._repeat and not self._ended.is_set():
                link.sendall(self._data)
                self.taken += len(self._data)
            while link.recv(65536):
                pass

    def close(self) -> None:
        self._ended.set()
        self._socket.close()


@pytest.fixture
def bus() -> Iterator[Publisher]:
    with publisher() as made:
        yield made


def publish_packet(topic: bytes, payload: bytes, rest: bytes = b"\x00") -> bytes:
    body = struct.pack("!H", len(topic)) + topic + rest + payload
    return bytes([0x30, len(body)]) + body


@pytest.mark.parametrize(
    ("data", "repeat"),
    [
        (b"hello, who are you?\r\n" * 10, False),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False),
        (bytes(range(256)) * 20, True),
        (b"\x00" * 1000, True),
        (b"\x20\xff\xff\xff\xff\xff\xff", False),  # a length that never ends
        (b"\x20" + LONG + b"\x00" * 100_000, True),  # 256 MB of one packet
        (b"\x20\x00", False),
        (b"\x20\x02\x00\xff", False),
        (b"\x20\x05\x00\x00\x02\xff\xff", False),  # a property that there is not
        (CONNACK + b"\xf0\x00", False),
        (CONNACK + publish_packet(b"\xff\xfe\xfd", b"x"), False),  # a topic that is no text
        (CONNACK + publish_packet(b"streamer/availability", b"offline", b"\x05\xff\xff\xff\xff\xff"), False),
        (CONNACK + b"\x90\x00" + b"\x40\x00" + b"\x40\x02\xff\xff" + b"\x62\x02\x00\x01", False),
        (CONNACK + b"\x40\x04\x00\x01\x00\x00" * 500, True),  # acknowledges what was never sent
    ],
)  # fmt: skip
def test_a_broker_that_sends_anything_is_told_and_left(
    bus: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, repeat: bool
) -> None:
    monkeypatch.setattr("streamer.subscribers.mqtt.broker.CONNECT", 0.3)
    monkeypatch.setattr("streamer.subscribers.mqtt.broker.SILENCE", 0.3)
    broker = HostileBroker(data, repeat)
    try:
        bridged = Bridged(bus, broker.port, tmp_path)
        with Running(bridged) as running:
            publish_events(bus, ["a"])
            until(lambda: broker.came >= 3, "it is tried again")
            assert running.alive, running.error
        assert running.error is None
    finally:
        broker.close()
    assert len(bridged.lines) <= 6, bridged.lines


def test_a_packet_of_256_mb_is_not_waited_for(
    bus: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamer.subscribers.mqtt.broker.CONNECT", 30.0)
    broker = HostileBroker(b"\x20" + LONG + b"\x00" * 100_000, repeat=True)
    try:
        bridged = Bridged(bus, broker.port, tmp_path)
        with Running(bridged):
            until(lambda: broker.came >= 2, "it is tried again")
            assert "it announced a packet of 268,435,455 bytes; we take 262,144" in bridged.lines[-1]
        assert broker.taken < 100_000_000, "what the system holds back for two connections"
    finally:
        broker.close()


class ManyNames:
    """A publisher that sends each preview under another name, and names a folder without recordings."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.sent = folder, 0

    def request(self, _: str) -> dict[str, Any]:
        return {"pictures": {"live": True, "snapshots": True, "folder": str(self.folder)}}

    def receive(self, _: float) -> PreviewMessage:
        self.sent += 1
        return PreviewMessage("s", self.sent, 0.0, f"c{self.sent}", 1, 1, b"\xff\xd8\xff", {})


def test_pictures_under_many_names_are_bounded_and_no_folder_is_believed(tmp_path: Path) -> None:
    pictures = CameraPictures(PublisherAddress(), Layout(), EventFilter(), 0.0, SYSTEM_CLOCK)
    hostile: Any = ManyNames(tmp_path)
    pictures.learn(hostile)
    assert pictures.folder is None
    pictures._subscriber = hostile
    topics: set[str] = set()
    for _ in range(20):
        pictures.poll(lambda topic, data, keep: topics.add(topic))
    assert hostile.sent >= 2 * MOST_CAMERAS - 50
    assert len(pictures._sent_at) <= MOST_CAMERAS
    assert len(topics) <= MOST_CAMERAS
