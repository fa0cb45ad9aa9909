"""`streamer cluster --ray`: the front's workers, one on each node of a Ray cluster."""

from __future__ import annotations

from collections.abc import Mapping

from streamer.cluster.front import Front
from streamer.cluster.ray_launcher import RayLauncher
from streamer.cluster.staffing import Staffing
from streamer.cluster.worker_settings import WorkerSettings
from streamer.config import Config
from streamer.errors import ConfigError

EVERYWHERE = ("0.0.0.0", "*", "[::]")


def ray_staffing(front: Front, config: Config, address: str, worker_keys: str | None) -> Staffing:
    """What keeps a worker on each node, for a front that serves already.

    Args:
        address: HOST:PORT of Ray's head, or "auto".
        worker_keys: the folder of keys, the same path on each node.

    Raises:
        ConfigError: the front answers no requests, keys are missing, or the cluster cannot be used.
    """
    if config.bus.keys is not None and worker_keys is None:
        raise ConfigError(
            "the front uses keys: say with --worker-keys in which folder of each node a client's keys are"
        )
    join = front.requests_endpoint
    if join is None:
        raise ConfigError("--ray: workers have nowhere to join; set bus.requests, or leave --requests out")
    launcher = RayLauncher(address)
    for host in EVERYWHERE:
        join = join.replace(f"//{host}:", f"//{launcher.here}:")

    def settings(node: str) -> WorkerSettings:
        return WorkerSettings(join, name=node, keys=worker_keys, insecure_bind=config.bus.insecure_bind)

    def heard() -> Mapping[str, float]:
        return {name: float(state["age"]) for name, state in front.members.states().items()}

    return Staffing(launcher, heard, settings, front.warn)
