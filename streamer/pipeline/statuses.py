"""Each camera's last status, published in order with the last change of its words."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from streamer.pipeline.results import Feed
from streamer.types import CameraState, CameraStatus, Tracks

if TYPE_CHECKING:
    from streamer.capture import Camera

BROKEN = (CameraState.STALLED, CameraState.RECONNECTING)


class CameraStatuses:
    """Thread-safe; the feed gets one status at a time.

    Args:
        feed: gets each status.
        lost: called with a camera and the reason when its video breaks off, or its picture becomes unusable.
    """

    def __init__(self, feed: Feed[CameraStatus], lost: Callable[[str, str], None]) -> None:
        self._feed = feed
        self._lost = lost
        self._lock = threading.Lock()  # guards what is below, and is held by nobody who tells
        self._last: dict[str, CameraStatus] = {}
        self._tellers: dict[str, object] = {}  # camera -> who may tell of it
        self._labels_changed: dict[str, Mapping[str, Any]] = {}
        self._following: dict[str, int] = {}
        self._waiting: deque[CameraStatus] = deque()
        self._delivering = threading.Lock()  # held by the one thread that tells what waits

    def all(self) -> tuple[CameraStatus, ...]:
        """The last status of each camera, in the order of their first."""
        with self._lock:
            return tuple(self._last.values())

    def teller(self, camera: str) -> Callable[[CameraStatus], None]:
        """What a camera tells its changes with, on its own thread, until it is forgotten: one whose threads
        end late is not heard of any more.
        """
        with self._lock:
            token = self._tellers[camera] = object()
        return partial(self.changed, token=token)

    def changed(self, status: CameraStatus, token: object = None) -> None:
        """A camera has changed. `token`: of a teller."""
        with self._lock:
            if token is not None and self._tellers.get(status.camera) is not token:
                return
            before = self._last.get(status.camera)
            if before is not None and _same(before, status) and status.captured < before.captured:
                return  # only its numbers are new, and there are newer ones
            self._take(status)
        self._deliver()
        reason = _why_lost(before, status)
        if reason is not None:
            self._lost(status.camera, reason)

    def refresh(self, camera: Camera) -> None:
        """Bring a camera's numbers up to date; its changes are its own thread's to tell."""
        with self._lock:
            status = camera.status  # read here, so that nobody can tell a newer one before it
            before = self._last.get(status.camera)
            if before is None or not _same(before, status):
                return
            self._take(status)
        self._deliver()

    def labels_changed(self, camera: str, change: Mapping[str, Any]) -> None:
        """A camera is asked for other words now; every status tells of it from here on."""
        with self._lock:
            self._labels_changed[camera] = change
            if (status := self._last.get(camera)) is not None:
                self._take(status)
        self._deliver()

    def forget(self, camera: str) -> None:
        """It has gone, and will tell nothing more."""
        with self._lock:
            self._last.pop(camera, None)
            self._tellers.pop(camera, None)
            self._labels_changed.pop(camera, None)
            self._following.pop(camera, None)

    def tracks(self, tracks: Tracks) -> None:
        """Who is followed now; told with the next status."""
        self._following[tracks.camera] = len(tracks.tracks)

    def _take(self, status: CameraStatus) -> None:
        change = self._labels_changed.get(status.camera)
        told = replace(status, labels_changed=change) if change else status
        if (following := self._following.get(status.camera)) is not None:
            running = status.state is CameraState.RUNNING and status.picture == "ok"
            told = replace(told, following=following if running else 0)
        self._last[status.camera] = told
        self._waiting.append(told)

    def _deliver(self) -> None:
        while self._waiting and self._delivering.acquire(blocking=False):
            try:
                while self._waiting:
                    self._feed.publish(self._waiting.popleft())
            finally:
                self._delivering.release()


def _same(one: CameraStatus, other: CameraStatus) -> bool:
    """Whether two statuses differ in their numbers only."""
    return _state_of(one) == _state_of(other)


def _state_of(status: CameraStatus) -> tuple[object, ...]:
    return (
        status.state,
        status.since,
        status.detail,
        status.code,
        status.width,
        status.height,
        status.picture,
        status.reconnects,
    )


def _why_lost(before: CameraStatus | None, now: CameraStatus) -> str | None:
    """Why nothing is seen any more, where something was."""
    if now.state in BROKEN:
        return None if before is not None and before.state in BROKEN else f"camera {now.state}"
    if now.picture != "ok" and (before is None or before.picture != now.picture):
        return f"picture {now.picture}"
    return None
