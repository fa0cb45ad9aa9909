"""A lane: one model, its inference thread, and the windows and events of the cameras it watches.

A camera's frames come in on its capture thread (`deliver`), windows are computed on the lane's thread, and
predictions and events leave through the outlet.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from streamer.config import CameraConfig, EventsConfig, ModelConfig
from streamer.events import EventTracker
from streamer.recognition import Recognizer
from streamer.recognition.worker import InferenceThread
from streamer.types import Event, Frame, Moment, Prediction
from streamer.windows import Windows

FRAMES_PER_INTERVAL = 8  # kept: the frame nearest to a wanted time is then at most interval/16 away
LEAST_RATE = 10.0  # frames/s kept at least, so that the newest frame is fresh
HOPS_PER_SPAN, SHORTEST_HOP, LONGEST_HOP = 7, 0.1, 0.5  # the default hop; seconds
GPU_BATCH = 8  # windows in one forward where that is nearly free


class Outlet(Protocol):
    """Where a lane's results go; called on the lane's thread, must not block."""

    def prediction(self, prediction: Prediction, tracker: EventTracker) -> None: ...

    def event(self, event: Event) -> None: ...


def default_hop(span: float) -> float:
    """Seconds between windows where the user has not said: short spans are looked at more often."""
    return max(SHORTEST_HOP, min(LONGEST_HOP, span / HOPS_PER_SPAN))


class Lane:
    """One recognizer and its cameras.

    Args:
        complete: nothing is skipped (files played fast): a full lane makes `deliver` wait.
    """

    def __init__(self, recognizer: Recognizer, model: ModelConfig, outlet: Outlet, *, complete: bool) -> None:
        self.recognizer = recognizer
        self.hop = model.hop or default_hop(recognizer.spec.span)
        self.top = model.top
        self._outlet = outlet
        self._complete = complete
        self._lock = threading.Lock()  # guards the trackers: scores and losses come on different threads
        self._trackers: dict[str, EventTracker] = {}
        self._last: dict[str, Moment] = {}
        self.windows: dict[str, Windows] = {}
        batch = GPU_BATCH if recognizer.spec.device.startswith("cuda") else 1
        self.thread = InferenceThread(
            recognizer, self.windows, self._predicted, batch=batch, motion_gate=model.motion_gate
        )

    @property
    def rate(self) -> float:
        """Frames a second worth keeping."""
        return max(LEAST_RATE, FRAMES_PER_INTERVAL / self.recognizer.spec.interval)

    def add(self, camera: CameraConfig, events: EventsConfig) -> Callable[[Frame], bool]:
        """Watch a camera; returns what takes its frames. Before `thread.start()`.

        Raises:
            ConfigError: a label that the config names is not one of the model's.
        """
        spec = self.recognizer.spec
        self._trackers[camera.name] = EventTracker(
            camera.name, spec.name, spec.labels, events, independent=spec.independent
        )
        windows = Windows(camera.name, spec.frames, spec.interval, self.hop, self._complete)
        windows.on_ready = self.thread.notify
        self.windows[camera.name] = windows
        return windows.add

    def lost(self, camera: str, reason: str) -> None:
        """A camera's video broke off: its open events end now."""
        with self._lock:
            if (at := self._last.get(camera)) is not None:
                self._publish(self._trackers[camera].end_all(at, reason))

    def drain(self, camera: str) -> bool:
        """Its video has ended: True once its last window is computed; its events have then ended too."""
        self.windows[camera].close()
        if not self.windows[camera].finished or self.thread.busy_with(camera):
            return False
        self.lost(camera, "video ended")
        return True

    def stop(self, deadline: float, reason: str) -> bool:
        """End the thread and every open event; False if a forward still runs after `deadline` seconds."""
        for windows in self.windows.values():
            windows.close()
        self.thread.stop()
        if self.thread.ident is not None:
            self.thread.join(deadline)
        for camera in self.windows:
            self.lost(camera, reason)
        ended = not self.thread.is_alive()
        if ended:
            self.recognizer.close()
        return ended

    def _predicted(self, prediction: Prediction) -> None:
        newest = prediction.window.frames[-1]
        with self._lock:
            tracker = self._trackers[prediction.camera]
            changes = tracker.update(prediction)
            self._last[prediction.camera] = Moment(newest.time, newest.wall, newest.media_time)
            self._outlet.prediction(prediction, tracker)
            self._publish(changes)

    def _publish(self, changes: list[Event]) -> None:
        for event in changes:
            self._outlet.event(event)
