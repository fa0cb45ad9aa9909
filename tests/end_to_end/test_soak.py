"""Hours in minutes: the program itself, four cameras, a fault every twenty seconds, nothing may grow.

    SOAK_MINUTES=30 python run.py test -m soak tests/end_to_end/test_soak.py -s

prints a Markdown table of the process as it went. `SOAK_FAULTS=0` leaves the faults out (memory alone);
`SOAK_MODEL=demo-streaming` takes another model than the demo's.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import pytest

from tests.helpers.media import moving, write_clip
from tests.helpers.servers.mini_rtsp import MiniRtsp

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]

MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
FAULTS = os.environ.get("SOAK_FAULTS", "1") != "0"
MODEL = os.environ.get("SOAK_MODEL", "demo")
EVERY, LASTS = 20.0, 5.0  # seconds between faults, and of one
SETTLED = 5.0 * 60  # seconds after which nothing may grow (a fifth of short runs)
GROWTH = 5.0  # MB
RECOVERY = 40.0  # seconds a camera may need once the fault is over: 3 s, the longest back-off, a busy machine
ROOT = Path(__file__).parents[2]


class Watcher:
    """Reads the program's JSON lines: how many messages of what, and when each camera last spoke."""

    def __init__(self, stream: Any) -> None:
        self.kinds: Counter[str] = Counter()
        self.predictions: Counter[str] = Counter()
        self.last: dict[str, float] = {}
        self.states: dict[str, str] = {}
        self.gaps: Counter[str] = Counter()
        self._seq: dict[str, int] = {}
        self._came = threading.Condition()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream: Any) -> None:
        for line in stream:
            message = json.loads(line)
            kind = message["type"]
            with self._came:
                self.kinds[kind] += 1
                self.gaps[kind] += message["seq"] != self._seq.get(kind, message["seq"] - 1) + 1
                self._seq[kind] = message["seq"]
                if kind == "prediction":
                    self.predictions[message["camera"]] += 1
                    self.last[message["camera"]] = time.monotonic()
                if kind == "status":
                    self.states[message["camera"]] = message["state"]
                self._came.notify_all()

    def until_prediction(self, camera: str, deadline: float) -> float:
        """Seconds until this camera's next prediction; fails after `deadline`."""
        began = time.monotonic()
        with self._came:
            came = self._came.wait_for(lambda: self.last.get(camera, 0.0) > began, deadline)
        assert came, f"{camera} gave no prediction within {deadline:g} s ({self.states})"
        return time.monotonic() - began


@contextmanager
def program(folder: Path, servers: dict[str, MiniRtsp]) -> Iterator[tuple[psutil.Process, Watcher]]:
    config = folder / "soak.yaml"
    lines = ["cameras:"]
    lines += [f"  - {{name: {name}, source: '{server.url}'}}" for name, server in servers.items()]
    lines += [f"model: {{id: '{MODEL}'}}"]
    lines += ["bus: {bind: 'tcp://127.0.0.1:0'}", f"journal: {{path: '{folder / 'events.db'}'}}", "ui: json"]
    config.write_text("\n".join(lines))
    words = [sys.executable, "-m", "streamer", "run", "--config", str(config)]
    with (folder / "stderr.txt").open("w") as talk:
        child = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=talk, text=True)
        try:
            yield psutil.Process(child.pid), Watcher(child.stdout)
            child.send_signal(signal.SIGTERM)
            assert child.wait(10) == 0
        finally:
            child.kill()
            child.wait()


def kill(server: MiniRtsp, wait: Callable[[], None]) -> None:
    server.stop()
    wait()
    server.start()


def hang_up(server: MiniRtsp, wait: Callable[[], None]) -> None:
    server.drop()
    wait()


def stall(server: MiniRtsp, wait: Callable[[], None]) -> None:
    server.stall = True
    wait()
    server.stall = False


def mute(server: MiniRtsp, wait: Callable[[], None]) -> None:
    server.mute = True
    server.drop()
    wait()
    server.mute = False


