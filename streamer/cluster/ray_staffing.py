"""`streamer cluster --ray`: the front's workers, one on each node of a Ray cluster."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from streamer.cluster.front import Front
from streamer.cluster.ray_client import RayClient
from streamer.cluster.ray_launcher import LauncherError
from streamer.cluster.staffing import Staffing
from streamer.cluster.worker_settings import WorkerSettings
from streamer.config import Config
from streamer.errors import ConfigError

EVERYWHERE = ("0.0.0.0", "*", "[::]")


def ray_staffing(front: Front, config: Config, address: str, worker_keys: str | None) -> Staffing:
    """What keeps a worker on each node, for a front that serves already. A cluster that is away is waited
    for: workers that were started before, and those that join by themselves, are served meanwhile.

    Args:
        address: HOST:PORT of Ray's head, or "auto".
        worker_keys: the folder of keys, the same path on each node.

    Raises:
        ConfigError: the front answers no requests, keys are missing, or the cluster must not be used.
    """
    if config.bus.keys is not None and worker_keys is None:
        raise ConfigError(
            "the front uses keys: say with --worker-keys in which folder of each node a client's keys are"
        )
    join = front.requests_endpoint
    if join is None:
        raise ConfigError("--ray: workers have nowhere to join; set bus.requests, or leave --requests out")
    launcher = RayClient(address)
    with suppress(LauncherError):  # the first look says so
        launcher.connect()

    def settings(node: str) -> WorkerSettings:
        reached = join
        for host in EVERYWHERE:
            reached = reached.replace(f"//{host}:", f"//{launcher.here}:")
        return WorkerSettings(reached, name=node, keys=worker_keys, insecure_bind=config.bus.insecure_bind)

    def heard() -> Mapping[str, float]:
        return {name: float(state["age"]) for name, state in front.members.states().items()}

    return Staffing(launcher, heard, settings, front.warn)
