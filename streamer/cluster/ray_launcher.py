"""Workers as detached Ray actors, one a node. Ray places processes; whether one lives is never asked of it.

Detached: a worker goes on while the front and its controller are away, and the next controller finds it by
its name. `max_restarts=0`: Ray would restart it on another node, and later than the controller does.
"""

from __future__ import annotations

import importlib
import itertools
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from streamer.cluster import ray_connection
from streamer.cluster.worker_settings import WorkerSettings
from streamer.errors import StreamerError

ENTRY = "streamer.cluster.worker:run_worker"
PREFIX = "worker:"  # of our actors' names: worker:NAME@NODE, or worker:NAME@NODE#2 where that name is taken
GIVEN_UP = 60.0  # seconds that a name may be taken though no actor has it, until another is used


class LauncherError(StreamerError):
    """Ray did not do what it was asked for."""


class WorkerActor:
    """Runs in a process that Ray started. It begins empty: a constructor that raises would be final."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def begin(self, entry: str, settings: Mapping[str, Any], threads: str | None) -> int:
        """Work on a thread; returns at once with the process's number. The process ends with the work."""
        os.environ.pop("OMP_NUM_THREADS", None)  # Ray's choice; before torch is imported
        if threads is not None:
            os.environ["OMP_NUM_THREADS"] = threads
        module, _, name = entry.partition(":")
        work: Callable[..., None] = getattr(importlib.import_module(module), name)

        def run() -> None:
            code = 0
            try:
                _as_urgent_as_ray()
                work(WorkerSettings(**settings), self._stop)
            except BaseException:  # noqa: BLE001 - a thread's top: told in Ray's log, and by the process's end
                traceback.print_exc()
                code = 1
            sys.stderr.flush()
            os._exit(code)

        threading.Thread(target=run, name="worker", daemon=True).start()
        return os.getpid()

    def end(self) -> None:
        """Stop the work in order."""
        self._stop.set()


def _as_urgent_as_ray() -> None:
    """Ray starts its workers with niceness 15, as for work that can wait: not for cameras, which on a busy
    machine would be lost for it. All threads of this process are made as urgent as Ray's own process: one
    that waits for its turn with Python's lock in its hand would hold up the others.
    """
    if sys.platform != "linux":
        return
    wanted = os.getpriority(os.PRIO_PROCESS, os.getppid())
    try:
        for thread in os.listdir("/proc/self/task"):
            with suppress(ProcessLookupError):  # it has just ended
                os.setpriority(os.PRIO_PROCESS, int(thread), wanted)
    except PermissionError:
        print("streamer: this user may not: start Ray with RAY_worker_niceness=0", file=sys.stderr)


class RayLauncher:
    """See `launcher.Launcher`.

    Args:
        address: HOST:PORT of the head, or "auto".
        entry: what the actors run, as MODULE:FUNCTION, called with `WorkerSettings` and a stop event.

    Raises:
        ConfigError: the cluster cannot be used.
    """

    def __init__(self, address: str, *, entry: str = ENTRY) -> None:
        self._ray = ray_connection.connect(address)
        self._entry = entry
        self._begun: list[Any] = []  # answers of `begin` that nobody waits for
        self._taken: dict[str, float] = {}  # names that no actor has -> refused since (monotonic)

    @property
    def here(self) -> str:
        """This machine's address, as the cluster's other machines reach it."""
        return str(self._ray.util.get_node_ip_address())

    def nodes(self) -> Sequence[str]:
        return list(self._nodes())

    def workers(self) -> Mapping[str, str]:
        names = self._names()
        self._taken = {full: since for full, since in self._taken.items() if full not in names}
        return dict(map(_parts, names))

    def start(self, node: str, settings: WorkerSettings) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        found = self._nodes().get(node)
        if found is None:
            raise LauncherError(f"Ray has no node {node} any more")
        settings = replace(settings, name=settings.name or node)
        threads = os.environ.get("OMP_NUM_THREADS")
        full = self._free(f"{PREFIX}{settings.name}@{node}")
        try:
            actor = (
                self._ray.remote(WorkerActor)
                .options(
                    name=full,
                    lifetime="detached",
                    max_restarts=0,
                    max_concurrency=2,
                    num_cpus=1,
                    num_gpus=found["Resources"].get("GPU", 0),  # a worker owns its machine's GPUs
                    scheduling_strategy=NodeAffinitySchedulingStrategy(found["NodeID"], soft=False),
                )
                .remote()
            )
            self._begun.append(actor.begin.remote(self._entry, asdict(settings), threads))
        except Exception as error:
            if isinstance(error, ValueError):  # what Ray raises where a name is taken
                self._taken.setdefault(full, time.monotonic())
            raise LauncherError(
                f"worker {settings.name} cannot be started on {node}: {ray_connection.one_line(error)}"
            ) from error
        del self._begun[:-64]

    def stop(self, name: str) -> None:
        for full in self._names():
            if _parts(full)[0] == name:
                try:
                    self._ray.kill(self._ray.get_actor(full), no_restart=True)
                except ValueError:  # it has just ended
                    continue

    def close(self) -> None:
        self._ray.shutdown()

    def _names(self) -> list[str]:
        """The names of our actors that Ray believes to live."""
        found = self._asked(self._ray.util.list_named_actors)
        return [str(name) for name in found if name.startswith(PREFIX)]

    def _free(self, full: str) -> str:
        """A name for an actor. A head that was started again from durable state keeps the names of actors
        that died since, though it does not list them.
        """
        now, numbers = time.monotonic(), itertools.count(2)
        names = itertools.chain([full], (f"{full}#{number}" for number in numbers))
        return next(one for one in names if now - self._taken.get(one, now) < GIVEN_UP)

    def _nodes(self) -> dict[str, Mapping[str, Any]]:
        """Those with a CPU for anybody, by name; where two have one name, by name and number."""
        alive = [n for n in self._asked(self._ray.nodes) if n["Alive"] and n["Resources"].get("CPU", 0) >= 1]
        plain = [_plain(str(node.get("NodeName") or node["NodeManagerHostname"])) for node in alive]
        return {
            name if plain.count(name) == 1 else f"{name}-{node['NodeID'][:8]}": node
            for name, node in zip(plain, alive, strict=True)
        }

    def _asked(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except Exception as error:
            raise LauncherError(f"Ray does not answer: {ray_connection.one_line(error)}") from error


def _parts(full: str) -> tuple[str, str]:
    """(worker, node) of an actor's name."""
    name, _, node = full.removeprefix(PREFIX).partition("#")[0].rpartition("@")
    return name, node


def _plain(name: str) -> str:
    """A node's name as a worker may be called."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", name).strip("-._")[:80] or "node"