def lose(server: MiniRtsp, wait: Callable[[], None]) -> None:
    server.loss = 0.1
    wait()
    server.loss = 0.0


def rarely(server: MiniRtsp, wait: Callable[[], None]) -> None:
    usual, server.fps = server.fps, 5.0
    wait()
    server.fps = usual


def resize(server: MiniRtsp, wait: Callable[[], None]) -> None:
    """The camera comes back with another picture size, and later with its own."""
    usual = server.clip
    server.load(server.clip.with_name("other_size.h264"))
    server.drop()
    wait()
    server.load(usual)
    server.drop()


def measure(process: psutil.Process) -> dict[str, float]:
    return {
        "rss": process.memory_info().rss / 1e6,
        "fds": process.num_fds(),
        "threads": process.num_threads(),
    }


def test_nothing_grows_whatever_the_cameras_do(tmp_path: Path) -> None:
    clips = [
        write_clip(tmp_path / f"{fps}.h264", moving(150), fps=fps, container="h264", gop=fps)
        for fps in (15, 25)
    ]
    other = moving(150, width=200, height=120)
    write_clip(tmp_path / "other_size.h264", other, fps=15, container="h264", gop=15)
    chance, pause = random.Random(1), threading.Event()
    settled = min(SETTLED, MINUTES * 60 / 5)
    samples: list[tuple[float, dict[str, float]]] = []
    recovered: dict[str, list[float]] = {}
    elsewhere = 0.0
    with ExitStack() as stack:
        servers = {
            f"cam{i}": stack.enter_context(MiniRtsp(clips[i % 2], fps=(15.0, 25.0)[i % 2])) for i in range(4)
        }
        process, watcher = stack.enter_context(program(tmp_path, servers))
        for name in servers:
            watcher.until_prediction(name, 60.0)
        began = time.monotonic()
        print(
            "\n| minute | memory MB | files | threads | predictions | last fault |\n|---|---|---|---|---|---|"
        )
        while (now := time.monotonic() - began) < MINUTES * 60:
            pause.wait(EVERY - LASTS)
            for name in servers:
                watcher.until_prediction(name, RECOVERY)
            samples.append((now, measure(process)))
            said = ""
            if FAULTS:
                name = f"cam{len(samples) % len(servers)}"  # in turn: each has time to be healthy again
                fault = chance.choice([kill, hang_up, stall, mute, lose, rarely, resize])
                fault(servers[name], lambda: pause.wait(LASTS) and None)
                recovered.setdefault(fault.__name__, []).append(watcher.until_prediction(name, RECOVERY))
                others = [other for other in servers if other != name]
                elsewhere = max(elsewhere, *(time.monotonic() - watcher.last[other] for other in others))
                said = f"{fault.__name__} {name}"
            if len(samples) % 6 == 1:
                last = samples[-1][1]
                total = sum(watcher.predictions.values())
                print(
                    f"| {now / 60:.1f} | {last['rss']:.1f} | {last['fds']:.0f} | {last['threads']:.0f} "
                    f"| {total} | {said} |",
                    flush=True,
                )
        late = [sample for at, sample in samples if at >= settled]
        for fault, seconds in recovered.items():
            print(f"{fault}: recovered after {median(seconds):.1f} s (median), {max(seconds):.1f} s (most)")
        print(f"longest silence of a healthy camera when a fault ended: {elsewhere:.2f} s")
    tail = max(1, len(late) // 5)
    growth = median(s["rss"] for s in late[-tail:]) - median(s["rss"] for s in late[:tail])
    print(f"memory growth after the first {settled / 60:.0f} minutes: {growth:.1f} MB")
    print(f"messages: {dict(watcher.kinds)}")
    assert growth < GROWTH
    for what in ("fds", "threads"):
        counts = [s[what] for s in late]
        assert max(counts) - min(counts) <= 2, f"{what}: {sorted(set(counts))}"
        assert median(counts[-tail:]) <= median(counts[:tail]), f"{what} grow: {counts}"
    assert not any(watcher.gaps.values()), f"messages lost: {watcher.gaps}"
