"""Workers killed and frozen, a front killed: how soon the cameras are back, and what the others notice.

With -m soak -s the figures of docs/cluster.md are printed.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import pytest

from streamer.bus import EventMessage, HeartbeatMessage, Subscriber
from tests.helpers.bus_parts import until
from tests.helpers.cluster_parts import Cluster, known_events, open_events
from tests.helpers.prediction_listener import Listener

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX"),
    pytest.mark.realtime(about=13),
]

WORKERS = ("w1", "w2", "w3")


def fault(cluster: Cluster, listener: Listener, happens: Callable[[str], None]) -> dict[str, float]:
    """A worker goes: seconds until its cameras are back, and the longest silence of the others."""
    owners = cluster.owners()
    victim = max(WORKERS, key=lambda name: list(owners.values()).count(name))
    gone = [camera for camera, owner in owners.items() if owner == victim]
    others = [camera for camera, owner in owners.items() if owner != victim]
    assert gone
    assert others
    since = time.monotonic()
    happens(victim)
    until(lambda: all(listener.back(camera, since, victim) is not None for camera in gone), "they are back")
    back = max(listener.back(camera, since, victim) or 0.0 for camera in gone)
    return {"back": back, "others": max(listener.silence(camera, since) for camera in others)}


@pytest.fixture
def cluster(tmp_path: Path) -> Any:
    made = Cluster(tmp_path, 6, rate=12.0, predictions=60.0)
    for name in WORKERS:
        made.worker(name)
    made.front()
    made.wait_until_all_are_watched()
    yield made
    made.close()


@pytest.mark.timeout(300)
def test_cameras_come_back_on_another_worker(cluster: Cluster) -> None:
    cluster.reader("reader")
    listener = Listener(cluster.endpoint)
    told: dict[str, Any] = {}
    try:
        until(lambda: len(listener.at) == 6)
        told["worker killed"] = fault(cluster, listener, cluster.kill)
        killed = next(name for name in WORKERS if name not in cluster.running)
        again = time.time()
        cluster.worker(killed)
        until(lambda: cluster.ask("workers")["workers"][killed]["state"] == "idle")
        frozen: list[str] = []

        def freeze(name: str) -> None:
            frozen.append(name)
            cluster.freeze(name)

        told["worker frozen"] = fault(cluster, listener, freeze)
        cluster.freeze(frozen[0], False)
        until(lambda: cluster.ask("workers")["workers"][frozen[0]]["state"] != "lost", "it is back")
        since = time.monotonic()
        cluster.kill("front")
        threading.Event().wait(1.0)
        cluster.front()
        until(lambda: all(times[-1][0] > since + 1.0 for times in listener.at.values()), "all tell on")
        told["front killed, back after 1 s"] = {"dark": max(listener.silence(c, since) for c in listener.at)}
        lines = cluster.lines("reader")
        late = {line["id"] for line in lines if (line["worker"], line["phase"]) == (killed, "start")}
        late -= {line["id"] for line in lines if line["at"] < again}  # what only the killed one's disk knew
        stopped = {line["id"] for line in lines if line.get("reason") == "program stopped"}
        assert stopped <= late, "what the front knew of ended when the worker was lost"
        reasons = {line.get("reason") for line in lines if line["id"] not in stopped} - {None}
        assert reasons <= {"worker lost", "lease lost"}, "no camera was let go because its front was away"
        starts = [line["id"] for line in lines if line["phase"] == "start"]
        assert len(starts) == len(set(starts)), "what was seen by the frozen one was not told twice"
    finally:
        listener.close()
        print({key: {k: round(v, 2) for k, v in value.items()} for key, value in told.items()})
    assert told["worker killed"]["back"] < 25.0
    assert told["worker frozen"]["back"] < 40.0
    assert max(told[key]["others"] for key in ("worker killed", "worker frozen")) < 2.5


@pytest.mark.timeout(300)
def test_what_only_a_killed_workers_disk_knew_is_told_when_it_is_back(cluster: Cluster) -> None:
    cluster.reader("reader")
    until(lambda: cluster.lines("reader"), "events flow")
    victim = next(iter(cluster.owners().values()))
    cluster.kill("front")
    known, disk = known_events(cluster.history), cluster.folder / f"{victim}.db"

    def stands_still_with_one() -> bool:
        cluster.freeze(victim)
        found = bool(open_events(disk) - known)
        cluster.freeze(victim, found)
        return found

    until(stands_still_with_one, "an event has begun of which the front knows nothing")
    unheard = open_events(disk) - known
    cluster.kill(victim)
    cluster.front()
    cluster.worker(victim)

    def ends() -> dict[str, str | None]:
        return {line["id"]: line["reason"] for line in cluster.lines("reader") if line["phase"] == "end"}

    until(lambda: unheard <= ends().keys(), "its start and its end are told")
    assert {ends()[name] for name in unheard} == {"program stopped"}
    told = [line for line in cluster.lines("reader") if line["id"] in unheard]
    assert {line["worker"] for line in told} == {victim}
    assert len({(line["id"], line["phase"]) for line in told}) == len(told), "once"


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_two_thousand_events_a_second(tmp_path: Path) -> None:
    cluster, late = Cluster(tmp_path, 40, rate=500.0), []
    try:
        for name in ("w1", "w2", "w3", "w4"):  # before the front: all have joined when cameras are given
            cluster.worker(name)
        cluster.front()
        cluster.wait_until_all_are_watched()
        process = psutil.Process(cluster.running["front"].pid)
        with Subscriber(cluster.endpoint, topics=["event/"], high_water_mark=20_000) as subscriber:
            subscriber.receive(5.0)
            before, began, count = process.cpu_times(), time.monotonic(), 0
            while time.monotonic() - began < 30:
                message = subscriber.receive(1.0)
                if isinstance(message, EventMessage):
                    count += 1
                    if message.phase == "start":
                        late.append(time.time() - message.started_at)
            spent, after = time.monotonic() - began, process.cpu_times()
        used = (after.user + after.system - before.user - before.system) / spent
        late.sort()
        middle, worst = late[len(late) // 2], late[int(len(late) * 0.99)]
        print(f"{count / spent:.0f} events/s, {used:.2f} of a core, median {middle * 1000:.1f} ms,"
              f" 99 % {worst * 1000:.0f} ms, {late[-1] * 1000:.0f} ms at most,"
              f" rss {process.memory_info().rss / 1e6:.0f} MB")  # fmt: skip
    finally:
        cluster.close()
    assert count


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_a_thousand_cameras(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, 1000, rate=20.0, predictions=100.0)
    try:
        for n in range(10):
            cluster.worker(f"w{n}")
        cluster.front()
        cluster.wait_until_all_are_watched()
        process = psutil.Process(cluster.running["front"].pid)
        memory, snapshots, cpu, began = [], [], process.cpu_times(), time.monotonic()
        with Subscriber(cluster.endpoint, topics=["heartbeat/"]) as subscriber:
            beat = subscriber.receive(5.0)
            assert isinstance(beat, HeartbeatMessage)
            assert len(beat.cameras) == 1000
            for _ in range(120):
                at = time.monotonic()
                assert len(subscriber.snapshot(10.0).cameras) == 1000
                snapshots.append(time.monotonic() - at)
                memory.append(process.memory_info().rss / 1e6)
                threading.Event().wait(5.0)
        spent, after = time.monotonic() - began, process.cpu_times()
        used = (after.user + after.system - cpu.user - cpu.system) / spent
        early, late = median(memory[12:36]), median(memory[-24:])
        print(f"snapshot {median(snapshots):.2f} s at the median, {max(snapshots):.2f} s at most,"
              f" {used:.2f} of a core, memory {early:.0f} MB in the second and third minute,"
              f" {late:.0f} MB in the last two, {max(memory):.0f} MB at most")  # fmt: skip
    finally:
        cluster.close()
    assert max(snapshots) < 5.0
    assert late - early < 10.0
