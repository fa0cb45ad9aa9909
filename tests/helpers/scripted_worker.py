"""A worker without pictures, as a process: leases, history and bus are real; what it sees is made up.

    python -m tests.helpers.scripted_worker FRONT NAME STATE EVENTS_PER_SECOND PREDICTIONS_PER_SECOND

Each camera that it is given has events of three phases, one after the other. STATE "": a history in memory.
"""

from __future__ import annotations

import sys
import threading
import time
import uuid
from typing import Any

from streamer.bus import Publisher
from streamer.bus.request_client import RequestClient
from streamer.cluster.front_link import FrontLink
from streamer.cluster.watched_cameras import WatchedCameras
from streamer.cluster.worker_leases import Leases
from streamer.cluster.worker_settings import WorkerSettings
from streamer.config import BusConfig, CameraConfig, JournalConfig
from streamer.types import CameraState, CameraStatus, Event, Moment, Phase, PublisherState, Stats


class Seen:
    """What stands for the pipeline: cameras, and the events that are open."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self.lock = threading.Lock()
        self.cameras: dict[str, Event | None] = {}

    @property
    def bus(self) -> PublisherState:
        return self._publisher.state()

    def stats(self) -> Stats:
        return Stats(0.0, 0.0, 0.0, ready_since=0.0)

    def add(self, camera: CameraConfig) -> None:
        self._publisher.status(CameraStatus(camera.name, CameraState.RUNNING, time.time()))
        with self.lock:
            self.cameras[camera.name] = None

    def remove(self, name: str, reason: str) -> bool:
        with self.lock:
            event = self.cameras.pop(name, None)
            if event is not None:
                self.tell(event, Phase.END, reason)
        self._publisher.forget(name)
        return True

    def tell(self, event: Event, phase: Phase, reason: str | None = None) -> Event:
        at = Moment(0.0, time.time())
        ended = at if phase is Phase.END else None
        told = Event(
            event.id,
            event.camera,
            "m",
            "waving",
            phase,
            0.5,
            0.5,
            event.started,
            event.started,
            ended,
            reason,
        )
        self._publisher.event(told)
        return told

    def step(self, name: str) -> None:
        """The next phase of a camera's event: start, update, end."""
        with self.lock:
            if name not in self.cameras:
                return
            before = self.cameras[name]
            if before is None:
                at = Moment(0.0, time.time())
                new = Event(uuid.uuid4().hex, name, "m", "waving", Phase.START, 0.5, 0.5, at, at)
                self.cameras[name] = self.tell(new, Phase.START)
            elif before.phase is Phase.START:
                self.cameras[name] = self.tell(before, Phase.UPDATE)
            else:
                self.tell(before, Phase.END)
                self.cameras[name] = None


def main(front: str, name: str, state: str, events: str, predictions: str) -> None:
    leases, over = Leases(), threading.Event()
    watched: Any = WatchedCameras(leases, lambda *_: None)  # type: ignore[arg-type, return-value]
    watched.ahead = lambda models: None  # there are none
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    bus = BusConfig(bind="tcp://127.0.0.1:0", heartbeat=0.5, high_water_mark=1000)
    settings = WorkerSettings(front, name, capacity=1000)
    with (
        Publisher(bus, JournalConfig(path=state), admit=leases.admit) as publisher,
        RequestClient(front) as client,
    ):
        seen: Any = Seen(publisher)
        common = ""
        while not over.is_set() and not common:
            try:
                common = client.ask("join", 1.0)["common_print"]
            except Exception:  # noqa: BLE001 - the front is not there yet
                over.wait(0.1)
        link = FrontLink(
            client, settings, leases, watched, seen, common, None, lambda _: None, uuid.uuid4().hex
        )
        ended = threading.Event()
        threading.Thread(target=link.run, args=(over, ended), daemon=True).start()
        threading.Thread(target=watched.run, args=(seen, over), daemon=True).start()
        print("ready", flush=True)
        _see(seen, publisher, float(events), float(predictions), over)


def _see(seen: Seen, publisher: Publisher, events: float, predictions: float, over: threading.Event) -> None:
    """So many event messages, and predictions, a second, of all cameras together."""
    began, told, predicted = time.monotonic(), 0, 0
    while not over.wait(0.002):
        names = list(seen.cameras)
        now = time.monotonic() - began
        if not names:
            told, predicted = int(now * events), int(now * predictions)
            continue
        while told < now * events:
            seen.step(names[told % len(names)])
            told += 1
        while predicted < now * predictions:
            publisher.forward(_prediction(names[predicted % len(names)], predicted))
            predicted += 1


def _prediction(camera: str, number: int) -> dict[str, Any]:
    at = round(time.time(), 3)
    return {
        "type": "prediction", "camera": camera, "model": "m",
        "window": {"id": number, "start": at, "end": at, "frames": 8, "span": 1.0, "missing": 0},
        "top": [{"label": "waving", "score": 0.9}, {"label": "still", "score": 0.1}], "stable": None,
        "latency_ms": {"capture_to_publish": 1.0, "preprocess": 0.1, "inference": 0.2},
    }  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
