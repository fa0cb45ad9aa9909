"""Ray for real: nodes as processes on this machine, workers and players killed and frozen."""

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

from streamer.cluster.ray_client import RayClient
from streamer.cluster.ray_launcher import LauncherError, RayLauncher
from streamer.cluster.worker_settings import WorkerSettings
from tests.helpers.archive_parts import archive, lines_of, recordings, said
from tests.helpers.ray_parts import needs_ray, ray_cluster

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(300), needs_ray]

LONGEST = 60.0  # seconds that anything here may take on a busy machine
ENTRY = "tests.helpers.ray_parts:pretended_worker"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with ray_cluster(nodes=2) as running:
        yield running


@pytest.fixture
def launcher(cluster: Any) -> Iterator[RayLauncher]:
    made = RayLauncher(cluster.address, entry=ENTRY)
    yield made
    for name in list(made.workers()):
        made.stop(name)
    _wait(lambda: not made.workers())
    made.close()


def told(folder: Path) -> dict[str, dict[str, str]]:
    """What each pretended worker wrote when it began."""
    return {
        file.stem: dict(line.split("=", 1) for line in file.read_text().splitlines())
        for file in folder.glob("*.txt")
    }


def begin(launcher: RayLauncher, folder: Path) -> dict[str, int]:
    """A worker on each node; worker -> process."""
    for node in launcher.nodes():
        launcher.start(node, WorkerSettings("tcp://127.0.0.1:1", state=str(folder)))
    _wait(lambda: len(told(folder)) == len(launcher.nodes()))
    return {name: int(values["pid"]) for name, values in told(folder).items()}


