"""Builds the stages, starts them in order, stops them in reverse.

    with Pipeline(config) as pipeline:
        result = pipeline.run(stop)    # until `stop` is set, or no camera is left

The bus comes first: a busy port is known at once, and subscribers see the cameras come. Then the models, then
the cameras, whose frames are kept in the form that the models need.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamer.config import CameraConfig, Config, Pace
from streamer.errors import ConfigError, ModelError
from streamer.labels.label_files import load_labels
from streamer.labels.label_set import LabelSet
from streamer.metrics.counters import Counters
from streamer.pipeline.camera_edits import CameraEdits, with_camera
from streamer.pipeline.label_changes import LabelChanges, LabelEdits
from streamer.pipeline.lane_pool import Lanes, Load
from streamer.pipeline.results import Ending, Feed, RunResult
from streamer.pipeline.run_answers import RunAnswers
from streamer.pipeline.running_cameras import RunningCameras
from streamer.pipeline.statuses import CameraStatuses
from streamer.recording.event_pictures import EventPictures
from streamer.recording.privacy import Privacy
from streamer.system import memory, threads
from streamer.system.clock import SYSTEM_CLOCK, Clock
from streamer.types import CameraStatus, Event, LaneResult, PublisherState, Stats, Tracks

if TYPE_CHECKING:
    from streamer.bus import Publisher, Sink
    from streamer.bus.requests import Peer
    from streamer.recognition.recognizer import Recognizer
    from streamer.recording.uncertain_windows import UncertainWindows

log = logging.getLogger(__name__)

TICK = 0.2  # seconds between looks at what has changed or ended
JOIN = 0.8  # seconds given to each kind of thread; a native call that hangs is left behind


class Pipeline:
    """Cameras in, messages out. A context manager; `run` once; `add` and `remove` change the cameras.

    Args:
        config: everything; see `streamer.config`.
        recognizer: used instead of loading `config.model` (tests, own models).
        load: makes a model's recognizer; None: each model is loaded here, and closed at the end.
        sinks: get every message as sent on the bus.
        clock: injected time.
        config_file: where the configuration came from; with `reload`, which reads it again, cameras and words
            (`labels`) that are edited there are taken over while it runs.
        admit: what the message of an event's phase carries besides; None: it is not published.
        endless: it waits for cameras where there are none, and goes on when all have ended.

    Raises (on entering):
        BusError: the endpoint cannot be bound, or keys are missing.
        ConfigError: pictures cannot be written where `recording` says.
    """

    def __init__(
        self,
        config: Config,
        *,
        recognizer: Recognizer | None = None,
        load: Load | None = None,
        sinks: Sequence[Sink] = (),
        clock: Clock = SYSTEM_CLOCK,
        config_file: Path | None = None,
        reload: Callable[[], Config] | None = None,
        endless: bool = False,
        admit: Callable[[Event], Mapping[str, Any] | None] | None = None,
    ) -> None:
        self._config = config
        self._endless, self._admit = endless, admit
        self._names = load_labels(config.language, config.label_set)
        self._sinks = sinks
        self._clock = clock
        self._results: Feed[LaneResult] = Feed()
        self._status_feed: Feed[CameraStatus] = Feed()
        self.tracks: Feed[Tracks] = Feed()  # who is where in each picture, before it is recorded or shown
        loader = load if recognizer is None else lambda *_: recognizer
        self._lanes = Lanes(
            config, self._names, self._results.publish, loader, self._loaded, clock, self.tracks.publish
        )
        self._statuses = CameraStatuses(self._status_feed, self._lanes.lost)
        self._abandoned = False
        self._ready_since: float | None = None
        self._last_loop = clock.monotonic()
        self._counters = Counters(clock=clock)
        self._cameras = RunningCameras(
            self._lanes, self._statuses, self._counters, self._show,
            lambda name: self._publisher.forget(name), clock,
        )  # fmt: skip
        self._camera_edits = CameraEdits(self)
        self._adding = threading.Lock()  # one camera comes at a time; it may have to wait for its model
        self._editing = threading.Lock()  # one camera comes or goes at a time, which takes moments
        self._edits = LabelEdits(config, config_file, reload, self._camera_edits.edited)
        self._read = threading.Event()  # the first cameras are being read: others may come
        self._changes = LabelChanges(self._lanes.of, self._words_changed, self.warn, clock.wall)
        self._answers = RunAnswers(config, self._names, lambda camera: self._lanes.of.get(camera, ()))
        self._privacy = Privacy(config)
        self._uncertain: UncertainWindows | None = None
        if config.uncertain.folder:
            from streamer.recording.uncertain_windows import UncertainWindows

            self._uncertain = UncertainWindows(
                config.uncertain, note=self.warn, clock=clock, privacy=self._privacy,
                reduce_of=self._lanes.reduce_of,
            )  # fmt: skip

    def __enter__(self) -> Pipeline:
        from streamer.bus import Publisher

        memory.prepare()
        threads.prepare()
        self._pictures = EventPictures(
            self._config, name=self._names.display, note=self.warn, clock=self._clock, privacy=self._privacy
        )
        self._publisher: Publisher = Publisher(
            self._config.bus,
            self._config.journal,
            sinks=self._sinks,
            clock=self._clock,
            on_problem=self.warn,
            complete=self._config.pace is Pace.FAST,
            handlers={"labels": self._changes.answer, "mark": self._mark, **self._answers.handlers},
            admit=self._admit,
            display=self._names.display if self._names != LabelSet() else None,
        )
        self._publisher.__enter__()
        self.tracks.subscribe(self._privacy.followed.tracks)
        self._results.subscribe(self._privacy.followed.result)
        if self._uncertain is not None:
            self._results.subscribe(self._uncertain.result)
        self._results.subscribe(self._pictures.result)  # before the publisher, which may make a lane wait
        self._results.subscribe(self._publisher.result)
        self._results.subscribe(self._counters.result)
        self._results.subscribe(self._answers.history.result)
        self.tracks.subscribe(self._statuses.tracks)
        self.tracks.subscribe(self._counters.tracks)
        self._status_feed.subscribe(self._publisher.status)
        self._status_feed.subscribe(self._counters.camera_status)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_stages("stopped")
        self._publisher.__exit__(None, None, None)

    @property
    def endpoint(self) -> str:
        """The PUB socket's address, "" without a bus."""
        return self._publisher.endpoint

    @property
    def bus(self) -> PublisherState:
        """How the bus is at this moment; any thread."""
        return self._publisher.state()

    @property
    def abandoned(self) -> bool:
        """True when a hanging native call was left behind: the process should leave by `os._exit`."""
        return self._abandoned or self._cameras.abandoned

    def warn(self, text: str) -> None:
        """Something the user should know: on the screen and in the log."""
        log.warning("%s", text)
        self._counters.note(text)

    def stats(self) -> Stats:
        """A consistent picture of everything, for screen, health and metrics; any thread."""
        return self._counters.stats(
            self._cameras.by_name, publisher=self._publisher.state(),
            recording=self._pictures.stats,
            uncertain=None if self._uncertain is None else self._uncertain.stats,
            ready_since=self._ready_since,
            last_loop=self._last_loop,
        )  # fmt: skip

    # --- cameras that come and go ---

    @property
    def config(self) -> Config:
        """The configuration as it is now: `cameras` are those that are watched, or are to be."""
        return self._config

    def add(self, camera: CameraConfig, config: Config | None = None) -> None:
        """Watch one more camera, while `run` runs; any thread. Returns when it is being opened, after its
        model is loaded. The others go on without a break, and may go meanwhile.

        Args:
            config: where what the camera inherits has changed: its model, events, privacy count.

        Raises:
            ConfigError: there is one of this name, its settings do not fit its model, or nothing runs.
            ModelError: its model cannot be loaded.
        """
        if not self._read.is_set():
            raise ConfigError(f"cannot add camera {camera.name}: the program does not watch yet")
        common = self._config if config is None else config
        with self._adding:
            self._cameras.check(camera.name)
            self._lanes.load(camera, with_camera(self._config, camera, common))
            with self._editing:
                wanted = with_camera(self._config, camera, common)
                self._privacy.learn(wanted)  # before its first picture
                made = self._cameras.make(wanted, camera, self._pictures)
                self._config = self._answers.config = wanted
                self._start_lanes()
                self._cameras.start(made)

    def remove(self, name: str, reason: str = "camera removed") -> bool:
        """Watch a camera no longer; any thread. Its open events end for `reason`, its model stays loaded.
        False where there is no such camera.
        """
        with self._editing:
            left = tuple(camera for camera in self._config.cameras if camera.name != name)
            if removed := self._cameras.remove(name, reason):
                self._config = self._config.model_copy(update={"cameras": left})
            return removed

    def picture(self, camera: str) -> Any:
        """A camera's newest full-size picture as it may be shown, uint8 BGR (H, W, 3), or None."""
        newest = self._cameras.newest_picture(camera)
        return None if newest is None else self._privacy.picture(camera, *newest)

    def snapshot(self, camera: str) -> Path | None:
        """Keep a camera's newest picture where events' pictures are kept: its file, or None."""
        return self._pictures.snapshot(camera, self.picture(camera))

    def run(self, stop: threading.Event) -> RunResult:
        """Watch until `stop` is set, `duration` has passed or no camera is left.

        At an end that nobody asked for, files played fast wait for whoever reads the messages; until `stop`
        is set.

        Raises:
            ConfigError: nothing to watch, or settings that the models do not fit.
        """
        cameras = [camera for camera in self._config.cameras if camera.enabled]
        if not cameras and not self._endless:
            raise ConfigError("no camera is enabled: name a source, or enable one under cameras:")
        for camera in cameras:
            self._cameras.waiting(camera.name)
        ending, error = Ending.STOPPED, None
        try:
            if cameras and not self._cameras.any_can_be_had(cameras, self._config.capture.give_up):
                ending = Ending.COMPLETE
            elif self._lanes.load_all(cameras, stop):
                self._start(cameras)
                ending = self._watch(stop)
            else:
                self._abandoned = True  # the model goes on loading
        except ModelError as failure:
            ending, error = Ending.FAILED, failure
        finally:
            seen = {status.camera: status for status in self._statuses.all()}
            seen.update((camera.config.name, camera.status) for camera in self._cameras.all())
            self._stop_stages("stopped")
            self._publisher.close(None if ending is Ending.STOPPED else stop)
        return RunResult(ending, tuple(seen.values()), error, self._publisher.state().lost)

    # --- start ---

    def _loaded(self, recognizer: Recognizer) -> None:
        self._counters.model(recognizer.spec)
        for note in recognizer.spec.notes:
            self.warn(note)

    def _start(self, cameras: Sequence[CameraConfig]) -> None:
        made = [self._cameras.make(self._config, camera, self._pictures) for camera in cameras]
        self._start_lanes()
        self._changes.start()
        if self._uncertain is not None:
            self._uncertain.start()
        self._pictures.start(
            lambda: tuple(self._cameras.by_name), self._cameras.newest_picture, self._publisher.preview
        )
        for started in made:
            self._cameras.start(started)
        self._read.set()
        self._last_loop = self._ready_since = self._clock.monotonic()

    def _start_lanes(self) -> None:
        for lane in self._lanes.start():
            self._counters.lane(lane.recognizer.spec.name, lane.windows)

    def _show(self, labels: Iterable[str]) -> None:
        """Let the screen know the display names of labels."""
        names = ((label, self._names.display(label)) for label in labels)
        self._counters.names({label: name for label, name in names if name != label})

    # --- life ---

    def _watch(self, stop: threading.Event) -> Ending:
        duration = self._config.duration
        trimmed = self._clock.monotonic()
        until = None if duration is None else trimmed + duration
        while not self._clock.wait(stop, TICK):
            self._last_loop = self._clock.monotonic()
            self._cameras.refresh()
            if self._clock.monotonic() - trimmed >= memory.TRIM_EVERY:
                memory.trim()
                trimmed = self._clock.monotonic()
            self._edits.observe(self._lanes.of, self._changes, self.warn)
            for lane in self._lanes.all():
                if lane.thread.error is not None:
                    raise lane.thread.error
            if until is not None and self._clock.monotonic() >= until:
                return Ending.DURATION
            done = self._cameras.all_done(self._config.capture.give_up)  # every one gets its look
            if done and not self._endless and not self._camera_edits.busy:
                return Ending.COMPLETE
        return Ending.STOPPED

    # --- requests and changes ---

    def _mark(self, request: Mapping[str, Any], peer: Peer) -> Mapping[str, Any]:
        """`op: mark`; the bus thread."""
        from streamer.recording.uncertain_windows import answer

        return answer(self._uncertain, request, peer)

    def _words_changed(self, camera: str, change: dict[str, Any]) -> None:
        """A camera is asked for other words now; the lane's thread."""
        self._show(change["labels"])
        self._statuses.labels_changed(camera, change)
        log.info("%s: labels are now %s", camera, ", ".join(change["labels"]))

    # --- stop ---

    def _stop_stages(self, reason: str) -> None:
        self._publisher.stop_waiting()  # a lane that waits for a slow reader could not end
        self._abandoned |= not self._pictures.stop_previews()
        self._abandoned |= not self._camera_edits.stop(JOIN / 4)
        self._changes.stop(JOIN / 4)  # texts that are being computed are of no use to anybody now
        self._cameras.stop()
        self._lanes.ask_to_stop()
        until = self._clock.monotonic() + JOIN  # one deadline: all were asked at once
        self._cameras.join(until)
        self._abandoned |= not self._lanes.stop(until, reason)
        self._abandoned |= not self._pictures.stop()
        if self._uncertain is not None:
            self._uncertain.stop(JOIN / 2)
