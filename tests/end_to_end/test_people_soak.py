"""People who come and go before four cameras, for long: memory stays flat, and everybody who left is freed.

    SOAK_MINUTES=30 python run.py test -m soak tests/end_to_end/test_people_soak.py -s

prints a Markdown table of the process as it went, from its metrics and the system.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import pytest

from streamer.testing import FakeCamera
from tests.helpers.http_get import get
from tests.helpers.people_parts import WIDTH, Walker, scene

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]

MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
CAMERAS, FPS = 4, 10.0
APART, SPEED = 4.0, 45.0  # seconds between two people; pixels a second
EVERY = 10.0  # seconds between two looks
LOST_AFTER, SPAN = 2.0, 1.4  # seconds; of the settings, of the demo
BUSY = 20.0  # seconds that a crowded machine may need besides
GROWTH = 8.0  # MB
ROOT = Path(__file__).parents[2]


class Street:
    """A picture of who walks by now: one more every few seconds, in turns from the left and the right."""

    def __init__(self, shift: float) -> None:
        self.began = time.monotonic() - shift
        self.closed = float("inf")  # seconds since then; nobody comes later

    def close(self) -> None:
        self.closed = time.monotonic() - self.began

    def __call__(self, _number: int) -> Any:
        now = time.monotonic() - self.began
        newest = int(min(now, self.closed) / APART)
        walkers = []
        for number in range(max(0, newest - 3), newest + 1):
            age = now - number * APART
            left = -30.0 + SPEED * age if number % 2 else WIDTH + 6.0 - SPEED * age
            walkers.append(Walker(lambda _t, left=left: left, top=20.0 + 60.0 * (number % 3), seed=number))
        return scene(walkers, now, noise=0.0)


class Heard:
    """The program's JSON lines: how many there are of what, and who is present."""

    def __init__(self, stream: Any) -> None:
        self.kinds: Counter[str] = Counter()
        self.people: set[tuple[str, int]] = set()
        self.open: set[str] = set()
        self.reasons: Counter[str] = Counter()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream: Any) -> None:
        for line in stream:
            message = json.loads(line)
            self.kinds[message["type"]] += 1
            track = message.get("track")
            if track is not None:
                self.people.add((message["camera"], track["id"]))
            if message["type"] == "event" and track is not None:
                event = message["event"]
                if event["phase"] == "end":
                    self.open.discard(event["id"])
                    self.reasons[str(event.get("reason"))] += 1
                else:
                    self.open.add(event["id"])


def people(address: str) -> dict[str, float]:
    status, text = get(address, "/metrics")
    assert status == 200
    return {name: float(n) for name, n in re.findall(r'streamer_people\{camera="(\w+)"\} ([\d.]+)', text)}


def until(condition: Callable[[], bool], seconds: float) -> float:
    began, pause = time.monotonic(), threading.Event()
    while not condition():
        assert time.monotonic() - began < seconds, "did not happen in time"
        pause.wait(0.1)
    return time.monotonic() - began


def test_people_come_and_go(tmp_path: Path) -> None:
    streets = [Street(1.0 * number) for number in range(CAMERAS)]
    samples: list[tuple[float, float, float]] = []
    pause = threading.Event()
    with ExitStack() as stack:
        servers = [stack.enter_context(FakeCamera(street, fps=FPS)) for street in streets]
        config = tmp_path / "soak.yaml"
        lines = ["cameras:", *(f"  - {{name: cam{n}, source: '{one.url}'}}" for n, one in enumerate(servers))]
        lines += [f"follow: {{detector: moving, lost_after: {LOST_AFTER}}}", "ui: json", "preview: {fps: 2}"]
        lines += ["privacy: {blur: [people]}", "metrics: {listen: '127.0.0.1:0'}"]
        lines += ["bus: {bind: 'tcp://127.0.0.1:0'}"]
        lines += [f"journal: {{path: '{tmp_path / 'events.db'}'}}"]
        config.write_text("\n".join(lines))
        talk = tmp_path / "stderr.txt"
        child = subprocess.Popen(
            [sys.executable, "-m", "streamer", "run", "--config", str(config)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=stack.enter_context(talk.open("w")), text=True,
        )  # fmt: skip
        stack.callback(child.wait)
        stack.callback(child.kill)
        heard, process = Heard(child.stdout), psutil.Process(child.pid)
        until(lambda: "/metrics" in talk.read_text(), 120.0)
        address = re.findall(r"127\.0\.0\.1:\d+", talk.read_text().split("/metrics")[0])[-1]
        until(lambda: len(heard.people) >= CAMERAS, 120.0)
        began = time.monotonic()
        print(
            "\n| minute | memory MB | threads | people now | so far | messages |\n|---|---|---|---|---|---|"
        )
        while (now := time.monotonic() - began) < MINUTES * 60:
            pause.wait(EVERY)
            there = people(address)
            assert set(there) == {f"cam{n}" for n in range(CAMERAS)}
            samples.append((now, process.memory_info().rss / 1e6, process.num_threads()))
            if len(samples) % 6 == 1:
                _, memory, threads = samples[-1]
                told = f"{sum(there.values()):.0f} | {len(heard.people)} | {heard.kinds.total()}"
                print(f"| {now / 60:.1f} | {memory:.1f} | {threads:.0f} | {told} |", flush=True)
        for street in streets:
            street.close()
        walk = (WIDTH + 40) / SPEED
        freed = until(lambda: not any(people(address).values()), walk + LOST_AFTER + SPAN + BUSY)
        until(lambda: not heard.open, SPAN + BUSY)
        print(f"freed {max(0.0, freed - walk):.1f} s after the last one had left; ends: {heard.reasons}")
        child.send_signal(signal.SIGTERM)
        assert child.wait(10) == 0
    settled = MINUTES * 60 / 5
    late = [sample for sample in samples if sample[0] >= settled]
    tail = max(1, len(late) // 5)
    growth = median(rss for _, rss, _ in late[-tail:]) - median(rss for _, rss, _ in late[:tail])
    print(f"memory growth after {settled / 60:.1f} minutes: {growth:.1f} MB; {len(heard.people)} people")
    assert growth < GROWTH
    assert max(threads for *_, threads in late) - min(threads for *_, threads in late) <= 2
    assert len(heard.people) > 0.5 * CAMERAS * MINUTES * 60 / APART
