"""A cluster of real processes: a front, scripted workers, subscribers; killed and started again."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from streamer.bus.request_client import RequestClient
from streamer.errors import BusError, RequestError
from tests.helpers import warm_processes
from tests.helpers.bus_parts import free_pair, until

FRONT = """
import sys, threading
from pathlib import Path
from streamer.cluster.front import Front
from streamer.config import load_config
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
file = Path(sys.argv[1])
with Front(load_config(file), config_file=file, reload=lambda: load_config(file)) as front:
    print("ready", flush=True)
    front.run(stop)
"""

SUBSCRIBER = """
import json, sys, time
from streamer.bus import EventMessage, Subscriber
endpoint, path = sys.argv[1], sys.argv[2]
with open(path, "a+") as book:
    book.seek(0)
    text = book.read()
    whole = text[: text.rfind("\\n") + 1]
    book.truncate(len(whole.encode()))  # a line cut by the kill was not dealt with
    since = json.loads(whole.splitlines()[-1])["position"] if whole else 0.0
    with Subscriber(endpoint, topics=["event/"], since=since) as subscriber:
        for message in subscriber:
            line = {"type": message.type, "position": subscriber.position, "at": time.time()}
            if isinstance(message, EventMessage):
                line |= {"seq": message.seq, "id": message.id, "phase": message.phase}
                line |= {"reason": message.reason, "worker": message.raw.get("worker")}
                line |= {"camera": message.camera, "sent_at": message.sent_at}
            book.write(json.dumps(line) + "\\n")
            book.flush()
"""


def known_events(history: Path) -> set[str]:
    """Ids of all events in a history, which may be in use."""
    return _column(history, "SELECT event_id FROM events")


def open_events(history: Path) -> set[str]:
    """Ids of those that have not ended."""
    return _column(history, "SELECT event_id FROM open_events")


def _column(history: Path, query: str) -> set[str]:
    with closing(sqlite3.connect(f"file:{history}?mode=ro", uri=True)) as db:
        return {str(value) for (value,) in db.execute(query)}


class Cluster:
    """Processes of one cluster, in a folder. `close` ends them."""

    def __init__(self, folder: Path, cameras: int, *, rate: float = 60.0, predictions: float = 0.0) -> None:
        self.folder, self.rate, self.predictions = folder, rate, predictions
        self.history = folder / "front.db"
        port = free_pair()
        self.endpoint, self.requests = f"tcp://127.0.0.1:{port}", f"tcp://127.0.0.1:{port + 1}"
        self.file = folder / "cameras.yaml"
        self.configure([f"cam{n}" for n in range(cameras)])
        self.running: dict[str, subprocess.Popen[str]] = {}

    def configure(self, names: list[str]) -> None:
        rows = "".join(f"  - {{name: {name}, source: demo}}\n" for name in names)
        self.file.write_text(
            f"cameras:\n{rows}bus: {{bind: '{self.endpoint}'}}\njournal: {{path: '{self.history}'}}\n"
        )

    # ---- processes

    def front(self) -> None:
        self._start("front", ["-c", FRONT, str(self.file)], ready=True)

    def worker(self, name: str) -> None:
        state = self.folder / f"{name}.db"
        words = [self.requests, name, str(state), str(self.rate), str(self.predictions)]
        self._start(name, ["-m", "tests.helpers.scripted_worker", *words], ready=False)

    def reader(self, name: str) -> None:
        self._start(name, ["-c", SUBSCRIBER, self.endpoint, str(self.book(name))], ready=False)

    def _start(self, name: str, words: list[str], *, ready: bool) -> None:
        with (self.folder / f"{name}.log").open("a") as log:
            child = warm_processes.start(
                [sys.executable, *words], stdin=subprocess.PIPE, stderr=log, text=True,
                stdout=subprocess.PIPE if ready else log,
            )  # fmt: skip
        if ready:
            assert child.stdout is not None
            line = child.stdout.readline()
            assert line == "ready\n", (line, (self.folder / f"{name}.log").read_text())
        self.running[name] = child

    def kill(self, name: str) -> None:
        """kill -9."""
        child = self.running.pop(name)
        child.send_signal(signal.SIGKILL)
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()

    def freeze(self, name: str, frozen: bool = True) -> None:
        os.kill(self.running[name].pid, signal.SIGSTOP if frozen else signal.SIGCONT)

    def close(self) -> None:
        for name in list(self.running):
            self.kill(name)

    # ---- looks

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """An answer of the front, {} where none comes."""
        with RequestClient(self.requests) as client:
            try:
                return client.ask(op, 2.0, **fields)
            except (BusError, RequestError):
                return {}

    def owners(self) -> dict[str, str]:
        """Camera -> worker."""
        found: dict[str, str] = self.ask("workers").get("cameras", {})
        return found

    def wait_until_all_are_watched(self, by: set[str] | None = None) -> None:
        """Every camera has a worker, of those named."""
        names = [
            line.split("name: ")[1].split(",")[0]
            for line in self.file.read_text().splitlines()
            if "- {" in line
        ]

        def watched() -> bool:
            owners = self.owners()
            return set(owners) == set(names) and (by is None or set(owners.values()) <= by)

        until(watched, f"all cameras are watched; {self.ask('workers')}")

    def book(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"

    def lines(self, name: str) -> list[dict[str, Any]]:
        """What a subscriber has written down, a line cut by a kill left out."""
        text = self.book(name).read_text() if self.book(name).exists() else ""
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
