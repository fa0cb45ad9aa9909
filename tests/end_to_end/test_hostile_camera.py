"""Cameras that send nonsense beside a healthy one: nothing stops, nothing grows.

FUZZ_MINUTES=10 python run.py test -m soak tests/end_to_end/test_hostile_camera.py -s
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import pytest

from tests.helpers import warm_processes
from tests.helpers.media import moving, write_clip
from tests.helpers.servers.fuzz_rtsp import FuzzRtsp
from tests.helpers.servers.mini_rtsp import MiniRtsp

MINUTES = float(os.environ.get("FUZZ_MINUTES", "10"))
LONGEST_GAP = 2.5  # seconds between two heartbeats, which come every second
GROWTH = 10.0  # MB, once it has settled
ROOT = Path(__file__).parents[2]
CONFIG = """
cameras:
  - {{name: healthy, source: '{healthy}'}}
  - {{name: odd-1, source: '{odd[0]}'}}
  - {{name: odd-2, source: '{odd[1]}'}}
  - {{name: odd-3, source: '{odd[2]}'}}
capture: {{retry_min: 0.05, retry_max: 0.1, open_timeout: 2.0, read_timeout: 1.0}}
bus: {{bind: 'tcp://127.0.0.1:0'}}
journal: {{path: '{folder}/events.db'}}
ui: json
"""


class Heard:
    """When each heartbeat was sent (Unix seconds), and when each of the healthy camera's predictions came."""

    def __init__(self, stream: Any) -> None:
        self.heartbeats: list[float] = []
        self.predictions: list[float] = []
        self.codes: set[str] = set()
        self._changed = threading.Condition()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream: Any) -> None:
        for line in stream:
            message, now = json.loads(line), time.monotonic()
            with self._changed:
                if message["type"] == "heartbeat":
                    self.heartbeats.append(message["sent_at"])
                elif message["type"] == "prediction" and message["camera"] == "healthy":
                    self.predictions.append(now)
                elif message["type"] == "status" and message.get("code"):
                    self.codes.add(message["code"])
                self._changed.notify_all()

    def until_prediction(self, seconds: float) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.predictions, seconds), "the healthy camera never came"


def largest_gap(times: list[float]) -> float:
    return max((b - a for a, b in itertools.pairwise(times)), default=0.0)


def fuzz(folder: Path, seconds: float) -> tuple[Heard, list[float], str, int]:
    """Run for `seconds`; what was heard, the memory (MB) each second, the talk, and the troubles done."""
    clip = write_clip(folder / "good.h264", moving(150), fps=25, container="h264", gop=25)
    with MiniRtsp(clip) as healthy, FuzzRtsp(1) as a, FuzzRtsp(2) as b, FuzzRtsp(3) as c:
        config = folder / "fuzz.yaml"
        config.write_text(CONFIG.format(healthy=healthy.url, odd=[a.url, b.url, c.url], folder=folder))
        command = [sys.executable, "-m", "streamer", "run", "--config", str(config)]
        with (folder / "talk.txt").open("w") as talk:
            child = warm_processes.start(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=talk, text=True)
            try:
                heard, process, memory = Heard(child.stdout), psutil.Process(child.pid), []
                heard.until_prediction(60.0)
                until, pause, late = time.monotonic() + seconds, threading.Event(), 0.0
                while time.monotonic() < until:
                    assert child.poll() is None, f"it ended: {(folder / 'talk.txt').read_text()[-2000:]}"
                    memory.append(process.memory_info().rss / 1e6)
                    before = time.monotonic()
                    pause.wait(1.0)
                    late = max(late, time.monotonic() - before - 1.0)
                child.send_signal(signal.SIGTERM)
                assert child.wait(10) == 0
            finally:
                child.kill()
                child.wait()
        done = a.troubles + b.troubles + c.troubles
    print(f"\n{sum(done.values())} connections: {dict(done)}; reasons told: {sorted(heard.codes)}")
    print(f"this test's own thread, which only sleeps, came back {late:.2f} s late at most")
    return heard, memory, (folder / "talk.txt").read_text(), sum(done.values())


def check(heard: Heard, talk: str, gap: float) -> None:
    assert largest_gap(heard.heartbeats) < gap
    assert largest_gap(heard.predictions) < 2 * gap
    assert "hunter2" not in talk
    assert all(line.isprintable() for line in talk.split("\n"))
    assert "Traceback" not in talk


@pytest.mark.realtime(about=17)
def test_cameras_that_send_nonsense_stop_nobody(tmp_path: Path) -> None:
    heard, _, talk, done = fuzz(tmp_path, 12.0)
    assert done >= 10
    assert len(heard.heartbeats) >= 6
    check(heard, talk, 2 * LONGEST_GAP)  # beside other tests; the soak holds the limit itself


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_minutes_of_nonsense_leave_no_trace(tmp_path: Path) -> None:
    heard, memory, talk, done = fuzz(tmp_path, MINUTES * 60)
    fifth = max(1, len(memory) // 5)
    growth = median(memory[-fifth:]) - median(memory[fifth : 2 * fifth])
    print(
        f"{MINUTES:g} minutes, {done} connections: longest gap between heartbeats"
        f" {largest_gap(heard.heartbeats):.2f} s, between predictions {largest_gap(heard.predictions):.2f} s;"
        f" memory {median(memory[fifth : 2 * fifth]):.0f} MB, then {growth:+.1f} MB"
    )
    check(heard, talk, LONGEST_GAP)
    assert growth < GROWTH
