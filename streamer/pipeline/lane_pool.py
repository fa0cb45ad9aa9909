"""All lanes of a run: which models each camera needs, loaded once each, and taken apart again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from streamer.config import CameraConfig, Config, FollowConfig, ModelConfig, Pace
from streamer.errors import ConfigError
from streamer.labels.label_set import LabelSet
from streamer.pipeline.detectors import Detectors, shown_part
from streamer.system.clock import SYSTEM_CLOCK, Clock

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streamer.people.person_follower import Follower
    from streamer.pipeline.fan_out import Deliver, FanOut
    from streamer.pipeline.lane import Lane
    from streamer.recognition.recognizer import Recognizer
    from streamer.types import LaneResult, Tracks
    from streamer.windows.window_source import WindowSource

STOP_CHECK_EVERY = 0.2  # seconds
Load = Callable[[ModelConfig, str], "Recognizer"]  # with what it is called in messages
REMOVE = 5.0  # seconds for the forward in progress when a camera is removed


class Lanes:
    """One lane for each different model; cameras that ask a model for different words share its lane.

    Args:
        config: which camera runs what, at the start.
        names: other names of labels in the events' settings.
        publish: gets what leaves the lanes.
        load: makes a model's recognizer; None: `load_recognizer`.
        loaded: called with each model when it is ready.
        tracks: called with who is followed, for each frame of a camera that follows people.
    """

    def __init__(
        self,
        config: Config,
        names: LabelSet,
        publish: Callable[[LaneResult], None],
        load: Load | None,
        loaded: Callable[[Recognizer], None],
        clock: Clock = SYSTEM_CLOCK,
        tracks: Callable[[Tracks], None] = lambda tracks: None,
    ) -> None:
        self._config = config
        self._names = names
        self._publish = publish
        self._clock = clock
        self._load_model = load
        self._loaded = loaded
        self._tracks = tracks
        self._detectors = Detectors(complete=config.pace is Pace.FAST)
        self._followers: dict[str, Follower] = {}
        self._lanes: dict[ModelConfig, Lane] = {}
        self._leaving: dict[str, list[threading.Event]] = {}  # camera -> set when its last words are told
        self._ending = threading.Lock()  # guards `_ended` against a model that is there only now
        self._ended = False
        self.of: dict[str, tuple[Lane, ...]] = {}  # camera -> its lanes, the main one first

    def all(self) -> list[Lane]:
        """Every lane once."""
        return list(self._lanes.values())

    def ask_to_stop(self) -> None:
        """No more windows, and an end after the forwards in progress; returns at once."""
        for lane in self.all():
            lane.ask_to_stop()

    def stop(self, until: float, reason: str) -> bool:
        """End every thread and every open event, and let go of the models; False where a forward still runs
        at `until`, monotonic seconds.
        """
        with self._ending:
            self._ended = True
        self.ask_to_stop()
        ended = [lane.stop(until, reason) for lane in self.all()]
        ended.append(self._detectors.stop(until - self._clock.monotonic()))
        self._lanes.clear()
        return all(ended)  # every lane got its stop

    def lost(self, camera: str, reason: str) -> None:
        """A camera's video broke off, or its picture is unusable; any thread, returns at once."""
        if (follower := self._followers.get(camera)) is not None:
            follower.lost()
        for lane in self.of.get(camera, ()):
            lane.lost(camera, reason)

    def windows_of(self, camera: str) -> list[WindowSource]:
        """A camera's windows, one for each of its models."""
        return [lane.windows[camera] for lane in self.of.get(camera, ()) if camera in lane.windows]

    def remove(self, camera: str, reason: str) -> None:
        """Watch a camera no longer; its open events end for `reason` before this returns. Its models stay."""
        ended = [lane.remove(camera, reason) for lane in self.of.pop(camera, ())]
        self._followers.pop(camera, None)
        self._leaving[camera] = [one for one in ended if not one.wait(REMOVE)]  # all were asked at once

    def load_all(self, cameras: Sequence[CameraConfig], stop: threading.Event) -> bool:
        """Load and warm up each model on a thread that can be left behind; False when stopped meanwhile.

        Raises what `load` raises.
        """
        failure: list[Exception] = []
        done = threading.Event()

        def load() -> None:
            try:
                for camera in cameras:
                    self.load(camera, self._config)
            except Exception as error:  # noqa: BLE001 - raised again below, where it was called
                failure.append(error)
            done.set()

        threading.Thread(target=load, name="model-loading", daemon=True).start()
        while not done.wait(STOP_CHECK_EVERY):
            if stop.is_set():
                return False
        if failure:
            raise failure[0]
        return True

    def load(self, camera: CameraConfig, config: Config) -> tuple[Lane, ...]:
        """The lanes of a camera that stands in `config`; what is not loaded yet takes its time. One thread
        at a time. One of this name that was removed has told its last words when this returns.

        Raises:
            ModelLoadError: a model cannot be used.
            ConfigError: its words are wrong, or the program has ended meanwhile.
        """
        for one in self._leaving.pop(camera.name, ()):
            while not one.wait(STOP_CHECK_EVERY):
                self._check_end(camera.name)
        self._detectors.load(config.follow_of(camera))
        names = config.model_names
        return tuple(self._load(camera.name, model, names[model.id]) for model in config.models_of(camera))

    def watch(self, camera: CameraConfig, config: Config) -> FanOut:
        """Let the camera's lanes, which were loaded, take its frames; returns what the camera needs for it.
        `config` is the configuration in which it stands.

        Raises:
            ConfigError: the events' settings name a label that none of its models has.
        """
        from streamer.pipeline.fan_out import FanOut

        lanes = self.load(camera, config)
        events = camera.events or config.events
        outcomes = [lane.outcomes(camera.name).labels for lane in lanes]
        everywhere = {label for labels in outcomes for label in labels}
        follow = config.follow_of(camera)
        watching = []
        with ExitStack() as undo:  # of a camera that is refused half way
            undo.callback(self._followers.pop, camera.name, None)
            for lane, own in zip(lanes, outcomes, strict=True):
                elsewhere = everywhere.difference(own)
                deliver = lane.add(camera, events, self._names, elsewhere, follows=follow.follows)
                undo.callback(lane.remove, camera.name, "camera removed")
                watching.append((lane, deliver))
            fan = self._follow(camera, follow, watching) if follow.follows else FanOut(watching)
            undo.pop_all()
        self.of[camera.name] = lanes
        return fan

    def _follow(
        self, camera: CameraConfig, follow: FollowConfig, watching: Sequence[tuple[Lane, Deliver]]
    ) -> FanOut:
        """What a camera needs whose people are followed."""
        from streamer.people.person_follower import Follower
        from streamer.pipeline.fan_out import FanOut

        looks = self._detectors.of(follow, watching[0][0].fail)
        follower = Follower(camera.name, follow, looks, self._tracks, shown_part(camera))
        self._followers[camera.name] = follower
        people = [
            lane.follow(camera.name, follower, follow, says_present=number == 0)
            for number, (lane, _) in enumerate(watching)
        ]
        return FanOut(watching if follow.whole else (), follower, people)

    def start(self) -> list[Lane]:
        """Let every model compute that does not yet; returns those."""
        new = [lane for lane in self.all() if lane.thread.ident is None]
        for lane in new:
            lane.thread.start()
        return new

    def reduce_of(self, camera: str, model: str) -> Callable[[NDArray[Any]], NDArray[Any]] | None:
        """What makes a model's frames of a camera's pictures; None where it has no such model."""
        lanes = self.of.get(camera, ())
        return next((x.recognizer.reduce for x in lanes if x.recognizer.spec.name == model), None)

    def drain(self, camera: str) -> bool:
        """Its video has ended: True once the last window of each model is computed."""
        drained = [lane.drain(camera) for lane in self.of.get(camera, ())]
        return all(drained)  # every lane got its look

    def _check_end(self, camera: str) -> None:
        if self._ended:
            raise ConfigError(f"camera {camera} is not watched: the program has ended")

    def _load(self, camera: str, model: ModelConfig, name: str) -> Lane:
        from streamer.pipeline.lane import Lane
        from streamer.recognition.recognizer import load_recognizer

        key = model.model_copy(update={"labels": ("words",) if model.labels else None})
        if key not in self._lanes:
            recognizer = (self._load_model or load_recognizer)(model, name)
            recognizer.warm_up()
            complete = self._config.pace is Pace.FAST
            lane = Lane(recognizer, model, self._publish, complete=complete, clock=self._clock)
            with self._ending:
                if self._ended:
                    recognizer.close()
                self._check_end(camera)
                self._lanes[key] = lane
            self._loaded(recognizer)
        lane = self._lanes[key]
        if model.labels:
            lane.prepare(camera, model.labels)
        return lane
