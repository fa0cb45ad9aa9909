"""A real mosquitto of a test's own, and a client that hears everything."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.bridge_parts import kill
from tests.helpers.bus_parts import until

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason="needs mosquitto")


class Broker:
    """A mosquitto of our own, on a port of the system's choice, that keeps its sessions on disk."""

    def __init__(
        self, folder: Path, *more: str, listener: tuple[str, ...] = ("allow_anonymous true",)
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.folder, self._config = folder, folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", *listener, "persistence true",
                 f"persistence_location {folder}/", "max_queued_messages 0", "user root", *more]  # fmt: skip
        self._config.write_text("\n".join(lines) + "\n")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Broker:
        assert MOSQUITTO is not None
        with (self.folder / "broker.log").open("ab") as log:
            self.process = subprocess.Popen([MOSQUITTO, "-c", str(self._config)], stdout=log, stderr=log)
        until(self._answers, "mosquitto listens")
        return self

    def _answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def save(self) -> None:
        """Write subscriptions and sessions to disk now."""
        assert self.process is not None
        saved = self.folder / "mosquitto.db"
        before = saved.stat().st_mtime_ns if saved.exists() else 0
        self.process.send_signal(signal.SIGUSR1)
        until(lambda: saved.exists() and saved.stat().st_mtime_ns > before, "mosquitto saves")

    def kill(self) -> None:
        if self.process is not None:
            kill(self.process)
            self.process = None


class MqttListener:
    """Somebody who subscribes to everything, and stays subscribed while away."""

    def __init__(self, port: int, *, user: str | None = None, password: str | None = None) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self.got: list[tuple[str, bytes, bool]] = []
        self.ready = threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2, "listener", clean_session=False)
        if user is not None:
            self.client.username_pw_set(user, password)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_message = lambda _, __, m: self.got.append((m.topic, m.payload, bool(m.retain)))
        self.client.on_connect = lambda *_: self.client.subscribe("#", qos=1)
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self.ready.wait(10)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def say(self, topic: str, text: str) -> None:
        self.client.publish(topic, text, qos=1).wait_for_publish(10)

    def last(self, topic: str) -> bytes | None:
        """What a topic holds, as far as we heard."""
        return next((payload for name, payload, _ in reversed(self.got) if name == topic), None)

    def text(self, topic: str) -> str:
        return (self.last(topic) or b"").decode()

    def json(self, topic: str) -> Any:
        return json.loads(self.last(topic) or b"{}")

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(data) for topic, data, _ in list(self.got) if topic.endswith("/event")]

    @property
    def seqs(self) -> list[int]:
        return [told["seq"] for told in self.events]
