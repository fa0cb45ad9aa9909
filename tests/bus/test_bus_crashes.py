"""kill -9 of publishers and subscribers at random moments: after replay nothing is lost and nothing doubled.

Real processes, real sockets, a real file. The subscriber writes each event down with its position, one line
each; a restarted one goes on from its last whole line. In the end what was written down is compared with the
history.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streamer.bus import wire
from streamer.bus.journal import Journal
from streamer.config import JournalConfig
from tests.helpers.bus_parts import free_pair, until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")

PUBLISHER = """
import sys, threading, time
from streamer.bus import Publisher
from streamer.config import BusConfig, JournalConfig
from streamer.types import CameraState, CameraStatus, Event, Moment, Phase
endpoint, path, load = sys.argv[1], sys.argv[2], sys.argv[3] == "load"
stop, run = threading.Event(), str(time.time())
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
settings = BusConfig(bind=endpoint), JournalConfig(path=path)
with Publisher(*settings, on_problem=lambda line: print(line, flush=True)) as bus:
    print("ready", flush=True)
    bus.status(CameraStatus("cam0", CameraState.RUNNING, time.time()))
    n = 0
    while not stop.wait(0.002):
        for phase in (Phase.START, Phase.UPDATE, Phase.END) if load else ():
            at = Moment(0, time.time())
            end = at if phase is Phase.END else None
            bus.event(Event(f"{run}/{n}", "cam0", "m", "waving", phase, 0.5, 0.5, at, at, end))
        n += 1
"""

SUBSCRIBER = """
import json, sys
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
            line = {"type": message.type, "position": subscriber.position}
            if isinstance(message, EventMessage):
                line |= {"seq": message.seq, "id": message.id, "phase": message.phase}
            book.write(json.dumps(line) + "\\n")
            book.flush()
"""


class Matrix:
    def __init__(self, folder: Path) -> None:
        self.folder, self.history = folder, folder / "events.db"
        self.endpoint = f"tcp://127.0.0.1:{free_pair()}"
        self.books = {name: folder / f"{name}.jsonl" for name in ("steady", "killed")}
        self.readers = {name: self.read(name) for name in self.books}
        self.writer = self.write("load")

    def write(self, load: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", PUBLISHER, self.endpoint, str(self.history), load]
        child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        line = child.stdout.readline()
        assert line == "ready\n", line
        return child

    def read(self, name: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", SUBSCRIBER, self.endpoint, str(self.books[name])]
        return subprocess.Popen(words, text=True)

    def lines(self, name: str) -> list[dict[str, object]]:
        book = self.books[name]
        text = book.read_text() if book.exists() else ""
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def wait_for_more(self, name: str) -> None:
        """Until this reader has caught up with something new: a kill before that would test nothing."""
        size = self.books[name].stat().st_size if self.books[name].exists() else 0
        until(
            lambda: self.books[name].exists() and self.books[name].stat().st_size > size, f"{name} reads on"
        )

    def kill_writer(self) -> None:
        _kill(self.writer)
        self.writer = self.write("load")

    def kill_reader(self) -> None:
        _kill(self.readers["killed"])
        self.readers["killed"] = self.read("killed")

    def finish(self) -> list[dict[str, object]]:
        """Let everybody catch up; returns the history."""
        _kill(self.writer)
        self.writer = self.write("quiet")
        # the books before the history: read after it, one of them might have got more meanwhile
        until(lambda: {self._last(name) for name in self.books} == {self._newest()}, "all caught up")
        self.close()
        journal, rows = Journal(JournalConfig(path=str(self.history)), "check"), []
        while page := journal.after(rows[-1]["seq"] if rows else 0, limit=5000).rows:
            rows += [wire.decode(row.message) for row in page]
        journal.close()
        return rows

    def _last(self, name: str) -> object:
        found = self.lines(name)
        return found[-1]["seq"] if found else None

    def _newest(self) -> object:
        import sqlite3

        db = sqlite3.connect(f"file:{self.history}?mode=ro", uri=True)
        (newest,) = db.execute("SELECT max(seq) FROM events").fetchone()
        db.close()
        return newest

    def close(self) -> None:
        for child in (self.writer, *self.readers.values()):
            if child.poll() is None:
                _kill(child)


def _kill(child: subprocess.Popen[str]) -> None:
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()


def run_matrix(folder: Path, kills: int) -> dict[str, int]:
    """`kills` of the publisher and as many of a subscriber, each after 5 to 150 ms of flowing events."""
    import threading

    matrix, pause = Matrix(folder), threading.Event()
    try:
        for _ in range(kills):
            for kill, reader in ((matrix.kill_writer, "steady"), (matrix.kill_reader, "killed")):
                matrix.wait_for_more(reader)
                pause.wait(random.uniform(0.005, 0.15))
                kill()
        history = matrix.finish()
    finally:
        matrix.close()
    truth = [(row["seq"], row["event"]["id"], row["event"]["phase"]) for row in history]  # type: ignore[index]
    assert [seq for seq, _, _ in truth] == list(range(1, len(truth) + 1)), "the history itself has no holes"
    found = {}
    for name in matrix.books:
        lines = matrix.lines(name)
        assert {line["type"] for line in lines} == {"event"}, "no gap was told"
        told = [(line["seq"], line["id"], line["phase"]) for line in lines]
        found[name] = {"lost": len(set(truth) - set(told)), "doubled": len(told) - len(set(told))}
        assert told == truth, f"{name}: {found[name]}"
    opened = {row["event"]["id"] for row in history}  # type: ignore[index]
    ended = {row["event"]["id"] for row in history if row["event"]["phase"] == "end"}  # type: ignore[index]
    assert opened == ended, "an event that a crash left open was closed by the next run"
    return {"events": len(truth), "kills": 2 * kills}


@pytest.mark.realtime
def test_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    told = run_matrix(tmp_path, 4)
    assert told["events"] > 100


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_fifty_kills_of_each(tmp_path: Path) -> None:
    print(run_matrix(tmp_path, 50))
