"""Receivers inside the program (plain text, JSON lines): each on a thread of its own, so that a terminal that
blocks or a sink that raises stops neither the bus nor its neighbours."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

MAX_PREDICTIONS = 256  # waiting; heartbeats and predictions beyond that are dropped, oldest first


class Sink(Protocol):
    """Gets each message as it was sent, in the order of sending; previews are for the bus alone."""

    def send(self, topic: str, message: Mapping[str, Any]) -> None: ...


class SinkThread:
    """Feeds one sink. Events and statuses always wait; of the rest only the newest do, or, with `complete`,
    the giver waits for room.
    """

    def __init__(self, sink: Sink, on_problem: Callable[[str], None], *, complete: bool = False) -> None:
        self._sink, self._on_problem, self._complete = sink, on_problem, complete
        self._changed = threading.Condition()
        self._waiting: deque[tuple[str, Mapping[str, Any]]] = deque()
        self._passing = 0  # how many of the waiting ones may be dropped
        self._closed = False
        self._failed = False
        self._patience: float | None = None  # monotonic seconds until which the giver waits; None = for ever
        self.dropped = 0
        name = f"streamer-sink-{type(sink).__name__}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, topic: str, message: Mapping[str, Any]) -> None:
        with self._changed:
            while self._complete and self._passing >= MAX_PREDICTIONS and not self._done():
                if self._patience is not None and time.monotonic() > self._patience:
                    break
                self._changed.wait(0.1)
            if self._done():
                self.dropped += 1
                return
            if _may_drop(topic):
                if self._passing >= MAX_PREDICTIONS:
                    self._drop_oldest()
                self._passing += 1
            self._waiting.append((topic, message))
            self._changed.notify_all()

    def hurry(self, seconds: float) -> None:
        """The end is near: from `seconds` on nobody waits for this sink."""
        with self._changed:
            self._patience = time.monotonic() + seconds
            self._changed.notify_all()

    def close(self, timeout: float) -> bool:
        """Deliver what waits, for `timeout` seconds at most; False where the sink still blocks then. May be
        called again.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def missed(self) -> int:
        """Messages that the sink did not get; after `close`, those that still wait too."""
        with self._changed:
            return self.dropped + (len(self._waiting) if self._closed else 0)

    def _done(self) -> bool:
        return self._closed or self._failed

    def _drop_oldest(self) -> None:
        for place, (topic, _) in enumerate(self._waiting):
            if _may_drop(topic):
                del self._waiting[place]
                self._passing -= 1
                self.dropped += 1
                return

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return
                topic, message = self._waiting.popleft()
                self._passing -= _may_drop(topic)
                self._changed.notify_all()
            try:
                self._sink.send(topic, message)
            except Exception as error:  # noqa: BLE001 - a sink's edge: whatever it raises stays here
                self._fail(error)
                return

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._failed = True
            self.dropped += 1 + len(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        self._on_problem(
            f"{type(self._sink).__name__} failed and gets nothing more: {type(error).__name__}: {error}"
        )


def _may_drop(topic: str) -> bool:
    return topic.startswith(("prediction/", "heartbeat/"))
