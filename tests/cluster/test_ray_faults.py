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

import psutil
import pytest

from streamer.bus.request_client import RequestClient
from streamer.errors import BusError, RequestError
from tests.helpers.bus_parts import free_pair
from tests.helpers.prediction_listener import Listener
from tests.helpers.ray_machines import HEAD, RayMachines
from tests.helpers.ray_parts import needs_ray

pytestmark = [pytest.mark.soak, pytest.mark.realtime, needs_ray]

MACHINES = ("w1", "w2")
CAMERAS = ("cam0", "cam1", "cam2")


class RayCluster:
    """A front that keeps a worker on each of two machines; three cameras."""

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
        """Wait until all cameras are watched, and each machine's worker has loaded the model."""

        def ready() -> bool:
            told = self.ask()
            loaded = [name for name, models in told.get("models", {}).items() if models]
            return set(told.get("cameras", {})) == set(CAMERAS) and sorted(loaded) == sorted(MACHINES)

        self.wait(ready)

    def wait(self, condition: Callable[[], bool]) -> None:
        waiting, deadline = threading.Event(), time.monotonic() + 600
        while not condition():
            assert time.monotonic() < deadline, (self.ask(), (self.folder / "front.log").read_text()[-2000:])
            waiting.wait(0.5)

    def workers(self) -> dict[str, psutil.Process]:
        """Machine -> the process that watches there."""
        return {name: self.machines.worker(name) for name in MACHINES}

    def close(self) -> None:
        self.front.terminate()
        self.front.wait(30)
        self.machines.close()


@pytest.fixture
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RayCluster]:
    durable = {"RAY_gcs_storage_path": str(tmp_path / "ray")}
    made = RayCluster(tmp_path, {**durable, **getattr(request, "param", {})})
    try:
        made.settled()
        yield made
    finally:
        made.close()


@pytest.fixture
def listener(cluster: RayCluster) -> Iterator[Listener]:
    made = Listener(cluster.endpoint)
    try:
        cluster.wait(lambda: len(made.at) == len(CAMERAS))
        yield made
    finally:
        made.close()


Happens = Callable[[str], None]  # to a machine


def fault(cluster: RayCluster, listener: Listener, happens: Happens, mend: Happens) -> dict[str, float]:
    """Something happens to the machine with the most cameras: seconds until all of them are told of by
    others, without the span that the model must see first; and the longest silence of the other cameras.
    """
    owners = cluster.owners()
    victim = max(MACHINES, key=lambda name: list(owners.values()).count(name))
    gone = [camera for camera, owner in owners.items() if owner == victim]
    since = time.monotonic()
    happens(victim)
    cluster.wait(lambda: all(listener.back(camera, since, victim) is not None for camera in gone))
    back = max((listener.back(camera, since, victim) or 0.0) - listener.span(camera) for camera in gone)
    others = [listener.silence(camera, since) for camera, owner in owners.items() if owner != victim]
    told = {"back": back, "others": max(others, default=0.0), "load": os.getloadavg()[0]}
    since = time.monotonic()
    mend(victim)
    cluster.settled()
    return {**told, "a worker there again": time.monotonic() - since}


@pytest.mark.timeout(1500)
def test_cameras_come_back_on_another_machine(cluster: RayCluster, listener: Listener) -> None:
    machines, told = cluster.machines, dict[str, Any]()

    def anew(name: str) -> None:
        machines.lose(name)
        machines.add(name)

    def nothing(name: str) -> None: ...

    def worker(number: signal.Signals) -> Happens:
        return lambda name: machines.worker(name).send_signal(number)

    faults: dict[str, tuple[Happens, Happens]] = {
        "worker killed": (worker(signal.SIGKILL), nothing),
        "worker frozen": (worker(signal.SIGSTOP), nothing),
        "Ray's agent killed": (lambda name: machines.agent(name).kill(), anew),
        "machine frozen": (machines.freeze, anew),
        "machine lost": (machines.lose, machines.add),
    }
    try:
        for what, (happens, mend) in faults.items():
            told[what] = fault(cluster, listener, happens, mend)
            print(what, {key: round(value, 2) for key, value in told[what].items()}, flush=True)
    finally:
        print(f"the model's span: {max(map(listener.span, CAMERAS)):.2f} s")
    assert cluster.front.poll() is None
    assert max(values["back"] for values in told.values()) < 40.0
    assert max(values["others"] for values in told.values()) < 2.5


@pytest.mark.timeout(1500)
def test_without_durable_state_ray_ends_the_workers_when_its_head_dies(
    cluster: RayCluster, listener: Listener
) -> None:
    """And the front waits for a cluster, in which it begins anew."""
    since, workers = time.monotonic(), cluster.workers()
    cluster.machines.lose(HEAD)
    cluster.wait(lambda: not any(process.is_running() for process in workers.values()))
    print(f"Ray has ended the workers after {time.monotonic() - since:.0f} s, load {os.getloadavg()[0]:.0f}")
    assert time.monotonic() - since > 30.0, "there is time to start the head again"
    cluster.wait(lambda: cluster.owners() == {})
    assert cluster.front.poll() is None
    for name in MACHINES:
        cluster.machines.lose(name)
    cluster.machines.head()
    for name in MACHINES:
        cluster.machines.add(name)
    since = time.monotonic()
    cluster.settled()
    print(f"in a new cluster each machine watches after {time.monotonic() - since:.0f} s")
    assert cluster.front.poll() is None


DURABLE = {"RAY_gcs_storage": "rocksdb"}  # its folder: where the test says
PATIENT = {"RAY_gcs_rpc_server_reconnect_timeout_s": "86400"}


@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("cluster", "away"), [(DURABLE, 20.0), ({**DURABLE, **PATIENT}, 100.0)], indirect=["cluster"]
)
def test_with_durable_state_workers_go_on_without_rays_head(
    cluster: RayCluster, listener: Listener, away: float
) -> None:
    workers, owners, since = cluster.workers(), cluster.owners(), time.monotonic()
    cluster.machines.lose(HEAD)
    threading.Event().wait(away)  # for Ray's own patience to end, or not
    cluster.machines.head()
    assert cluster.workers() == workers, "no process has ended"
    cluster.wait(lambda: all(times[-1][0] > since + away for times in listener.at.values()))
    silence = max(listener.silence(camera, since) for camera in CAMERAS)
    print(f"head away for {away:.0f} s: longest silence {silence:.2f} s, load {os.getloadavg()[0]:.0f}")
    assert cluster.owners() == owners
    assert cluster.front.poll() is None


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("cluster", [DURABLE], indirect=True)
def test_a_worker_that_dies_after_a_durable_head_came_back_is_made_anew(cluster: RayCluster) -> None:
    """Ray itself never notices, and keeps the actor's name as taken."""
    cluster.machines.lose(HEAD)
    cluster.machines.head()
    name = MACHINES[0]
    worker, since = cluster.machines.worker(name), time.monotonic()
    worker.kill()
    cluster.wait(lambda: set(cluster.owners().values()) == {MACHINES[1]})
    cluster.wait(lambda: any(one.pid != worker.pid for one in cluster.machines.workers(name)))
    cluster.wait(lambda: name in cluster.owners().values())
    print(f"a worker there again after {time.monotonic() - since:.0f} s, load {os.getloadavg()[0]:.0f}")
