"""A lane: one model, its inference thread, and the windows and events of the cameras it watches.

A camera's frames come in on its capture thread (`deliver`), windows are computed on the lane's thread, and
predictions and events leave through the outlet.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.config import CameraConfig, EventsConfig, ModelConfig
from streamer.events.event_settings import events_for
from streamer.events.tracker import EventTracker
from streamer.labels.label_set import LabelSet
from streamer.labels.model_labels import ModelLabels
from streamer.recognition.inference_thread import InferenceThread
from streamer.recognition.recognizer import Recognizer
from streamer.types import Event, Frame, Moment, Prediction
from streamer.windows.windows import Windows

if TYPE_CHECKING:
    from streamer.recognition.words.text_embeddings import TextEmbeddings
    from streamer.recognition.words.word_recognizers import CameraWords

NO_NAMES = LabelSet()
FRAMES_PER_INTERVAL = 8  # kept: the frame nearest to a wanted time is then at most interval/16 away
LEAST_RATE = 10.0  # frames/s kept at least, so that the newest frame is fresh
HOPS_PER_SPAN, SHORTEST_HOP, LONGEST_HOP = 7, 0.1, 0.5  # the default hop; seconds
TINY = 1e-12  # the smallest score that a temperature works on
GPU_BATCH = 8  # windows in one forward where that is nearly free


class Outlet(Protocol):
    """Where a lane's results go; called on the lane's thread, must not block."""

    def prediction(self, prediction: Prediction, tracker: EventTracker, top: int) -> None: ...

    def event(self, event: Event) -> None: ...


def default_hop(span: float) -> float:
    """Seconds between windows where the user has not said: short spans are looked at more often."""
    return max(SHORTEST_HOP, min(LONGEST_HOP, span / HOPS_PER_SPAN))


def tempered(scores: NDArray[Any], temperature: float, independent: bool) -> NDArray[Any]:
    """Scores float32 (L,) as if the logits had been divided by `temperature` before softmax (or sigmoid)."""
    powered = np.power(np.clip(scores, TINY, 1.0, dtype=np.float64), 1.0 / temperature)
    whole = powered.sum()
    if independent:
        whole = powered + np.power(np.clip(1.0 - scores, TINY, 1.0, dtype=np.float64), 1.0 / temperature)
    return np.asarray(powered / whole, dtype=np.float32)


def outcomes_of(recognizer: Recognizer, camera: str) -> ModelLabels:
    """A model's labels, or the words that a camera asks of it."""
    spec, words = recognizer.spec, recognizer.words
    if words is None:
        return ModelLabels(spec.labels, spec.thresholds, spec.ignored)
    return words.of(camera).outcomes


class Lane:
    """One recognizer and its cameras.

    Args:
        complete: nothing is skipped (files played fast): a full lane makes `deliver` wait.
    """

    def __init__(self, recognizer: Recognizer, model: ModelConfig, outlet: Outlet, *, complete: bool) -> None:
        self.recognizer = recognizer
        self.hop = model.hop or default_hop(recognizer.spec.span)
        self.top = model.top
        self._temperature = model.temperature
        self._outlet = outlet
        self._complete = complete
        self._lock = threading.Lock()  # guards the trackers: scores and losses come on different threads
        self._trackers: dict[str, EventTracker] = {}
        self._events: dict[str, tuple[EventsConfig, LabelSet]] = {}
        self._labels: dict[str, tuple[str, ...]] = {}  # camera -> its words; changed on the lane's thread
        self._last: dict[str, Moment] = {}
        self.windows: dict[str, Windows] = {}
        batch = GPU_BATCH if recognizer.spec.device.startswith("cuda") else 1
        self.thread = InferenceThread(
            recognizer,
            self.windows,
            self._predicted,
            batch=batch,
            motion_gate=model.motion_gate,
            labels=self._labels,
        )

    @property
    def rate(self) -> float:
        """Frames a second worth keeping."""
        return max(LEAST_RATE, FRAMES_PER_INTERVAL / self.recognizer.spec.interval)

    @property
    def words(self) -> CameraWords | None:
        """What its model is asked for; None for a model with labels of its own."""
        return self.recognizer.words

    def outcomes(self, camera: str) -> ModelLabels:
        """What a camera may be answered with now."""
        return outcomes_of(self.recognizer, camera)

    def prepare(self, camera: str, labels: Sequence[str]) -> None:
        """Ask for a camera's own words, where the model was loaded with others. Before `add`.

        Raises:
            ConfigError: the labels are wrong, or a prompt is too long.
        """
        from streamer.recognition.words.prompts import read_words

        words = read_words(labels)
        if self.words is not None and self.words.of(camera).words != words:
            self.ask(camera, self.words.prepare(words))

    def ask(self, camera: str, embeddings: TextEmbeddings) -> None:
        """Use other words for a camera; before `add`, or on the lane's thread."""
        if self.words is not None:
            self.words.use(camera, embeddings)
            self._labels[camera] = embeddings.labels

    def add(
        self,
        camera: CameraConfig,
        events: EventsConfig,
        names: LabelSet = NO_NAMES,
        elsewhere: Iterable[str] = (),
    ) -> Callable[[Frame], bool]:
        """Watch a camera; returns what takes its frames. Before `thread.start()`.

        `elsewhere`: labels of the camera's other models, which its events' settings may name too.

        Raises:
            ConfigError: a label that the config names is nobody's.
        """
        spec, own = self.recognizer.spec, self.outcomes(camera.name)
        self._events[camera.name] = events, names
        self._trackers[camera.name] = EventTracker(
            camera.name,
            spec.name,
            own.labels,
            events_for(events, own, names, elsewhere),
            independent=spec.independent,
            lag=spec.lag,
        )
        windows = Windows(camera.name, spec.frames, spec.interval, self.hop, self._complete)
        windows.on_ready = self.thread.notify
        self.windows[camera.name] = windows
        return windows.add

    def change_labels(self, camera: str, embeddings: TextEmbeddings, done: Callable[[], None]) -> None:
        """Ask for other words from the next window on; any thread. `done` is called on the lane's thread.

        Events of words that are gone end, the others go on; no window is dropped.
        """

        def change() -> None:
            self.ask(camera, embeddings)
            self.thread.forget_scores(camera)
            own = self.outcomes(camera)
            events, names = self._events[camera]
            # what the settings say of words that are not asked for now is of no interest
            config = events_for(events, own, names, elsewhere=None)
            with self._lock:
                at = self._last.get(camera)
                self._publish(self._trackers[camera].change_labels(own.labels, config, at, "labels changed"))
            done()

        self.thread.call(change)

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
        if self._temperature != 1.0:
            scores = tempered(prediction.scores, self._temperature, self.recognizer.spec.independent)
            prediction = replace(prediction, scores=scores)
        with self._lock:
            tracker = self._trackers[prediction.camera]
            changes = tracker.update(prediction)
            self._last[prediction.camera] = Moment(newest.time, newest.wall, newest.media_time)
            self._outlet.prediction(prediction, tracker, self.top)
            self._publish(changes)

    def _publish(self, changes: list[Event]) -> None:
        for event in changes:
            self._outlet.event(event)
