"""Hears what a front publishes of its cameras, and by whom."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

from streamer.bus import PredictionMessage, Subscriber


class Listener:
    """Notes when each camera was last told of, and its longest silence; on a thread of its own."""

    def __init__(self, endpoint: str) -> None:
        self.at: dict[str, list[tuple[float, str]]] = {}
        self._spans: dict[str, float] = {}
        self._endpoint, self._stop = endpoint, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with Subscriber(self._endpoint, topics=["prediction/"], high_water_mark=1000) as subscriber:
            while not self._stop.is_set():
                message = subscriber.receive(0.1)
                if isinstance(message, PredictionMessage):
                    told = self.at.setdefault(message.camera, [])
                    told.append((time.monotonic(), str(message.raw["worker"])))
                    window = message.raw["window"]
                    self._spans[message.camera] = window["end"] - window["start"]

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def silence(self, camera: str, since: float) -> float:
        """The longest pause after `since`, seconds."""
        times = [since, *(at for at, _ in self.at.get(camera, []) if at >= since)]
        return max((b - a for a, b in pairwise(times)), default=float("inf"))

    def back(self, camera: str, since: float, not_by: str) -> float | None:
        """Seconds from `since` until another worker told of it."""
        return next((at - since for at, by in self.at.get(camera, []) if at > since and by != not_by), None)

    def span(self, camera: str) -> float:
        """Seconds of video that its last prediction was made of."""
        return self._spans[camera]
