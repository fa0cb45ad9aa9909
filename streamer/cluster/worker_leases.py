"""A worker's leases: it watches a camera only while its lease holds, whoever else believes what.

The front counts a lease from when it *received* the request that renewed it, a worker from when it *sent* it:
a worker stops before the front gives its cameras away, and their clocks need not agree.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from typing import Any

from streamer.types import Event, Phase

VERSION = 1  # of the requests between worker and front
LEASE = 2.5  # seconds that a lease holds after the request that renewed it was sent
LOST = 3.0  # seconds without a request after which a front gives a worker's cameras away: longer than LEASE
RENEW = 0.5  # seconds between two requests
MOST_REMEMBERED = 10_000


def lease_clock() -> float:
    """Seconds that go on while the machine sleeps, where the system has such a clock."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class Leases:
    """Which cameras are leased, until when. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = -math.inf  # by `lease_clock`: of all of them together
        self._epochs: dict[str, int] = {}  # camera -> the number of its lease
        self._silenced: dict[str, None] = {}  # events whose start was not told
        self._withheld: set[str] = set()  # cameras whose events these are

    def renewed(self, sent_at: float, epochs: Mapping[str, int], lease: float) -> None:
        """An answer to a request that was sent at `sent_at`."""
        with self._lock:
            self._until = max(self._until, sent_at + lease)
            self._epochs = dict(epochs)

    def extended(self, until: float) -> None:
        """No front is there: what holds now holds on."""
        with self._lock:
            if lease_clock() < self._until:
                self._until = max(self._until, until)

    def drop(self) -> None:
        """The front says that we hold nothing."""
        with self._lock:
            self._until, self._epochs = -math.inf, {}

    @property
    def hold(self) -> bool:
        with self._lock:
            return lease_clock() < self._until

    def epochs(self) -> dict[str, int]:
        """Camera -> number, of those that hold now."""
        with self._lock:
            return dict(self._epochs) if lease_clock() < self._until else {}

    def admit(self, event: Event) -> Mapping[str, Any] | None:
        """For the publisher: what an event's message carries; None where it may not be told.

        A start needs a lease that holds at this moment; what follows a start that was not told, is not told.
        What goes on is told by opening the camera anew: see `withheld`.
        """
        with self._lock:
            if event.id in self._silenced:
                if event.phase is Phase.END:
                    del self._silenced[event.id]
                return None
            epoch = self._epochs.get(event.camera)
            if event.phase is Phase.START and (epoch is None or lease_clock() >= self._until):
                self._silenced[event.id] = None
                self._withheld.add(event.camera)
                if len(self._silenced) > MOST_REMEMBERED:
                    del self._silenced[next(iter(self._silenced))]
                return None
            return {} if epoch is None else {"lease": epoch}

    def withheld(self) -> frozenset[str]:
        """Cameras of which a start was not told, since they were opened: where the lease holds again before
        anybody noticed that it had run out, they are to be opened anew.
        """
        with self._lock:
            return frozenset(self._withheld)

    def closed(self, camera: str) -> None:
        """A camera is watched no more; when it is opened again, what goes on there begins anew."""
        with self._lock:
            self._withheld.discard(camera)
