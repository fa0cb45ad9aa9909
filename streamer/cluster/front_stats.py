"""What a front knows of its cluster, as screen, health and metrics read it: made of what it sends."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from streamer.cluster.front_leases import Members
from streamer.metrics.last_minute import Outages
from streamer.metrics.rate import Rate
from streamer.system.clock import Clock
from streamer.types import (
    CameraState,
    CameraStats,
    CameraStatus,
    ClusterStats,
    Event,
    LabelScore,
    ModelStats,
    Moment,
    Phase,
    PublisherState,
    Stats,
    Track,
)

NOTES, RECENT = 5, 100
REMOVED = "camera removed"  # the last word of a camera


class _Model:
    def __init__(self) -> None:
        self.top: tuple[LabelScore, ...] = ()
        self.stable: LabelScore | None = None
        self.windows = 0
        self.newest: float | None = None
        self.rate = Rate()


class FrontStats:
    """A sink of the front's publisher, and what is asked for its `Stats`. Thread-safe."""

    def __init__(self, clock: Clock, members: Members) -> None:
        self._clock, self._members = clock, members
        self._lock = threading.Lock()
        self._started = clock.monotonic()
        self._last_loop = self._started
        self._statuses: dict[str, CameraStatus] = {}
        self._models: dict[str, dict[str, _Model]] = {}
        self._outages = Outages()
        self._ran: set[str] = set()  # cameras
        self._told_at: dict[str, float] = {}  # camera -> monotonic seconds of its newest status
        self._notes: dict[str, None] = {}
        self._open: dict[str, Event] = {}  # by id
        self._recent: dict[str, Event] = {}  # in the order of their starts

    def send(self, topic: str, message: Mapping[str, Any]) -> None:
        """One message as it was sent."""
        kind = message["type"]
        with self._lock:
            if kind == "status" and message["detail"] == REMOVED:
                self._statuses.pop(message["camera"], None)
                self._models.pop(message["camera"], None)
                self._ran.discard(message["camera"])
                self._outages.status(self._status(message), self._now())
            elif kind == "status":
                self._take(self._status(message))
            elif kind == "prediction":
                self._prediction(message)
            elif kind == "event":
                self._event(message)

    def _take(self, status: CameraStatus) -> None:
        before = self._statuses.get(status.camera)
        if status.newest is None and before is not None:
            status = replace(
                status, newest=before.newest
            )  # nobody watches it: the last frame is as old as it is
        self._statuses[status.camera] = status
        self._told_at[status.camera] = self._clock.monotonic()
        if status.state is CameraState.RUNNING:
            self._ran.add(status.camera)
        elif status.state is CameraState.CONNECTING and status.camera in self._ran:
            status = replace(status, state=CameraState.RECONNECTING)  # on its way from one worker to another
        self._outages.status(status, self._now())

    def _fresh(self, status: CameraStatus, now: float) -> CameraStatus:
        """A camera that runs is as far behind as its worker said: it repeats that every few seconds only, but
        tells at once when frames stay away.
        """
        told_at = self._told_at.get(status.camera)
        if status.state is not CameraState.RUNNING or status.newest is None or told_at is None:
            return status
        return replace(status, newest=now - (told_at - status.newest))

    def _now(self) -> Moment:
        return Moment(self._clock.monotonic(), self._clock.wall())

    def _status(self, message: Mapping[str, Any]) -> CameraStatus:
        known = message["state"] in list(CameraState)
        age = message.get("age")
        worker = message.get("worker")
        detail = message["detail"]
        return CameraStatus(
            camera=message["camera"],
            state=CameraState(message["state"]) if known else CameraState.CONNECTING,
            since=message["since"],
            detail=f"{worker}: {detail}" if worker and detail else detail or (worker or ""),
            code=message.get("code"),
            fps=message["fps"],
            width=message["width"],
            height=message["height"],
            picture=message.get("picture", "ok"),
            captured=message.get("captured", 0),
            stored=message.get("stored", 0),
            dropped=message["dropped"],
            reconnects=message.get("reconnects", 0),
            newest=None if age is None else self._clock.monotonic() - age,
        )

    def _prediction(self, message: Mapping[str, Any]) -> None:
        model = self._models.setdefault(message["camera"], {}).setdefault(message["model"], _Model())
        now, stable = self._clock.monotonic(), message["stable"]
        if message.get("track") is None:  # what is said of one person is not the whole picture's
            model.top = tuple(LabelScore(one["label"], one["score"]) for one in message["top"])
            model.stable = None if stable is None else LabelScore(stable["label"], stable["score"])
        model.windows += 1
        model.newest = now
        model.rate.add(now)

    def _event(self, message: Mapping[str, Any]) -> None:
        event = self._event_of(message)
        if event.phase is Phase.END:
            self._open.pop(event.id, None)
        else:
            self._open[event.id] = event
        if event.phase is not Phase.UPDATE or event.id in self._recent:
            self._recent[event.id] = event
        while len(self._recent) > RECENT:
            del self._recent[next(iter(self._recent))]

    def _event_of(self, message: Mapping[str, Any]) -> Event:
        told, offset = message["event"], self._clock.monotonic() - self._clock.wall()
        track = message.get("track")

        def moment(key: str) -> Moment:
            return Moment(told[key] + offset, told[key], told.get(f"media_{key}"))

        return Event(
            told["id"], message["camera"], message.get("model", ""), told["label"], Phase(told["phase"]),
            told["score"], told["peak"], moment("started_at"), moment("decided_at"),
            None if told["ended_at"] is None else moment("ended_at"), told.get("reason"),
            None if track is None else Track(track["id"], tuple(track["box"])),
            told.get("background", False),
        )  # fmt: skip

    def note(self, text: str) -> None:
        with self._lock:
            self._notes.pop(text, None)
            self._notes[text] = None
            while len(self._notes) > NOTES:
                del self._notes[next(iter(self._notes))]

    def looked(self) -> None:
        """The controller has had a look."""
        self._last_loop = self._clock.monotonic()

    def stats(self, publisher: PublisherState) -> Stats:
        """As it is now."""
        workers = {name: str(told["state"]) for name, told in self._members.states().items()}
        unplaced = self._members.unplaced()
        with self._lock:
            now = self._clock.monotonic()
            opened: dict[str, list[Event]] = {}
            for event in self._open.values():
                opened.setdefault(event.camera, []).append(event)
            cameras = tuple(
                CameraStats(
                    self._fresh(status, now),
                    tuple(
                        ModelStats(
                            model=name, top=one.top, stable=one.stable, windows=one.windows,
                            windows_per_s=one.rate.value(now), newest=one.newest,
                        )
                        for name, one in self._models.get(camera, {}).items()
                    ),
                    tuple(opened.get(camera, ())),
                )
                for camera, status in sorted(self._statuses.items())
            )  # fmt: skip
            notes, recent = tuple(self._notes), tuple(self._recent.values())
            outages, counts = self._outages.all, self._outages.counts
        return Stats(
            time=now,
            wall=self._clock.wall(),
            uptime=now - self._started,
            cameras=cameras,
            windows_per_s=sum(one.windows_per_s for camera in cameras for one in camera.models),
            recent=recent,
            publisher=publisher,
            ready_since=self._started,
            last_loop=self._last_loop,
            notes=notes,
            outages=outages,
            outage_counts=counts,
            cluster=ClusterStats(workers, unplaced),
        )
