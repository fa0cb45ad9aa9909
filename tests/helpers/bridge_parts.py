"""Parts that the tests of the bridges share: a bridge on a thread, a publisher as a process, the history."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from streamer.bus import Publisher, wire
from streamer.subscribers.bridge import Bridge
from streamer.types import Phase
from tests.helpers.bus_parts import event, until

ROOT = Path(__file__).resolve().parents[2]
FORWARD = (Phase.START, Phase.UPDATE, Phase.END)

PUBLISHER = """
import sys, threading, time
from streamer.bus import Publisher
from streamer.config import BusConfig, JournalConfig
from streamer.types import CameraState, CameraStatus, Event, Moment, Phase
endpoint, path, pause = sys.argv[1], sys.argv[2], float(sys.argv[3])
stop, run = threading.Event(), str(time.time())
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
settings = BusConfig(bind=endpoint), JournalConfig(path=path)
with Publisher(*settings, on_problem=lambda line: print(line, flush=True)) as bus:
    print("ready", flush=True)
    bus.status(CameraStatus("cam0", CameraState.RUNNING, time.time()))
    n = 0
    while not stop.wait(pause or 0.1):
        for phase in (Phase.START, Phase.UPDATE, Phase.END) if pause else ():
            at = Moment(0, time.time())
            end = at if phase is Phase.END else None
            bus.event(Event(f"{run}/{n}", "cam0", "m", "waving", phase, 0.5, 0.5, at, at, end))
        n += 1
"""


def start_publisher(endpoint: str, history: Path, pause: float) -> subprocess.Popen[str]:
    """A publisher in a process of its own; three event phases every `pause` seconds (0: none)."""
    words = [sys.executable, "-c", PUBLISHER, endpoint, str(history), str(pause)]
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert (line := child.stdout.readline()) == "ready\n", line
    return child


def start_command(words: Sequence[str], log: Path, **environment: str) -> subprocess.Popen[bytes]:
    """`streamer WORDS` in a process of its own, its stderr appended to `log`."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "streamer", *words], stdout=file, stderr=file, cwd=ROOT,
            env=os.environ | environment,
        )  # fmt: skip


def kill(child: subprocess.Popen[Any]) -> None:
    """As `kill -9` does it."""
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()


def history_of(path: Path) -> list[dict[str, Any]]:
    """All messages of a history file, oldest first."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT CAST(message AS BLOB) FROM events ORDER BY seq").fetchall()
    return [wire.decode(bytes(data)) for (data,) in rows]


def publish_events(bus: Publisher, names: Sequence[str], **more: Any) -> None:
    """Start, update and end of each."""
    for name in names:
        for phase in FORWARD:
            bus.event(event(name, phase, **more))


class Running:
    """A bridge on a thread; `lines` is what it said, `error` what it raised."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge, self.code, self.error = bridge, -1, None
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        try:
            self.code = self.bridge.run()
        except Exception as error:  # noqa: BLE001 - looked at by the test
            self.error: Exception | None = error

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def end(self) -> None:
        until(lambda: not self.alive, "the bridge ends by itself")

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.bridge.stop()
        self._thread.join(10)
        assert not self.alive, "the bridge does not stop"
