"""Keeps a worker on each node, by a launcher: starts what is missing, ends what is silent.

The front hears the workers themselves; what the launcher's engine believes of them decides nothing but
whether a name is free.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from streamer.cluster.launcher import Launcher
from streamer.cluster.worker_settings import WorkerSettings
from streamer.errors import StreamerError
from streamer.system.backoff import Backoff
from streamer.system.clock import SYSTEM_CLOCK, Clock

log = logging.getLogger(__name__)

LOOK = 1.0  # seconds between two looks
SILENT = 10.0  # seconds after which a worker that was heard is ended: its cameras have long been given away
JOIN = 90.0  # seconds that a worker may take to be heard for the first time
CLOSE = 2.0  # seconds for a call of the engine that is in progress at the end


class Staffing:
    """A context manager with a thread of its own, since an engine may take its time to answer.

    Args:
        heard: worker -> seconds since the front last heard it; those that it never heard are not in it.
        settings: of each worker; its name is its node's.
        note: gets a line when something is worth telling people.
    """

    def __init__(
        self,
        launcher: Launcher,
        heard: Callable[[], Mapping[str, float]],
        settings: Callable[[str], WorkerSettings],
        note: Callable[[str], None],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._launcher, self._heard, self._settings = launcher, heard, settings
        self._note, self._clock = note, clock
        self._since: dict[str, float] = {}  # worker -> when its engine was first seen to have it
        self._again: dict[str, tuple[Backoff, float]] = {}  # node -> when a worker may be started there again
        self._problem = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="staffing", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The workers go on; the next controller finds them."""
        self._over.set()
        self._thread.join(CLOSE)
        self._launcher.close()
        self._thread.join(CLOSE)

    def look(self) -> None:
        """Start and end what is due. Raises StreamerError: the engine does not answer."""
        now = self._clock.monotonic()
        nodes, there, heard = set(self._launcher.nodes()), dict(self._launcher.workers()), self._heard()
        self._since = {name: self._since.get(name, now) for name in there}
        staffed = set()
        for name, node in there.items():
            why = self._why_end(name, node, nodes, heard, now)
            if why is None:
                staffed.add(node)
                if heard.get(name, SILENT) < SILENT:
                    self._again.pop(node, None)
                continue
            self._note(f"worker {name} is ended: {why}")
            self._launcher.stop(name)
            del self._since[name]
        for node in sorted(nodes - staffed):
            backoff, due = self._again.get(node, (Backoff(1.0, 30.0), now))
            if now >= due and node not in there:  # what was just ended must be gone first
                self._again[node] = backoff, now + backoff.next()
                self._launcher.start(node, self._settings(node))

    def _why_end(
        self, name: str, node: str, nodes: set[str], heard: Mapping[str, float], now: float
    ) -> str | None:
        if node not in nodes:
            return f"its machine {node} has gone"
        if name in heard and now - heard[name] >= self._since[name]:  # this one, not the one before it
            return f"it was silent for {heard[name]:.0f} s" if heard[name] > SILENT else None
        waited = now - self._since[name]
        return f"it did not join within {waited:.0f} s" if waited > JOIN else None

    def _run(self) -> None:
        while not self._clock.wait(self._over, LOOK):
            problem = ""
            try:
                self.look()
            except StreamerError as error:
                problem = str(error)
            except Exception as error:
                log.exception("looking after the workers failed")
                problem = f"{type(error).__name__}: {error}"
            if problem and problem != self._problem:
                self._note(problem)
            self._problem = problem
