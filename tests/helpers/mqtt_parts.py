"""An MQTT bridge as its tests run it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from streamer.bus import Publisher
from streamer.subscribers.mqtt.broker import Address
from streamer.subscribers.mqtt.home_assistant import Layout
from streamer.subscribers.mqtt.mqtt_bridge import MqttBridge, Settings
from streamer.subscribers.publisher_address import PublisherAddress


class Bridged(MqttBridge):
    """A bridge from `bus` to a broker's port that begins at the history's begin."""

    def __init__(
        self, bus: Publisher, port: int, folder: Path, layout: Layout | None = None, **more: Any
    ) -> None:
        self.lines: list[str] = []
        self.state = folder / "state.json"
        wanted = {key: more.pop(key) for key in ("events", "pictures") if key in more}
        address = Address("127.0.0.1", port, **more)
        settings = Settings(
            PublisherAddress(bus.endpoint), address, layout or Layout(), self.state, 0.0, **wanted
        )
        super().__init__(settings, tell=self.lines.append)
        self._backoff = type(self._backoff)(0.05, 0.2)

    def said(self, text: str) -> bool:
        return any(text in line for line in self.lines)


def position(state: Path) -> int:
    since = json.loads(state.read_text())["since"]
    return int(since[1]) if isinstance(since, list) else 0
