"""A cluster whose workers Ray started: they are killed and frozen, machines are lost, Ray's head dies.

Real pictures through the demo's model. With -m soak -s the figures of docs/cluster.md are printed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamer.bus.request_client import RequestClient
from streamer.errors import BusError, RequestError
from tests.helpers.bus_parts import free_pair, until
from tests.helpers.prediction_listener import Listener
from tests.helpers.ray_machines import RayMachines
from tests.helpers.ray_parts import needs_ray

pytestmark = [pytest.mark.soak, pytest.mark.realtime, needs_ray]

MACHINES = ("w1", "w2", "w3")
CAMERAS = tuple(f"cam{n}" for n in range(len(MACHINES)))
AWAY = 100.0  # seconds that the head is away: Ray's own parts give up after 60


class RayCluster:
    """A front that keeps a worker on each of three machines; a camera for each."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.machines = RayMachines(folder, environment)
        for name in MACHINES:
            self.machines.add(name)
        port = free_pair()
        self.endpoint, self.requests = f"tcp://127.0.0.1:{port}", f"tcp://127.0.0.1:{port + 1}"
        self.file = folder / "cameras.yaml"
        rows = "".join(f"  - {{name: {camera}, source: demo}}\n" for camera in CAMERAS)
        self.file.write_text(
            f"cameras:\n{rows}loop: true\nbus: {{bind: '{self.endpoint}'}}\n"
            f"journal: {{path: '{folder / 'front.db'}'}}\n"
        )
        with (folder / "front.log").open("wb") as said:
            words = ["cluster", str(self.file), "--ray", self.machines.address, "--ui", "none"]
            self.front = subprocess.Popen(
                [sys.executable, "-m", "streamer", *words],
                env=self.machines.environment, stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip

    def ask(self) -> dict[str, Any]:
        """Which workers there are, and who watches what; {} where no answer comes."""
        with RequestClient(self.requests) as client:
            try:
                return client.ask("workers", 2.0)
            except (BusError, RequestError):
                return {}

    def owners(self) -> dict[str, str]:
        found: dict[str, str] = self.ask().get("cameras", {})
        return found

    def settled(self) -> None:
        """Wait until each machine's worker watches a camera: so each has loaded the model."""
        waiting, deadline = threading.Event(), time.monotonic() + 600
        while set(self.owners().values()) != set(MACHINES) or len(self.owners()) != len(CAMERAS):
            assert time.monotonic() < deadline, (self.ask(), (self.folder / "front.log").read_text()[-2000:])
            waiting.wait(0.5)

    def close(self) -> None:
        self.front.terminate()
        self.front.wait(30)
        self.machines.close()


@pytest.fixture
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RayCluster]:
    made = RayCluster(tmp_path, dict(getattr(request, "param", {})))
    try:
        made.settled()
        yield made
    finally:
        made.close()


@pytest.fixture
def listener(cluster: RayCluster) -> Iterator[Listener]:
    made = Listener(cluster.endpoint)
    until(lambda: len(made.at) == len(CAMERAS))
    yield made
    made.close()


def fault(cluster: RayCluster, listener: Listener, happens: Callable[[str], None]) -> dict[str, float]:
    """A machine goes: seconds until its camera is told of by another's worker, without the span that the
    model must see first; and the longest silence of the other cameras.
    """
    owners = cluster.owners()
    victim = MACHINES[-1]
    (gone,) = [camera for camera, owner in owners.items() if owner == victim]
    since = time.monotonic()
    happens(victim)
    until(lambda: listener.back(gone, since, victim) is not None, f"{gone} is back")
    back = listener.back(gone, since, victim)
    assert back is not None
    told = {"back": back - listener.span(gone), "span": listener.span(gone), "load": os.getloadavg()[0]}
    others = max(listener.silence(camera, since) for camera, owner in owners.items() if owner != victim)
    return {**told, "others": others}


@pytest.mark.timeout(1500)
def test_cameras_come_back_on_another_machine(cluster: RayCluster, listener: Listener) -> None:
    machines, told = cluster.machines, dict[str, Any]()

    def anew(name: str) -> None:
        machines.lose(name)
        machines.add(name)

    def nothing(name: str) -> None: ...

    def worker(number: signal.Signals) -> Callable[[str], None]:
        return lambda name: machines.worker(name).send_signal(number)

    faults: dict[str, tuple[Callable[[str], None], Callable[[str], None]]] = {
        "worker killed": (worker(signal.SIGKILL), nothing),
        "worker frozen": (worker(signal.SIGSTOP), nothing),
        "Ray's agent killed": (lambda name: machines.agent(name).kill(), anew),
        "machine frozen": (machines.freeze, anew),
        "machine lost": (machines.lose, machines.add),
    }
    try:
        for what, (happens, mend) in faults.items():
            told[what] = fault(cluster, listener, happens)
            since = time.monotonic()
            mend(MACHINES[-1])
            cluster.settled()
            told[what]["a worker there again"] = time.monotonic() - since
    finally:
        for what, values in told.items():
            print(what, {key: round(value, 2) for key, value in values.items()})
    assert cluster.front.poll() is None
    assert max(values["back"] for values in told.values()) < 40.0
    assert max(values["others"] for values in told.values()) < 2.5