def test_one_worker_a_node_bound_to_it_with_the_models_own_threads_and_urgency(
    launcher: RayLauncher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    pids = begin(launcher, tmp_path)
    assert len(launcher.nodes()) == 2
    assert launcher.workers() == {node: node for node in launcher.nodes()}
    assert len(set(pids.values())) == 2
    for name, values in told(tmp_path).items():
        assert launcher._nodes()[name]["NodeID"] == values["node"]
        assert values["threads"] == "None", "Ray's choice is not the user's"
        if os.geteuid() == 0:  # others may not undo it
            assert values["less urgent than Ray"] == "0"


def test_a_controller_that_comes_back_finds_the_workers(cluster: Any, tmp_path: Path) -> None:
    """They are detached; each controller is a process of its own here, as `ray.init` is."""
    code = (
        "import sys; from pathlib import Path; from streamer.cluster.ray_launcher import RayLauncher;"
        "from streamer.cluster.worker_settings import WorkerSettings as W;"
        f"launcher = RayLauncher({cluster.address!r}, entry={ENTRY!r});"
        f"before = sorted(launcher.workers());"
        f"settings = W('tcp://127.0.0.1:1', state={str(tmp_path)!r});"
        "[launcher.start(node, settings) for node in launcher.nodes() if not before];"
        "print(len(before), flush=True); sys.stdin.read(1);"
        "[launcher.stop(name) for name in before]"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "0\n"
        _wait(lambda: len(told(tmp_path)) == 2)
        first.kill()
    pids = {int(values["pid"]) for values in told(tmp_path).values()}
    assert all(psutil.pid_exists(pid) for pid in pids)
    second = subprocess.run(
        [sys.executable, "-c", code], input="x", capture_output=True, text=True, timeout=LONGEST, check=True
    )
    assert second.stdout == "2\n"
    _wait(lambda: not any(map(psutil.pid_exists, pids)))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_dead_or_frozen_worker_is_made_anew_by_us_alone(
    launcher: RayLauncher, tmp_path: Path, number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    pids = begin(launcher, tmp_path)
    name = next(iter(pids))
    os.kill(pids[name], number)
    if number == signal.SIGSTOP:
        launcher.stop(name)  # as the controller does: alive for Ray, silent for the front
    _wait(lambda: name not in launcher.workers())
    _wait(lambda: not psutil.pid_exists(pids[name]))
    assert len(told(tmp_path)) == 2, "Ray restarts nothing"
    (tmp_path / f"{name}.txt").unlink()
    launcher.start(name, WorkerSettings("tcp://127.0.0.1:1", state=str(tmp_path)))
    _wait(lambda: name in told(tmp_path))
    assert sorted(launcher.workers()) == sorted(pids)
    assert "died" not in capfd.readouterr().out, "standard output may be somebody's JSON lines"


def test_a_worker_that_fails_ends_its_process(launcher: RayLauncher, tmp_path: Path) -> None:
    node = launcher.nodes()[0]
    launcher.start(node, WorkerSettings("tcp://fails:1", state=str(tmp_path)))
    _wait(lambda: len(told(tmp_path)) == 1)
    _wait(lambda: not launcher.workers())


def test_sigterm_is_ours_with_ray_connected(cluster: Any) -> None:
    code = (
        "from streamer.cluster.ray_launcher import RayLauncher; from streamer.system.signals import Stopper\n"
        "with Stopper() as stopper:\n"
        f"    launcher = RayLauncher({cluster.address!r})\n"
        "    print('ready', flush=True); stopper.stop.wait(60); launcher.close()\n"
        "    print('in order', stopper.signalled, flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.terminate()
        told, complained = running.communicate(timeout=LONGEST)
        assert told == "in order True\n"
        assert "SIGTERM" not in complained, "Ray's native handler prints a stack"
        assert running.wait(LONGEST) == 0


def test_a_cluster_without_a_token_is_refused() -> None:
    code = (
        "from tests.helpers.ray_parts import ray_cluster\n"
        "from streamer.cluster.ray_connection import connect\n"
        "from streamer.errors import ConfigError\n"
        "with ray_cluster() as cluster:\n"
        "    try: connect(cluster.address)\n"
        "    except ConfigError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert "it asks nobody for a token" in done.stdout, done.stderr
    assert "ray get-auth-token --generate" in done.stdout


def test_a_front_outlives_the_process_that_ray_ends(cluster: Any, tmp_path: Path) -> None:
    """As Ray ends it, when its head has been away for a minute."""
    client = RayClient(cluster.address, entry=ENTRY)
    try:
        nodes = client.nodes()
        assert len(nodes) == 2
        assert client.here
        client.start(nodes[0], WorkerSettings("tcp://127.0.0.1:1", state=str(tmp_path)))
        _wait(lambda: nodes[0] in told(tmp_path))
        assert client._process is not None
        client._process.kill()
        with pytest.raises(LauncherError, match="Ray has ended its process"):
            client.nodes()
        assert client.workers() == {nodes[0]: nodes[0]}, "it is there again, and so is the worker"
        with pytest.raises(LauncherError, match="Ray has no node nowhere"):
            client.start("nowhere", WorkerSettings("tcp://127.0.0.1:1"))
        client.stop(nodes[0])
        _wait(lambda: not client.workers())
    finally:
        client.close()
    with pytest.raises(LauncherError):
        client.nodes()


def test_a_front_begins_without_its_cluster_and_finds_it_later(tmp_path: Path) -> None:
    """Nobody is there: that is said, and asked again, but not as often as it is looked."""
    client = RayClient("127.0.0.2:1")
    try:
        for _ in range(2):
            with pytest.raises(LauncherError, match="no Ray cluster at"):
                client.nodes()
            assert client._process is None
    finally:
        client.close()


@pytest.mark.parametrize("address", ["the cluster's, without its token", "nobody's"])
def test_a_cluster_that_cannot_be_used_is_one_line(cluster: Any, tmp_path: Path, address: str) -> None:
    where = "127.0.0.2:1" if address == "nobody's" else cluster.address
    clip = recordings(tmp_path, 1)[0]
    done = archive(
        clip,
        "-o",
        tmp_path / "out",
        "--ray",
        where,
        environment={"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "z" * 64},
    )
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("streamer: ")]
    assert len(lines) == 1
    assert "can be used (" in lines[0]


def test_an_archive_on_the_machines_of_a_cluster(cluster: Any, tmp_path: Path) -> None:
    clips = recordings(tmp_path / "clips", 3)
    wrong = tmp_path / "wrong.mp4"
    wrong.write_bytes(b"no video" * 1000)
    here = archive(*clips, "-o", tmp_path / "here", "--workers", "1", environment={"OMP_NUM_THREADS": "1"})
    assert here.returncode == 0
    there = archive(*clips, wrong, "-o", tmp_path / "there", "--workers", "2", "--ray", cluster.address)
    assert there.returncode == 3, there.stderr
    assert "holds no video" in there.stdout
    for clip in clips:
        results = [lines_of(tmp_path / where / f"{clip.name}.jsonl") for where in ("here", "there")]
        assert said(results[0]) == said(results[1])


def _wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST
    pause = threading.Event()
    while not until():
        assert time.monotonic() < deadline, "did not come"
        pause.wait(0.1)
