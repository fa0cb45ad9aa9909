"""Machines of a Ray cluster: each is what `ray start --block` started, with its own address on loopback.

One is lost when all of its processes are killed at once, frozen when they are stopped.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from tests.helpers.bus_parts import until
from tests.helpers.ray_parts import TOKEN

HEAD = "head"
STORE = "80000000"  # bytes of Ray's own store, which nothing here uses


class RayMachines:
    """Begins with a head that no worker belongs on. `close` ends all of them.

    Args:
        folder: where what they print goes.
        environment: what all of them get beside this process's own.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self.environment = {
            **os.environ,
            **TOKEN,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            **environment,
        }
        # sockets of Unix are in it, whose paths must be short
        self._sockets = tempfile.mkdtemp(prefix="ray", dir="/tmp")
        with socket.socket() as probe:
            probe.bind(("127.0.0.2", 0))
            self.address = f"127.0.0.2:{probe.getsockname()[1]}"
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.head()

    def head(self) -> None:
        """Start the head, or start it anew."""
        host, port = self.address.split(":")
        # where all machines are one, Ray takes the others' processes for a head that runs
        Path(self._sockets, "ray_current_cluster").unlink(missing_ok=True)
        words = ["--head", f"--port={port}", f"--temp-dir={self._sockets}", "--include-dashboard=false"]
        self._start(HEAD, host, [*words, "--num-cpus=0"])

    def add(self, name: str) -> None:
        """A machine with a CPU for a worker."""
        words = [f"--address={self.address}", "--num-cpus=1"]
        self._start(name, f"127.0.0.{len(self._running) + 2}", words)

    def _start(self, name: str, host: str, words: list[str]) -> None:
        log = self._folder / f"{name}.log"
        program = str(Path(sys.executable).parent / "ray")
        common = [f"--node-ip-address={host}", f"--node-name={name}", f"--object-store-memory={STORE}"]
        with log.open("wb") as said:
            self._running[name] = subprocess.Popen(
                [program, "start", "--block", *words, *common],
                env=self.environment, stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip
        until(lambda: b"Ray runtime started" in log.read_bytes(), f"{name} runs; see {log}")

    def processes(self, name: str) -> list[psutil.Process]:
        """All of a machine, those that Ray started for workers among them."""
        first = psutil.Process(self._running[name].pid)
        return [first, *first.children(recursive=True)]

    def worker(self, name: str) -> psutil.Process:
        """The process of a machine's worker."""
        (found,) = self.workers(name)
        return found

    def workers(self, name: str) -> list[psutil.Process]:
        """Those of its processes in which a worker lives."""
        found = []
        for one in self.processes(name):
            with suppress(psutil.NoSuchProcess):  # it has ended
                found += [one] if "WorkerActor" in " ".join(one.cmdline()) else []
        return found

    def agent(self, name: str) -> psutil.Process:
        """Ray's own process of a machine, which all others hang on."""
        (found,) = [one for one in self.processes(name) if one.name() == "raylet"]
        return found

    def freeze(self, name: str, frozen: bool = True) -> None:
        for process in self.processes(name):
            with suppress(psutil.NoSuchProcess):  # it has just ended
                process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def lose(self, name: str) -> None:
        """As when its power is gone: nothing of it sees the rest die."""
        self.freeze(name)
        gone = self.processes(name)
        for process in gone:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._running.pop(name).wait()
        psutil.wait_procs(gone, 10)

    def close(self) -> None:
        for name in list(self._running):
            self.lose(name)
        shutil.rmtree(self._sockets, ignore_errors=True)
