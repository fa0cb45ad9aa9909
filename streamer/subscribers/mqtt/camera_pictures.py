"""Pictures for a broker, where somebody asked for them: each camera's live one, and the newest event's.

On a subscriber of its own, and never more of them on their way than a few: pictures are large, and must not
be what makes an event late.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamer.bus.messages import EventMessage, PreviewMessage
from streamer.errors import BusError
from streamer.recording.files import find, told_folder
from streamer.subscribers.event_filter import EventFilter
from streamer.subscribers.mqtt.camera_topics import MOST_CAMERAS
from streamer.subscribers.mqtt.home_assistant import Layout
from streamer.subscribers.publisher_address import PublisherAddress
from streamer.system.clock import Clock

if TYPE_CHECKING:
    from streamer.bus.subscriber import Subscriber

LARGEST = 2_000_000  # bytes
MOST_WANTED = 100  # events whose snapshot is waited for
PATIENCE = 15.0  # seconds that a snapshot is waited for
LOOK_EVERY = 0.5  # seconds between two looks at the disk
MOST_AT_ONCE = 50  # previews that are read in one go

Publish = Callable[[str, bytes, bool], None]  # topic, JPEG, whether the broker keeps it


class CameraPictures:
    """`poll` on the bridge's thread. `every`: seconds between two live pictures of a camera."""

    def __init__(
        self, publisher: PublisherAddress, layout: Layout, events: EventFilter, every: float, clock: Clock
    ) -> None:
        self._layout, self._events, self._every, self._clock = layout, events, every, clock
        self._publisher = publisher
        self._subscriber: Subscriber | None = None
        self._newest: dict[str, bytes] = {}
        self._sent_at: dict[str, float] = {}
        self._wanted: dict[str, tuple[EventMessage, float, int]] = {}  # camera -> event, until, file's time
        self._looked_at = float("-inf")
        self.live = False  # the run sends previews
        self.folder: Path | None = None  # of snapshots

    def learn(self, subscriber: Any) -> None:
        """What the run offers; after each of its starts."""
        self.live, self.folder = False, None
        with contextlib.suppress(BusError):
            pictures = subscriber.request("features").get("pictures")
            if isinstance(pictures, dict):
                self.live = pictures.get("live") is True
                if pictures.get("snapshots") is True:
                    self.folder = told_folder(pictures.get("folder"))

    def event(self, message: EventMessage) -> None:
        """An event whose picture is wanted: at its start, and again at its end, when its peak is known."""
        if self.folder is None or message.phase == "update" or not self._events.wants_subject(message):
            return
        if message.camera in self._wanted or len(self._wanted) < MOST_WANTED:
            before = self._wanted.get(message.camera)
            sent = before[2] if before is not None and before[0].id == message.id else 0
            self._wanted[message.camera] = message, self._clock.monotonic() + PATIENCE, sent

    def poll(self, publish: Publish) -> None:
        """Send what is due."""
        if self.live:
            self._read()
        now = self._clock.monotonic()
        for camera, jpeg in list(self._newest.items()):
            if now - self._sent_at.get(camera, float("-inf")) >= self._every:
                self._sent_at[camera] = now
                del self._newest[camera]
                publish(self._layout.of(camera, "picture"), jpeg, False)
        if self._wanted and now - self._looked_at >= LOOK_EVERY:
            self._looked_at = now
            self._look(now, publish)

    def _read(self) -> None:
        if self._subscriber is None:
            self._subscriber = self._publisher.subscriber(["preview/"])
        for _ in range(MOST_AT_ONCE):
            message = self._subscriber.receive(0.0)
            if message is None:
                return
            if isinstance(message, PreviewMessage) and self._wants(message.camera):
                data = message.jpeg
                if len(data) <= LARGEST and data.startswith(b"\xff\xd8\xff"):
                    self._newest[message.camera] = data

    def _wants(self, camera: str) -> bool:
        known = camera in self._newest or camera in self._sent_at
        if not known and len(self._newest.keys() | self._sent_at.keys()) >= MOST_CAMERAS:
            return False
        return self._events.wants_camera(camera)

    def _look(self, now: float, publish: Publish) -> None:
        """Snapshots that are there by now, or anew."""
        folder = self.folder
        for camera, (message, until, sent) in list(self._wanted.items()):
            path = None if folder is None else find(folder, camera, message.id, message.started_at).snapshot
            try:
                if path is not None and path.stat().st_mtime_ns != sent and path.stat().st_size <= LARGEST:
                    publish(self._layout.of(camera, "event_picture"), path.read_bytes(), True)
                    self._wanted[camera] = message, until, path.stat().st_mtime_ns
            except OSError:  # removed meanwhile
                until = now
            if now >= until:
                del self._wanted[camera]

    def close(self) -> None:
        if self._subscriber is not None:
            self._subscriber.close()
            self._subscriber = None
