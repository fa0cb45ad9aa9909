"""What the stages of the running program report, and the `Stats` that are made of it on request.

Any thread may report; every report takes microseconds and a bounded amount of memory. Nothing here calls
back into the pipeline, so whoever looks at the numbers can never hold up the work. What a stage counts by
itself (windows that came due, reading threads, the bus) is asked of it when somebody looks.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from streamer.metrics.last_minute import PAST_S, Outages, RecentBeliefs
from streamer.metrics.rate import Rate, percentiles
from streamer.metrics.window_counts import inference_of, with_what_others_count
from streamer.system.clock import SYSTEM_CLOCK, Clock
from streamer.types import (
    CameraState,
    CameraStats,
    CameraStatus,
    Event,
    Histogram,
    LabelScore,
    LaneResult,
    ModelSpec,
    ModelStats,
    Moment,
    PersonStats,
    Phase,
    Prediction,
    Stats,
    Track,
    Tracks,
)

if TYPE_CHECKING:
    from streamer.capture.camera_supervisor import Camera
    from streamer.windows.window_source import WindowSource

LATENCY_WINDOWS = 300  # percentiles are taken over this many recent windows
RECENT_EVENTS = 100
OPEN_EVENTS = 64  # per camera; more than that never end: a fault elsewhere must not fill the memory
NOTES = 5
# Upper bounds of the histograms, seconds: from a tiny model on a GPU to a huge one on a CPU
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LABELS = 1000  # different (camera, label) whose events are counted apart; what comes later counts as OTHER
OTHER = "other labels"


@dataclass(slots=True)
class _Model:
    """What is counted of one model of one camera."""

    asked_per_s: float = 0.0
    top: tuple[LabelScore, ...] = ()
    smoothed: dict[str, float] = field(default_factory=dict)
    stable: LabelScore | None = None
    windows: int = 0
    held: int = 0
    newest: float | None = None
    rate: Rate = field(default_factory=Rate)
    past: RecentBeliefs = field(default_factory=RecentBeliefs)

    def stats(self, name: str, now: float, subjects: int, *, running: bool) -> ModelStats:
        rate, asked = self.rate.value(now), self.asked_per_s * subjects
        if self.asked_per_s:  # a rate over few windows overshoots, and is of the past where nothing comes
            rate = min(rate, asked) if running else 0.0
        return ModelStats(
            model=name,
            top=self.top,
            smoothed=self.smoothed,  # replaced with each prediction, never changed
            stable=self.stable,
            windows=self.windows,
            held=self.held,
            asked_per_s=asked if running else 0.0,
            windows_per_s=rate,
            newest=self.newest,
            past=self.past.since(now - PAST_S),
        )


@dataclass(slots=True)
class _Camera:
    """What is known of one camera."""

    status: CameraStatus | None = None
    open_events: dict[str, Event] = field(default_factory=dict)
    models: dict[str, _Model] = field(default_factory=dict)  # the main one first
    whole: bool = True  # the whole picture is looked at too
    tracks: Tracks | None = None  # who is followed
    people: dict[int, PersonStats] = field(default_factory=dict)  # what the main model says of them

    def stats(self, status: CameraStatus, now: float) -> CameraStats:
        running = status.state is CameraState.RUNNING
        people: tuple[PersonStats, ...] = ()
        left_out: Mapping[str, int] = {}
        if self.tracks is not None:
            left_out = self.tracks.left_out
            if running:
                known = ((t, self.people.get(t.id)) for t in self.tracks.tracks)
                people = tuple(replace(one, track=t) if one else PersonStats(t) for t, one in known)
        subjects = self.whole + sum(one.track.id in self.people for one in people)  # who has windows by now
        models = tuple(one.stats(name, now, subjects, running=running) for name, one in self.models.items())
        events = tuple(self.open_events.values())
        return CameraStats(status, models, events, people=people, left_out=left_out)


@dataclass(slots=True)
class _Durations:
    """A histogram that grows."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    sum: float = 0.0

    def add(self, seconds: float) -> None:
        """A bound belongs to the bucket below it, as Prometheus' `le` wants it."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds


class Counters:
    """Where the stages report, and where screen, health and Prometheus look. Thread-safe."""

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._started_at = clock.monotonic()
        self._cameras: dict[str, _Camera] = {}
        self._latency: dict[str, deque[float]] = {}  # stage -> seconds, of the main models
        self._durations: dict[tuple[str, str], _Durations] = {}
        self._started: dict[tuple[str, str], int] = {}
        self._outages = Outages()
        self._recent: dict[str, Event] = {}  # by id, in the order of their starts
        self._notes: dict[str, None] = {}
        self._model: ModelSpec | None = None
        self._lanes: list[tuple[str, Mapping[str, WindowSource]]] = []  # model, camera -> windows
        self._names: Mapping[str, str] = {}  # replaced, never changed: snapshots share it

    # --- reports ---

    def camera_status(self, status: CameraStatus) -> None:
        """The newest status of a camera; cameras are shown in the order of their first."""
        with self._lock:
            self._camera(status.camera).status = status
            self._outages.status(status, Moment(self._clock.monotonic(), self._clock.wall()))

    def camera_models(self, camera: str, models: Mapping[str, float], *, whole: bool = True) -> None:
        """A camera's models, the main one first -> windows/s asked of each subject, 0: as many as can be.
        `whole`: the picture is one."""
        with self._lock:
            one = self._camera(camera)
            one.models, one.whole = {name: _Model(asked) for name, asked in models.items()}, whole

    def forget(self, camera: str) -> None:
        """A camera has been removed; what it counted so far stays in the sums."""
        with self._lock:
            self._cameras.pop(camera, None)

    def lane(self, model: str, windows: Mapping[str, WindowSource]) -> None:
        """A model's inference thread, and the windows of its cameras, which are asked for their counts."""
        with self._lock:
            self._lanes.append((model, windows))

    def tracks(self, tracks: Tracks) -> None:
        """Who is followed on a camera now."""
        with self._lock:
            self._camera(tracks.camera).tracks = tracks

    def result(self, result: LaneResult) -> None:
        """A window was recognised, events changed, or both."""
        prediction = result.prediction
        if prediction is not None:
            waited = self._clock.monotonic() - prediction.window.frames[-1].captured
            spent = {
                "capture_to_publish": waited,
                "preprocess": prediction.preprocess_s,
                "inference": prediction.inference_s,
            }
            self.prediction(prediction, result.stable, result.smoothed, result.top, spent)
        elif result.changes or result.gone:
            self._believed(result)
        for event in result.changes:
            self.event(event)

    def _believed(self, result: LaneResult) -> None:
        with self._lock:
            camera = self._camera(result.camera)
            model = camera.models.get(result.model)
            if result.track is not None:
                self._of_person(camera, result.model, result.track, result.stable)
                if result.gone:
                    camera.people.pop(result.track.id, None)
            elif model is not None:
                model.stable = result.stable
                model.past.add(self._clock.monotonic(), result.stable)

    def _of_person(
        self,
        camera: _Camera,
        model: str,
        track: Track,
        stable: LabelScore | None,
        top: tuple[LabelScore, ...] | None = None,
    ) -> None:
        """What the main model says of one who is followed; with the lock."""
        if model == next(iter(camera.models), model):
            before = camera.people.get(track.id)
            best = top if top is not None else before.top if before is not None else ()
            camera.people[track.id] = PersonStats(track, best, stable)

    def prediction(
        self,
        prediction: Prediction,
        stable: LabelScore | None,
        smoothed: Mapping[str, float],
        top: int,
        latency_s: Mapping[str, float],
    ) -> None:
        """One window was recognised.

        `top`: how many of its best labels to show. `smoothed`: label -> smoothed score; of these only the
        best labels and the stable one are kept. `latency_s`: stage -> seconds (`capture_to_publish`,
        `preprocess`, `inference`).
        """
        best = tuple(prediction.top(top))
        labels = [entry.label for entry in best] + ([stable.label] if stable is not None else [])
        kept = {label: smoothed[label] for label in labels if label in smoothed}
        now = self._clock.monotonic()
        with self._lock:
            camera = self._camera(prediction.camera)
            models = camera.models
            model = models.get(prediction.model)
            if model is None:
                model = models[prediction.model] = _Model()
            if prediction.track is not None:
                self._of_person(camera, prediction.model, prediction.track, stable, best)
            else:
                model.top, model.smoothed, model.stable = best, kept, stable
            model.windows += 1
            model.held += prediction.held
            model.newest = now
            model.rate.add(now)
            model.past.add(now, stable)
            is_main = model is next(iter(models.values()))
            for stage, seconds in latency_s.items():
                # a window that was held was neither prepared nor computed
                if stage == "capture_to_publish" or not prediction.held:
                    durations = self._durations.get((stage, prediction.model))
                    if durations is None:
                        durations = self._durations[stage, prediction.model] = _Durations()
                    durations.add(seconds)
                if is_main:
                    recent = self._latency.get(stage)
                    if recent is None:
                        recent = self._latency[stage] = deque(maxlen=LATENCY_WINDOWS)
                    recent.append(seconds)

    def event(self, event: Event) -> None:
        """An event started, goes on, or ended. The recent ones are kept as they stand now, one entry each."""
        with self._lock:
            if event.phase is Phase.START:
                self._count_start(event)
            opened = self._camera(event.camera).open_events
            if event.phase is Phase.END:
                opened.pop(event.id, None)
            else:
                opened[event.id] = event
                if len(opened) > OPEN_EVENTS:
                    del opened[next(iter(opened))]
            if event.phase is not Phase.UPDATE or event.id in self._recent:
                self._recent[event.id] = event
            if len(self._recent) > RECENT_EVENTS:
                del self._recent[next(iter(self._recent))]

    def names(self, names: Mapping[str, str]) -> None:
        """Display names of labels."""
        with self._lock:
            self._names = {**self._names, **names}

    def note(self, text: str) -> None:
        """Something the user should know. Said again it moves to the end; only the last few are kept."""
        with self._lock:
            self._notes.pop(text, None)
            self._notes[text] = None
            if len(self._notes) > NOTES:
                del self._notes[next(iter(self._notes))]

    def model(self, spec: ModelSpec) -> None:
        """A model is loaded; the first is the main one."""
        with self._lock:
            self._model = self._model or spec

    # --- looks ---

    def stats(self, readers: Mapping[str, Camera] | None = None, **more: Any) -> Stats:
        """A consistent picture of everything, at this moment.

        `readers`: the cameras that are read, by name. `more`: the fields of `Stats` that are not counted
        here, such as `publisher`.
        """
        with self._lock:
            now, wall = self._clock.monotonic(), self._clock.wall()
            cameras = [one.stats(status, now) for one in self._cameras.values() if (status := one.status)]
            latency = {stage: tuple(values) for stage, values in self._latency.items()}
            durations = {key: Histogram(tuple(one.counts), one.sum) for key, one in self._durations.items()}
            started, names, model, lanes = dict(self._started), self._names, self._model, list(self._lanes)
            recent, notes = tuple(self._recent.values()), tuple(self._notes)
            outages, outage_counts = self._outages.all, self._outages.counts
        threads = {name: camera.readers for name, camera in list((readers or {}).items())}
        asked = {(camera, model): one for model, windows in lanes for camera, one in list(windows.items())}
        whole = tuple(with_what_others_count(camera, asked, threads) for camera in cameras)
        return Stats(
            time=now,
            wall=wall,
            uptime=now - self._started_at,
            cameras=whole,
            model=model,
            inference=inference_of(lanes, whole),
            # the sum of the cameras' rates: windows of several cameras come in batches, which would
            # bias one rate over all of them
            windows_per_s=sum(one.windows_per_s for camera in whole for one in camera.models),
            latency={stage: percentiles(values) for stage, values in latency.items()},
            durations=durations,
            started=started,
            recent=recent,
            outages=outages,
            outage_counts=outage_counts,
            notes=notes,
            names=names,
            **more,
        )

    # Below: called with the lock.

    def _count_start(self, event: Event) -> None:
        """Words may change for ever while the program runs: the number of different ones is bounded."""
        key = event.camera, event.label
        if key not in self._started and len(self._started) >= LABELS:
            key = event.camera, OTHER
        self._started[key] = self._started.get(key, 0) + 1

    def _camera(self, name: str) -> _Camera:
        camera = self._cameras.get(name)
        if camera is None:
            camera = self._cameras[name] = _Camera()
        return camera
