"""Ray clusters on this machine: nodes are processes, each with a name of its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from streamer.cluster.worker_settings import WorkerSettings
from streamer.system.atomic_files import write_atomically

needs_ray = pytest.mark.skipif(
    find_spec("ray") is None or os.name == "nt",
    reason="Ray is not installed: pip install 'streamer[cluster]'",
)
LOOPBACK = "127.0.0.2"  # Ray takes 127.0.0.1 for another interface's address
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
NODE = {"num_cpus": 2, "object_store_memory": 80 << 20, "include_dashboard": False}


def pretended_worker(settings: WorkerSettings, stop: threading.Event) -> None:
    """Says in a file that it has begun; runs in a process of Ray's."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    told = f"pid={os.getpid()}\nnode={node}\nthreads={os.environ.get('OMP_NUM_THREADS')}\n"
    nice = max(os.getpriority(os.PRIO_PROCESS, int(task)) for task in os.listdir("/proc/self/task"))
    told += f"less urgent than Ray={nice - os.getpriority(os.PRIO_PROCESS, os.getppid())}\n"
    write_atomically(Path(settings.state or "") / f"{settings.name}.txt", told)
    if "fails" in settings.join:
        raise OSError("it cannot join")
    stop.wait()


@contextmanager
def ray_cluster(nodes: int = 1, **head: Any) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` on loopback, by default of one node with two CPUs."""
    os.environ.setdefault("RAY_AUTH_MODE", TOKEN["RAY_AUTH_MODE"])
    os.environ.setdefault("RAY_AUTH_TOKEN", TOKEN["RAY_AUTH_TOKEN"])
    os.environ.setdefault("RAY_worker_niceness", "1")  # Ray's 15 would starve them on a busy machine
    from ray.cluster_utils import Cluster

    settings = {**NODE, "node_ip_address": LOOPBACK, **head}
    cluster = Cluster(initialize_head=True, head_node_args=settings)
    try:
        for _ in range(nodes - 1):
            cluster.add_node(num_cpus=2, object_store_memory=80 << 20, node_ip_address=LOOPBACK)
        yield cluster
    finally:
        cluster.shutdown()
