"""kill -9 of workers, fronts and subscribers: every event that the front committed reaches a subscriber once
and only once, and whatever happened, every event that began has its end.
"""

from __future__ import annotations

import os
import random
import sqlite3
import sys
import threading
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from streamer.bus import wire
from streamer.bus.journal import Journal
from streamer.config import JournalConfig
from tests.helpers.bus_parts import until
from tests.helpers.cluster_parts import Cluster, open_events

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")

WORKERS = ("w1", "w2", "w3")


def history(file: Path) -> list[dict[str, Any]]:
    journal, rows = Journal(JournalConfig(path=str(file)), "check"), []
    while page := journal.after(rows[-1]["seq"] if rows else 0, limit=5000).rows:
        rows += [wire.decode(row.message) for row in page]
    journal.close()
    return rows


def last_number(file: Path) -> int:
    db = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    (last,) = db.execute("SELECT max(seq) FROM events").fetchone()
    db.close()
    return int(last or 0)


def has_read(cluster: Cluster, name: str, last: int) -> bool:
    return [line["seq"] for line in cluster.lines(name)[-1:]] == [last]


def goes_on(file: Path, before: int) -> bool:
    return last_number(file) > before


def check_history(rows: list[dict[str, Any]], workers: dict[str, list[dict[str, Any]]]) -> None:
    """Of the front's history: no holes, each phase once, in order, and told by one worker alone."""
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    told: defaultdict[str, list[str]] = defaultdict(list)
    by: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        told[row["event"]["id"]].append(row["event"]["phase"])
        by[row["event"]["id"]].add(row["worker"])
    for name, phases in told.items():
        assert phases[0] == "start", (name, phases)
        assert phases[-1] == "end", (name, phases)
        assert phases.count("start") == phases.count("end") == 1, (name, phases)
        assert len(by[name]) == 1, (name, by[name])
    began = {row["event"]["id"] for row in rows if row["event"]["phase"] == "start"}
    for name, own in workers.items():  # what is on a worker's disk is in the front's history
        missing = [row for row in own if row["event"]["phase"] == "start" and row["event"]["id"] not in began]
        assert not missing, (name, missing[:3])
    origins = [tuple(row["origin"].values()) for row in rows if "origin" in row]
    assert len(origins) == len(set(origins)), "no place of a worker's history was taken twice"


def run_matrix(folder: Path, kills: int) -> dict[str, Any]:
    cluster, pause = Cluster(folder, 6), threading.Event()
    chances = random.Random(os.environ.get("SEED"))
    counts: defaultdict[str, int] = defaultdict(int)
    try:
        cluster.front()
        for name in WORKERS:
            cluster.worker(name)
        for name in ("steady", "killed"):
            cluster.reader(name)
        cluster.wait_until_all_are_watched()
        for _ in range(kills):
            before = last_number(cluster.history)
            until(partial(goes_on, cluster.history, before), "events flow")
            pause.wait(chances.uniform(0.01, 0.5))
            victim = chances.choice([*WORKERS, "front", "killed"])
            counts[victim] += 1
            cluster.kill(victim)
            pause.wait(chances.choice([0.0, 0.1, 1.0]))
            if victim == "front":
                cluster.front()
            elif victim == "killed":
                cluster.reader("killed")
            else:
                cluster.worker(victim)
        cluster.wait_until_all_are_watched()
        for name in WORKERS:  # their last words are told by the next run of each
            cluster.kill(name)
        cluster.rate = 0.0
        for name in WORKERS:
            cluster.worker(name)
        until(lambda: not open_events(cluster.history), "everything that began has ended")
        cluster.wait_until_all_are_watched()
        last = last_number(cluster.history)
        for name in ("steady", "killed"):
            until(
                lambda name=name: [x["seq"] for x in cluster.lines(name)][-1:] == [last],
                f"{name} is up to date",
            )  # type: ignore[misc]
    finally:
        cluster.close()
    rows = history(cluster.history)
    check_history(rows, {name: history(folder / f"{name}.db") for name in WORKERS})
    truth = [(row["seq"], row["event"]["id"], row["event"]["phase"]) for row in rows]
    for name in ("steady", "killed"):
        lines = cluster.lines(name)
        assert {line["type"] for line in lines} == {"event"}, "no gap was told"
        assert [(x["seq"], x["id"], x["phase"]) for x in lines] == truth, name
    lost = sum(row["event"].get("reason") == "worker lost" for row in rows)
    return {"kills": kills, "event messages": len(rows), "worker lost": lost, **counts}


@pytest.mark.realtime(about=15)
@pytest.mark.timeout(300)
def test_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    told = run_matrix(tmp_path, 8)
    assert told["event messages"] > 50


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_hundred_kills(tmp_path: Path) -> None:
    began = time.monotonic()
    print(run_matrix(tmp_path, int(os.environ.get("KILLS", "200"))), f"{time.monotonic() - began:.0f} s")
