"""Builds the stages, starts them in order, stops them in reverse.

    with Pipeline(config) as pipeline:
        result = pipeline.run(stop)    # until `stop` is set, or no camera is left

The bus comes first, so that a busy port is known at once and subscribers see the cameras come; then the
models; then the cameras, whose frames are kept in the form that the models need.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamer.config import CameraConfig, Config, Pace
from streamer.errors import ConfigError, ModelError, SourceOpenError
from streamer.labels.label_files import load_labels
from streamer.labels.label_set import LabelSet
from streamer.metrics.counters import Counters
from streamer.pipeline.label_changes import LabelChanges, LabelEdits
from streamer.pipeline.lane_pool import Lanes, Load
from streamer.pipeline.results import Ending, Feed, RunResult
from streamer.pipeline.run_answers import RunAnswers
from streamer.pipeline.statuses import CameraStatuses
from streamer.recording.event_pictures import EventPictures
from streamer.recording.privacy import Privacy
from streamer.system import memory, threads
from streamer.system.clock import SYSTEM_CLOCK, Clock
from streamer.types import CameraState, CameraStatus, LaneResult, Stats, Tracks

if TYPE_CHECKING:
    from streamer.bus import Publisher, Sink
    from streamer.bus.requests import Peer
    from streamer.capture import Camera
    from streamer.recognition.recognizer import Recognizer
    from streamer.recording.uncertain import UncertainWindows

log = logging.getLogger(__name__)

TICK = 0.2  # seconds between looks at what has changed or ended
JOIN = 0.8  # seconds given to each kind of thread; a native call that hangs is left behind
FINAL = (CameraState.ENDED, CameraState.FAILED)
UNMENDABLE = ("auth_failed", "not_found", "codec", "permission")


class Pipeline:
    """Cameras in, messages out. A context manager; `run` once.

    Args:
        config: everything; see `streamer.config`.
        recognizer: used instead of loading `config.model` (tests, own models).
        load: makes a model's recognizer; None: each model is loaded here, and closed at the end.
        sinks: get every message as sent on the bus.
        clock: injected time.
        config_file: where the configuration came from; with `reload`, which reads it again, words (`labels`)
            that are edited there are taken over while it runs.

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
    ) -> None:
        self._config = config
        self._names = load_labels(config.language, config.label_set)
        self._sinks = sinks
        self._clock = clock
        self._cameras: dict[str, Camera] = {}
        self._results: Feed[LaneResult] = Feed()
        self._status_feed: Feed[CameraStatus] = Feed()
        self._tracks: Feed[Tracks] = Feed()  # who is where in each picture, before it is recorded or shown
        loader = load if recognizer is None else lambda *_: recognizer
        self._lanes = Lanes(config, self._names, self._results.publish, loader, self._loaded, clock)
        self._statuses = CameraStatuses(self._status_feed, self._lanes.lost)
        self._edits = LabelEdits(config, config_file, reload)
        self._abandoned = False
        self._ready_since: float | None = None
        self._last_loop = clock.monotonic()
        self._counters = Counters(clock=clock)
        self._changes = LabelChanges(self._lanes.of, self._words_changed, self.warn, clock.wall)
        self._answers = RunAnswers(config, self._names, lambda camera: self._lanes.of.get(camera, ()))
        self._privacy = Privacy(config)
        self._uncertain: UncertainWindows | None = None
        if config.uncertain.folder:
            from streamer.recording.uncertain import UncertainWindows

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
            display=self._names.display if self._names != LabelSet() else None,
        )
        self._publisher.__enter__()
        self._tracks.subscribe(self._privacy.followed.tracks)
        self._results.subscribe(self._privacy.followed.result)
        if self._uncertain is not None:
            self._results.subscribe(self._uncertain.result)
        self._results.subscribe(self._pictures.result)  # before the publisher, which may make a lane wait
        self._results.subscribe(self._publisher.result)
        self._results.subscribe(self._counters.result)
        self._results.subscribe(self._answers.history.result)
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
    def abandoned(self) -> bool:
        """True when a hanging native call was left behind: the process should leave by `os._exit`."""
        return self._abandoned

    def warn(self, text: str) -> None:
        """Something the user should know: on the screen and in the log."""
        log.warning("%s", text)
        self._counters.note(text)

    def stats(self) -> Stats:
        """A consistent picture of everything, for screen, health and metrics; any thread."""
        return self._counters.stats(
            self._cameras,
            publisher=self._publisher.state(),
            recording=self._pictures.stats,
            uncertain=None if self._uncertain is None else self._uncertain.stats,
            ready_since=self._ready_since,
            last_loop=self._last_loop,
        )

    def _newest_picture(self, camera: str) -> tuple[Any, float] | None:
        """A camera's newest full-size picture, uint8 BGR (H, W, 3), with its time; nothing is hidden."""
        return self._cameras[camera].newest_picture() if camera in self._cameras else None

    def picture(self, camera: str) -> Any:
        """A camera's newest full-size picture as it may be shown, uint8 BGR (H, W, 3), or None."""
        newest = self._newest_picture(camera)
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
        if not cameras:
            raise ConfigError("no camera is enabled: name a source, or enable one under cameras:")
        for camera in cameras:
            waiting = CameraStatus(
                camera.name, CameraState.CONNECTING, self._clock.wall(), "waiting for the model"
            )
            self._statuses.changed(waiting)
        ending, error = Ending.STOPPED, None
        try:
            if not self._any_can_be_had(cameras):
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
            seen.update((name, camera.status) for name, camera in self._cameras.items())
            self._stop_stages("stopped")
            self._publisher.close(None if ending is Ending.STOPPED else stop)
        return RunResult(ending, tuple(seen.values()), error, self._publisher.state().lost)

    # --- start ---

    def _any_can_be_had(self, cameras: Sequence[CameraConfig]) -> bool:
        """A mistyped file name is said at once, not after the model is loaded."""
        from streamer.capture import check_source, kind_of

        failed = []
        for camera in cameras:
            try:
                # a live source may come at any time, and its password's file too: it is tried for ever
                if self._config.capture.give_up or not kind_of(camera).live:
                    check_source(camera)
            except SourceOpenError as error:
                failed.append((camera.name, error))
        if len(failed) < len(cameras):
            return True
        for name, reason in failed:
            detail = str(reason).removeprefix(f"camera {name}: ")
            self._statuses.changed(
                CameraStatus(name, CameraState.FAILED, self._clock.wall(), detail, reason.code)
            )
        return False

    def _loaded(self, recognizer: Recognizer) -> None:
        self._counters.model(recognizer.spec)
        for note in recognizer.spec.notes:
            self.warn(note)

    def _start(self, cameras: Sequence[CameraConfig]) -> None:
        from streamer.capture import Camera

        fast = self._config.pace is Pace.FAST
        for camera in cameras:
            fan = self._lanes.watch(camera)
            lanes = self._lanes.of[camera.name]
            asked = {lane.recognizer.spec.name: 0.0 if fast else 1.0 / lane.hop for lane in lanes}
            self._counters.camera_models(camera.name, asked)
            self._show(label for lane in lanes for label in lane.outcomes(camera.name).labels)
            self._cameras[camera.name] = Camera(
                camera,
                reduce=fan.reduce,
                deliver=fan.deliver,
                capture=self._config.capture,
                pace=self._config.pace,
                loop=self._config.loop,
                on_status=self._statuses.changed,
                rate=fan.rate,
                clock=self._clock,
                on_picture=self._pictures.receiver(camera.name),
            )
        for lane in self._lanes.all():
            self._counters.lane(lane.recognizer.spec.name, lane.windows)
            lane.thread.start()
        self._changes.start()
        if self._uncertain is not None:
            self._uncertain.start()
        self._pictures.start(list(self._cameras), self._newest_picture, self._publisher.preview)
        for started in self._cameras.values():
            started.start()
        self._last_loop = self._ready_since = self._clock.monotonic()

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
            self._refresh()
            if self._clock.monotonic() - trimmed >= memory.TRIM_EVERY:
                memory.trim()
                trimmed = self._clock.monotonic()
            self._edits.observe(self._lanes.of, self._changes, self.warn)
            for lane in self._lanes.all():
                if lane.thread.error is not None:
                    raise lane.thread.error
            if until is not None and self._clock.monotonic() >= until:
                return Ending.DURATION
            if self._all_done():
                return Ending.COMPLETE
        return Ending.STOPPED

    def _refresh(self) -> None:
        """Bring the numbers that change all the time up to date."""
        for camera in self._cameras.values():
            self._statuses.refresh(camera)

    def _all_done(self) -> bool:
        """True when nothing can come any more: files played to their end, sources that cannot be had."""
        give_up = self._config.capture.give_up
        done = [
            (status.state in FINAL and self._lanes.drain(status.camera))
            or (give_up and status.code in UNMENDABLE and status.captured == 0)
            for status in (camera.status for camera in self._cameras.values())
        ]
        return all(done)  # every camera that has ended got its look

    # --- requests and changes ---

    def _mark(self, request: Mapping[str, Any], peer: Peer) -> Mapping[str, Any]:
        """`op: mark`; the bus thread."""
        from streamer.recording.uncertain import answer

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
        self._changes.stop(JOIN / 4)  # texts that are being computed are of no use to anybody now
        for camera in self._cameras.values():
            camera.stop()
        self._lanes.ask_to_stop()
        until = self._clock.monotonic() + JOIN  # one deadline: all were asked at once
        for camera in self._cameras.values():
            self._abandoned |= not camera.join(until - self._clock.monotonic())
        self._cameras.clear()
        self._abandoned |= not self._lanes.stop(until, reason)
        self._abandoned |= not self._pictures.stop()
        if self._uncertain is not None:
            self._uncertain.stop(JOIN / 2)
