"""A lane: one model, its inference thread, and the windows and events of the cameras it watches.

A camera's frames come in on its capture thread, windows are computed on the lane's thread. That thread owns
the trackers of events too: what other threads have to say (the video broke off, other words are asked for)
waits its turn there. So what leaves is a frozen `LaneResult`, in order, from one thread, without a lock.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from streamer.config import CameraConfig, EventsConfig, FollowConfig, ModelConfig
from streamer.errors import StreamerError
from streamer.events.event_settings import events_for
from streamer.events.presence import PRESENT
from streamer.events.rules import EventLabels
from streamer.events.tracker import EventTracker
from streamer.labels.label_set import LabelSet
from streamer.labels.model_labels import ModelLabels
from streamer.pipeline.lane_people import Asked, LanePeople
from streamer.pipeline.model_rules import hop_of, outcomes_of, tempered
from streamer.pipeline.subjects import Watched, result_of, tracker_for, windows_for
from streamer.recognition.inference_thread import InferenceThread
from streamer.recognition.recognizer import Recognizer
from streamer.system.clock import SYSTEM_CLOCK, Clock
from streamer.types import Event, Frame, LaneResult, Moment, Prediction
from streamer.windows.window_source import WindowSource

if TYPE_CHECKING:
    from streamer.people.person_follower import Follower, Seen
    from streamer.recognition.words.camera_words import CameraWords
    from streamer.recognition.words.prompts import WordSet
    from streamer.recognition.words.text_embeddings import TextEmbeddings

log = logging.getLogger(__name__)

NO_NAMES = LabelSet()
FRAMES_PER_INTERVAL = 8  # kept: the frame nearest to a wanted time is then at most interval/16 away
LEAST_RATE = 10.0  # frames/s kept at least, so that the newest frame is fresh
GPU_BATCH = 8  # windows in one forward where that is nearly free


class Lane:
    """One recognizer and its cameras.

    Args:
        publish: gets what leaves, in order; called on the lane's thread, at the end on the one that stops it.
            While files are played fast it may make the lane wait.
        complete: nothing is skipped (files played fast): a full lane makes a camera wait.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        model: ModelConfig,
        publish: Callable[[LaneResult], None],
        *,
        complete: bool,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.recognizer = recognizer
        self.model_id = model.id
        self.hop = hop_of(model, recognizer.spec)
        self._top = model.top
        self._temperature = model.temperature
        self._publish = publish
        self._complete = complete
        self._clock = clock
        self._watched: dict[str, Watched] = {}
        self._labels: dict[str, tuple[str, ...]] = {}  # camera -> its words; changed on the lane's thread
        self._taking_over = threading.Lock()  # guards `_over`: a thread that hangs at the stop may come back
        self._over = False
        self.windows: dict[str, WindowSource] = {}
        batch = GPU_BATCH if recognizer.spec.device.startswith("cuda") else 1
        self.thread = InferenceThread(
            recognizer,
            self.windows,
            self._predicted,
            batch=batch,
            motion_gate=model.motion_gate,
            labels=self._labels,
            between=self._end_silent_events,
        )
        self.people = LanePeople(
            recognizer, self.thread, model.top, publish, hop=self.hop, complete=complete, clock=clock
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
            self._use(camera, self.words.prepare(words))

    def add(
        self,
        camera: CameraConfig,
        events: EventsConfig,
        names: LabelSet = NO_NAMES,
        elsewhere: Iterable[str] = (),
        *,
        follows: bool = False,
    ) -> Callable[[Frame], bool]:
        """Watch a camera; returns what takes its frames. Before the start or after it; one thread at a time.

        `elsewhere`: labels of the camera's other models, which its events' settings may name too. `follows`:
        people are followed on it; see `follow`.

        Raises:
            ConfigError: a label that the config names is nobody's.
        """
        own = self.outcomes(camera.name)
        settings = events_for(events, own, names, (*elsewhere, PRESENT))
        tracker = tracker_for(self.recognizer.spec, camera.name, own.labels, settings, follows=follows)
        windows = windows_for(self.recognizer.spec, camera.name, self.hop, self._complete)
        if follows:
            from streamer.people.shared_windows import SharedWindows

            windows = SharedWindows(windows)
        windows.on_ready = self.thread.notify
        self._watched[camera.name] = Watched(windows, tracker, events, names, follows)
        self.windows[camera.name] = windows  # last: from now on it is taken from
        return windows.add

    def follow(
        self, camera: str, follower: Follower, follow: FollowConfig, *, says_present: bool
    ) -> Callable[[Frame, Seen], None]:
        """Look at each of a camera's people by themselves too; returns what takes its whole frames, and who
        is in them. After `add` with `follows`.

        `says_present`: their `present` events are this lane's.
        """
        watched = self._watched[camera]

        def tracker() -> EventTracker:
            own = self.outcomes(camera)
            settings = self._settings_for(watched, own)
            return tracker_for(self.recognizer.spec, camera, own.labels, settings, follows=True)

        asked = Asked(watched.windows, follower, follow, tracker)
        return self.people.add(camera, asked, watched.events if says_present else None)

    # --- from other threads ---

    def check_words(self, camera: str, words: WordSet) -> None:
        """Whether a camera may be asked for these words: the model can read them, the settings fit them.

        Raises:
            ConfigError: a prompt is too long, or a label is a group's name too.
        """
        watched = self._watched.get(camera)  # None: it was removed meanwhile
        if self.words is not None and watched is not None:
            self.words.check(words)
            settings = self._settings_for(watched, words.model_labels)
            EventLabels(self.recognizer.spec.name, words.labels, settings)

    def change_labels(
        self,
        camera: str,
        embeddings: TextEmbeddings,
        done: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Ask for other words from the next window on; any thread. `done` or `failed` is called on the
        lane's thread.

        Events of words that are gone end, the others go on; no window is dropped.
        """

        def change() -> None:
            watched = self._watched.get(camera)
            if watched is None:
                return  # it was removed meanwhile
            try:
                settings = self._settings_for(watched, embeddings.outcomes)
                changes = watched.tracker.change_labels(
                    embeddings.labels, settings, watched.newest, "labels changed"
                )
            except Exception as error:  # noqa: BLE001 - what somebody asked for may not end the run
                failed(error)
                return
            self.people.change_labels(
                camera,
                lambda tracker: tracker.change_labels(embeddings.labels, settings, None, "labels changed"),
            )
            self._use(camera, embeddings)
            self.thread.forget_scores(camera)
            self._publish_result(camera, changes)
            done()

        self.thread.call(change)

    def lost(self, camera: str, reason: str) -> None:
        """A camera's video broke off, or its picture is unusable: its open events end, and windows that were
        captured before come too late. Any thread; returns at once.
        """
        if (watched := self._watched.get(camera)) is not None:
            watched.lost_at = self._clock.monotonic()
            self.thread.call(partial(self._end, camera, reason))

    def fail(self, error: StreamerError) -> None:
        """What it needs is broken: the run ends with this error. Any thread."""
        self.thread.error = error

    def drain(self, camera: str) -> bool:
        """Its video has ended: True once its last window is computed and its events have ended."""
        watched = self._watched.get(camera)
        if watched is None:
            return True  # it was removed
        watched.windows.close()
        if watched.windows.finished and not self.thread.busy_with(camera) and not watched.draining:
            watched.draining = True
            self.thread.call(partial(self._end, camera, "video ended"))
        return watched.drained

    def remove(self, camera: str, reason: str) -> threading.Event:
        """Watch a camera no longer; any thread. Its events end on the lane's thread, after the forward in
        progress, and then what is returned is set.
        """
        done, leaving = threading.Event(), self._watched.get(camera)

        def remove() -> None:
            if leaving is None or self._watched.get(camera) is not leaving:
                done.set()
                return
            try:
                self._end(camera, reason)
            finally:
                self.people.remove(camera)
                self.windows.pop(camera, None)
                self._watched.pop(camera, None)
                self._labels.pop(camera, None)
                self.thread.forget_scores(camera)
                self.recognizer.forget(camera)
                done.set()

        self.thread.call(remove)
        return done

    def ask_to_stop(self) -> None:
        """No more windows; returns at once. Frees a capture thread that waits for room."""
        for windows in list(self.windows.values()):
            windows.close()
        self.thread.stop()

    def stop(self, until: float, reason: str) -> bool:
        """End the thread and every open event; False if a forward still runs at `until` (monotonic)."""
        self.ask_to_stop()
        if self.thread.ident is not None:
            self.thread.join(max(0.0, until - self._clock.monotonic()))
        with self._taking_over:
            self._over = True
        for camera in list(self._watched):
            self._end(camera, reason)
        ended = not self.thread.is_alive()
        if ended:
            self.recognizer.close()
        return ended

    # --- on the lane's thread ---

    def _predicted(self, prediction: Prediction) -> None:
        watched, newest = self._watched[prediction.camera], prediction.window.frames[-1]
        if newest.captured <= watched.lost_at:
            return  # from before the video broke off: its events have ended
        if watched.follows and prediction.track is None:
            prediction = replace(prediction, window=replace(prediction.window, follows=True))
        if self._temperature != 1.0:
            scores = tempered(prediction.scores, self._temperature, self.recognizer.spec.independent)
            prediction = replace(prediction, scores=scores)
        with self._taking_over:
            if self._over:
                return
            changes = None if prediction.track else watched.tracker.update(prediction)
        if changes is None:
            self.people.predicted(prediction)
            return
        watched.newest = Moment(newest.time, newest.wall, newest.media_time)
        watched.heard_at = self._clock.monotonic()
        self._publish_result(prediction.camera, changes, prediction)

    def _end(self, camera: str, reason: str) -> None:
        """End a camera's open events."""
        watched = self._watched.get(camera)
        if watched is None:
            return
        self.people.end(camera, reason)
        if watched.newest is not None:
            self._publish_result(camera, watched.tracker.end_all(watched.newest, reason))
        watched.drained = watched.draining

    def _end_silent_events(self) -> None:
        """Nothing has been recognised for long, though nobody said why: events do not stay open for ever."""
        self.people.look()
        if self._complete:  # time there is the file's
            return
        now = self._clock.monotonic()
        for camera, watched in list(self._watched.items()):
            if now > watched.heard_at:
                self._publish_result(camera, watched.tracker.end_silent(now - watched.heard_at))

    def _use(self, camera: str, embeddings: TextEmbeddings) -> None:
        """Use other words for a camera; before `add`, or on the lane's thread."""
        if self.words is not None:
            self.words.use(camera, embeddings)
            self._labels[camera] = embeddings.labels

    def _settings_for(self, watched: Watched, outcomes: ModelLabels) -> EventsConfig:
        """A camera's settings for words that it is asked for while running: what they say of others is of no
        interest then.
        """
        return events_for(watched.events, outcomes, watched.names, elsewhere=None)

    def _publish_result(
        self, camera: str, changes: Sequence[Event], prediction: Prediction | None = None
    ) -> None:
        """Let a result leave, if there is anything to say."""
        if prediction is None and not changes:
            return
        tracker = self._watched[camera].tracker
        model = self.recognizer.spec.name
        self._publish(result_of(camera, model, tracker, self._top, prediction, changes))
