"""Machines that are network namespaces: a link goes down, and comes back. For root on Linux; with keys."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamer.bus import PredictionMessage, Subscriber
from streamer.bus.key_store import allow, new_pair
from tests.helpers.bus_parts import until
from tests.helpers.cluster_parts import FRONT

pytestmark = [pytest.mark.soak, pytest.mark.skipif(sys.platform != "linux", reason="network namespaces")]

TOPICS = ["event/", "heartbeat/"]
BRIDGE, FRONT_AT = "streamer-br", "10.98.7.1"
WORKER = """
import sys, threading
import numpy as np
from streamer.cluster.worker import run_worker
from streamer.cluster.worker_settings import WorkerSettings
from streamer.testing import FakeRecognizer
join, name, state, keys = sys.argv[1:]
model = lambda *_: FakeRecognizer(lambda window: [0.1, 0.9], interval=0.05)
run_worker(WorkerSettings(join, name, 8, keys, state=state), threading.Event(), load=model)
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def machines() -> Iterator[dict[str, str]]:
    """Two namespaces beside this one: name -> the end of its link that is here."""
    links = {"streamer-m1": "streamer-v1", "streamer-m2": "streamer-v2"}
    try:
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("address", "add", f"{FRONT_AT}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for number, (space, link) in enumerate(links.items(), 2):
            ip("netns", "add", space)
            ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", link, "master", BRIDGE, "up")
            ip("-n", space, "address", "add", f"10.98.7.{number}/24", "dev", "eth0")
            ip("-n", space, "link", "set", "eth0", "up")
            ip("-n", space, "link", "set", "lo", "up")
        yield links
    finally:
        for words in (*(("netns", "delete", space) for space in links), ("link", "delete", BRIDGE)):
            subprocess.run(["ip", *words], check=False, capture_output=True)


@pytest.mark.timeout(300)
def test_a_link_goes_down(machines: dict[str, str], tmp_path: Path) -> None:
    keys = {name: tmp_path / name for name in ("front", "client")}
    new_pair(keys["front"], "server")
    new_pair(keys["client"], "client")
    (keys["client"] / "server.key").write_bytes((keys["front"] / "server.key").read_bytes())
    allow(keys["front"], str(keys["client"] / "client.key"), "worker-any")
    file = tmp_path / "cameras.yaml"
    file.write_text(
        "cameras:\n" + "".join(f"  - {{name: c{n}, source: demo}}\n" for n in range(4))
        + f"loop: true\nbus: {{bind: 'tcp://{FRONT_AT}:5555', keys: '{keys['front']}'}}\n"
        f"journal: {{path: '{tmp_path / 'front.db'}'}}\nevents: {{min_on: 0.1}}\n"
    )  # fmt: skip
    running = [subprocess.Popen([sys.executable, "-c", FRONT, str(file)], stdin=subprocess.PIPE)]
    try:
        for space in machines:
            words = [f"tcp://{FRONT_AT}:5556", space, str(tmp_path / space), str(keys["client"])]
            program = ["ip", "netns", "exec", space, sys.executable, "-c", WORKER, *words]
            running.append(subprocess.Popen(program))
        _cut_and_mend(machines, keys["client"])
    finally:
        for child in running:
            child.kill()
            child.wait()


def _cut_and_mend(machines: dict[str, str], keys: Path) -> None:
    at: dict[str, tuple[float, str]] = {}
    stop = threading.Event()

    def listen() -> None:
        with Subscriber(f"tcp://{FRONT_AT}:5555", topics=["prediction/"], keys=keys) as subscriber:
            while not stop.is_set():
                message = subscriber.receive(0.2)
                if isinstance(message, PredictionMessage):
                    at[message.camera] = time.monotonic(), str(message.raw["worker"])

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        until(lambda: len(at) == 4 and {by for _, by in at.values()} == set(machines), "both watch")
        victim = next(iter(machines))
        subprocess.run(["ip", "link", "set", machines[victim], "down"], check=True)
        began = time.monotonic()
        until(lambda: all(by != victim and t > began + 2.5 for t, by in at.values()), "the other watches all")
        print(f"link down: all cameras back after {time.monotonic() - began:.1f} s")
        subprocess.run(["ip", "link", "set", machines[victim], "up"], check=True)
    finally:
        stop.set()
        thread.join()
    with Subscriber(
        f"tcp://{FRONT_AT}:5555", topics=["event/", "heartbeat/"], keys=keys, since=0.0
    ) as reader:
        ids: dict[str, list[str]] = {}

        def all_ended() -> bool:
            message = reader.receive(0.2)
            if message is not None and message.type == "heartbeat":
                return message.raw["workers"][victim]["state"] in ("idle", "working")  # type: ignore[no-any-return]
            if message is not None and message.type == "event":
                ids.setdefault(message.id, []).append(message.phase)  # type: ignore[union-attr]
            return False

        until(all_ended, "it has come back")
    assert all(phases.count("start") == 1 and phases.count("end") <= 1 for phases in ids.values())
