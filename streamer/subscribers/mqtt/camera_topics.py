"""What the broker should hold about each camera (retained messages), kept up to date from the bus."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from streamer.bus import wire
from streamer.bus.messages import EventMessage, HeartbeatMessage, Snapshot, StatusMessage
from streamer.subscribers.event_filter import EventFilter
from streamer.subscribers.mqtt.home_assistant import IDLE, OFFLINE, ONLINE, Layout, config_topics
from streamer.system.clock import Clock

ALL = EventFilter()
GONE_AFTER = 60.0  # seconds without a place in the publisher's heartbeats after which a camera was removed
STATUS_EVERY = 30.0  # seconds between two statuses in which only numbers changed
STATE_EVERY = 5.0  # seconds between two states in which only the score changed
MOST_CAMERAS = 500  # each is retained on the broker; a publisher that names more gets no more
MOST_OPEN = 500  # events of one camera


@dataclass(slots=True)
class _Camera:
    state: str = ""
    status: StatusMessage | None = None
    open: dict[str, EventMessage] = field(default_factory=dict)
    status_at: float = float("-inf")
    state_at: float = float("-inf")
    missing_since: float | None = None
    follows: bool = False  # people, as a status has told


class Cameras:
    """`retained` maps topics to payloads; `dirty` says that it changed. An empty payload removes.

    Open events are known from a snapshot and from what came after it; older events, replayed to be delivered,
    do not turn the present back. Without a snapshot all events count.
    """

    def __init__(self, layout: Layout, known: Iterable[str], clock: Clock, events: EventFilter = ALL) -> None:
        self._layout, self._clock, self._events = layout, clock, events
        self._pictures = {"live": False, "kept": False}
        self._cameras: dict[str, _Camera] = {name: _Camera() for name in known}
        self._known_to: tuple[str, int] | None = None  # session and number up to which a snapshot told all
        self._heard = False
        self.retained: dict[str, bytes] = {}
        self.dirty = True

    @property
    def names(self) -> list[str]:
        """The cameras that are described on the broker."""
        return list(self._cameras)

    @property
    def session(self) -> str | None:
        """The publisher's session of the last snapshot."""
        return None if self._known_to is None else self._known_to[0]

    # ---- from the bus

    def snapshot(self, snapshot: Snapshot) -> None:
        """Everything as it is now."""
        self._known_to = str(snapshot.raw.get("session", "")), snapshot.last_event_seq
        for camera in self._cameras.values():
            camera.open.clear()
        for name, told in snapshot.cameras.items():
            if (known := self._camera(name)) is None:
                continue
            wanted = filter(self._events.wants_subject, told.events)
            known.open = {event.id: event for event in list(wanted)[-MOST_OPEN:]}
            if told.status is not None:
                self.status(told.status)
        for name in self._cameras:
            self._put_state(name)

    def await_snapshot(self) -> None:
        """The present is not known yet: events are of the past until `snapshot` or `forget_snapshot`."""
        self._known_to = "", 0

    def forget_snapshot(self) -> None:
        """Another session, and it gives no snapshot: its events are all there is."""
        self._known_to = None
        for camera in self._cameras.values():
            camera.open.clear()

    def pictures(self, *, live: bool, kept: bool) -> None:
        """Which pictures there are: cameras are described anew where that has changed."""
        if self._pictures != {"live": live, "kept": kept}:
            self._pictures = {"live": live, "kept": kept}
            for name in self._cameras:
                self._put_config(name)

    def event(self, message: EventMessage) -> None:
        if not self._events.wants_subject(message):
            return
        if self._known_to is not None and (
            message.session != self._known_to[0] or message.seq <= self._known_to[1]
        ):
            return
        if (camera := self._camera(message.camera)) is None:
            return
        if message.phase == "end":
            camera.open.pop(message.id, None)
        else:
            new = message.id not in camera.open
            camera.open[message.id] = message
            if len(camera.open) > MOST_OPEN:
                del camera.open[next(iter(camera.open))]
            if not new and self._clock.monotonic() - camera.state_at < STATE_EVERY:
                return
        self._put_state(message.camera)

    def status(self, message: StatusMessage) -> None:
        if (camera := self._camera(message.camera)) is None:
            return
        before, camera.status, camera.state = camera.status, message, message.state
        if message.following is not None and not camera.follows:
            camera.follows = True
            self._put_config(message.camera)
        now = self._clock.monotonic()
        if before is None or _gist(before) != _gist(message) or now - camera.status_at >= STATUS_EVERY:
            camera.status_at = now
            self._put(self._layout.of(message.camera, "status"), wire.encode(_status(message)))
        self._put_availability(message.camera)

    def heartbeat(self, message: HeartbeatMessage) -> list[str]:
        """Which cameras there are; returns those that were removed."""
        now, removed = self._clock.monotonic(), []
        for name, state in message.cameras.items():
            if (camera := self._camera(name)) is None:
                continue
            camera.state, camera.missing_since = state, None
            self._put_availability(name)
        for name in self.names:
            camera = self._cameras[name]
            if name in message.cameras:
                continue
            camera.missing_since = now if camera.missing_since is None else camera.missing_since
            if now - camera.missing_since >= GONE_AFTER:
                removed.append(name)
                del self._cameras[name]
                for topic in config_topics(self._layout, name):
                    self._put(topic, b"")
        return removed

    def heard(self, heard: bool) -> None:
        """Whether the publisher lives: without it no camera is available."""
        if heard != self._heard:
            self._heard = heard
            for name in self._cameras:
                self._put_availability(name)

    # ---- to the broker

    def _camera(self, name: str) -> _Camera | None:
        """None where it is not wanted, or there are too many."""
        if not self._events.wants_camera(name):
            return None
        if name not in self._cameras and len(self._cameras) >= MOST_CAMERAS:
            return None
        camera = self._cameras.setdefault(name, _Camera())
        config = self._layout.config(name)
        if config is not None and not self.retained.get(config):
            self._put_config(name)
        if not self.retained.get(self._layout.of(name, "state")):
            self._put_state(name)
        return camera

    def _put_config(self, name: str) -> None:
        config = self._layout.config(name)
        if config is not None:
            follows = self._cameras[name].follows
            self._put(config, wire.encode(self._layout.describe(name, follows=follows, **self._pictures)))

    def _put_state(self, name: str) -> None:
        camera = self._cameras[name]
        camera.state_at = self._clock.monotonic()
        self._put(self._layout.of(name, "state"), wire.encode(_state(camera)))

    def _put_availability(self, name: str) -> None:
        there = self._heard and self._cameras[name].state == "running"
        self._put(self._layout.of(name, "availability"), ONLINE if there else OFFLINE)

    def _put(self, topic: str, payload: bytes) -> None:
        if self.retained.get(topic) != payload:
            self.retained[topic] = payload
            self.dirty = True


def _state(camera: _Camera) -> dict[str, Any]:
    """The present: the action that began last, and all that go on."""
    if not camera.open:
        return {"action": IDLE, "score": None, "since": None, "event_id": None, "actions": []}
    newest = max(camera.open.values(), key=lambda event: event.started_at)
    display = newest.raw["event"].get("display")
    return {
        "action": newest.label,
        **({} if display is None else {"display": display}),
        "score": newest.score,
        "since": newest.started_at,
        "event_id": newest.id,
        "actions": sorted({event.label for event in camera.open.values()}),
    }


def _status(message: StatusMessage) -> dict[str, Any]:
    told: dict[str, Any] = {
        "state": message.state, "detail": message.detail, "since": message.since, "fps": message.fps,
        "width": message.width, "height": message.height,
    }  # fmt: skip
    return told | {
        key: message.raw[key] for key in ("code", "picture", "reconnects", "following") if key in message.raw
    }


def _gist(message: StatusMessage) -> tuple[object, ...]:
    """What people want to know at once when it changes."""
    raw = message.raw
    return (
        message.state,
        raw.get("code"),
        raw.get("picture"),
        message.width,
        message.height,
        message.fps is None,
        message.following,
    )
