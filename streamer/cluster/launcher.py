"""What starts workers on machines: an engine, such as Ray, only places processes.

Who watches which camera, and whether a worker lives, is never asked of the engine: the front hears the
workers themselves. Without a launcher it takes the workers that join by themselves (systemd, Kubernetes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from streamer.cluster.worker_settings import WorkerSettings


class Launcher(Protocol):
    """Used by one thread of the controller, which may wait for it; the cameras go on meanwhile.

    A call that raises StreamerError is reported in one line and tried again at the next look, a few seconds
    later.
    """

    def nodes(self) -> Sequence[str]:
        """The machines on which a worker belongs now, by a name that stays the same: one worker each."""
        ...

    def workers(self) -> Mapping[str, str]:
        """The workers that it started and that its engine believes to run: name -> node. Those that went on
        while the front was away are among them.
        """
        ...

    def start(self, node: str, settings: WorkerSettings) -> None:
        """Begin to start a worker on a node, bound to it, never restarted by the engine; returns at once."""
        ...

    def stop(self, name: str) -> None:
        """End a worker: its node has gone, or it is alive for its engine and silent for the front."""
        ...

    def close(self) -> None:
        """Let go of the engine; a call in progress ends. The workers go on."""
        ...
