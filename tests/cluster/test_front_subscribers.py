"""What works with a single run works with a front: metrics, MQTT and speech, as real processes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.bridge_parts import kill, start_command
from tests.helpers.bus_parts import until
from tests.helpers.cluster_parts import Cluster
from tests.helpers.http_get import get
from tests.helpers.mosquitto import Broker, MqttListener, needs_broker
from tests.helpers.speech_parts import espeak

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX"),
    pytest.mark.realtime(about=7),
]


class Served:
    """A front as `streamer cluster` starts it, a scripted worker, and two cameras."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self._stack = folder, stack
        self.cluster = Cluster(folder, 2, rate=4.0)
        stack.callback(self.cluster.close)
        log = self.run("cluster", str(self.cluster.file), "--metrics", "127.0.0.1:0", "--ui", "none", "-v")
        self.metrics = told(log, r"http://(127\.0\.0\.1:\d+)/metrics")
        self.cluster.worker("w1")

    def run(self, *words: str) -> Path:
        """`streamer WORDS` until the end; where its messages go."""
        log = self.folder / f"{words[0]}.talk"
        self._stack.callback(kill, start_command(words, log))
        return log

    def metric(self, line: str) -> bool:
        return line in get(self.metrics, "/metrics")[1].splitlines()


def told(log: Path, pattern: str) -> str:
    def found() -> re.Match[str] | None:
        return re.search(pattern, log.read_text())

    until(lambda: found() is not None, f"{pattern} in {log.name}")
    match = found()
    assert match is not None
    return match[1]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with ExitStack() as stack:
        yield Served(tmp_path, stack)


def test_a_lost_worker_and_its_cameras_are_in_the_metrics(served: Served) -> None:
    until(lambda: served.metric('streamer_camera_unplaced{camera="cam0"} 0.0'), "cam0 is watched")
    until(lambda: served.metric('streamer_worker_state{state="working",worker="w1"} 1.0'), "w1 works")
    until(lambda: served.metric('streamer_camera_state{camera="cam1",state="running"} 1.0'), "cam1 runs")
    served.cluster.kill("w1")
    until(lambda: served.metric('streamer_worker_state{state="lost",worker="w1"} 1.0'), "w1 is lost")
    for camera in ("cam0", "cam1"):
        until(lambda camera=camera: served.metric(f'streamer_camera_unplaced{{camera="{camera}"}} 1.0'))  # type: ignore[misc]
    served.cluster.worker("w1")
    until(lambda: served.metric('streamer_camera_unplaced{camera="cam0"} 0.0'), "cam0 is watched again")


@needs_broker
def test_mqtt_carries_a_fronts_events_and_its_unplaced_cameras(served: Served, tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    broker = Broker(tmp_path / "broker").start()
    listener = MqttListener(broker.port)
    try:
        state = str(tmp_path / "mqtt.json")
        served.run("mqtt", served.cluster.endpoint, "--broker", f"127.0.0.1:{broker.port}", "--state", state)
        until(lambda: {told["camera"] for told in listener.events} == {"cam0", "cam1"}, "both tell")
        until(lambda: listener.text("streamer/cam0/availability") == "online")
        served.cluster.kill("w1")
        until(lambda: listener.text("streamer/cam0/availability") == "offline", "nobody watches it")
        assert "unplaced" in listener.json("streamer/cam0/status")["detail"]
        until(lambda: any(told.get("reason") == "worker lost" for told in listener.events), "ends are told")
    finally:
        listener.close()
        broker.kill()


@espeak
def test_a_fronts_events_are_spoken(served: Served, tmp_path: Path) -> None:
    sounds = tmp_path / "sounds"
    served.run("speak", served.cluster.endpoint, "--to-file", str(sounds), "--repeat-after", "0")

    def lines() -> list[dict[str, Any]]:
        file = sounds / "index.jsonl"
        whole = file.read_text("utf-8").rpartition("\n")[0] if file.exists() else ""
        return [json.loads(line) for line in whole.splitlines()]

    until(lambda: {line["camera"] for line in lines() if line["outcome"] == "spoken"} == {"cam0", "cam1"})
    assert any(sounds.glob("*.wav"))
