"""What a worker is told when it is started; everything else comes from the front."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

from streamer.errors import ConfigError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Plain values, so that an engine can carry them to another machine.

    `join`: where the front answers requests. `name`: by which the front knows it over restarts; "" = this
    machine's name. `capacity`: cameras at most; None = as many as its model has windows for. `keys`: a folder
    with client.key_secret and the front's server.key. `bind`: where it publishes for the front; None = a free
    port of the address from which this machine reaches the front. `state`: the folder of its history; None =
    in the user's state folder. `metrics`: [HOST:]PORT of /metrics and /healthz; "" = none.

    Raises ConfigError.
    """

    join: str
    name: str = ""
    capacity: int | None = None
    keys: str | None = None
    bind: str | None = None
    state: str | None = None
    metrics: str = ""
    insecure_bind: bool = False

    def __post_init__(self) -> None:
        if self.name and not NAME.fullmatch(self.name):
            raise ConfigError(
                f"a worker cannot be called {self.name!r}: use up to 100 letters, digits, '.', '_', '-'"
            )
        if self.capacity is not None and self.capacity < 1:
            raise ConfigError(f"--capacity {self.capacity}: give at least 1 camera, or leave it out")

    @property
    def known_as(self) -> str:
        """Its name, or this machine's."""
        return self.name or re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()).strip("-._") or "worker"
