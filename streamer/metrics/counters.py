"""Rates, latencies and counters of the running program, gathered into one `Stats` when asked.

Any thread may report; every report takes microseconds and a bounded amount of memory. Nothing here calls
back into the pipeline, so whoever looks at the numbers can never hold up the work.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from streamer.metrics.totals import Totals
from streamer.system.clock import SYSTEM_CLOCK, Clock
from streamer.types import (
    CameraState,
    CameraStats,
    CameraStatus,
    Event,
    LabelScore,
    ModelSpec,
    ModelStats,
    Phase,
    Prediction,
    Stats,
)

RATE_SPAN_S = 10.0  # rates are taken over about this many recent seconds
RATE_ENTRIES = 256
LATENCY_WINDOWS = 300  # percentiles are taken over this many recent windows
RECENT_EVENTS = 100
OPEN_EVENTS = 64  # per camera; more than that never end: a fault elsewhere must not fill the memory
NOTES = 5
STAGES = 16


class Rate:
    """How often something happens, per second, now.

    (N-1) / (last - first) over about `span` seconds. When the next one is overdue the missing time counts,
    so the rate sinks while nothing comes, and is 0 after `span` seconds (or three intervals, if longer).
    """

    def __init__(self, span: float = RATE_SPAN_S, entries: int = RATE_ENTRIES) -> None:
        self._span = span
        self._times: deque[float] = deque(maxlen=entries)

    def add(self, now: float) -> None:
        """It happened at `now` (monotonic seconds)."""
        times = self._times
        times.append(now)
        while len(times) > 2 and times[0] < now - self._span:
            times.popleft()

    def value(self, now: float) -> float:
        """Times per second, at `now`."""
        times = self._times
        if len(times) < 2 or times[-1] <= times[0]:
            return 0.0
        length = times[-1] - times[0]
        interval = length / (len(times) - 1)
        age = now - times[-1]
        if age > max(self._span, 3 * interval):
            return 0.0
        return (len(times) - 1) / (length + max(0.0, age - interval))


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """(p50, p95) by nearest rank; `values` must hold one value at least."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return ordered[round(0.50 * last)], ordered[round(0.95 * last)]


@dataclass(slots=True)
class _Model:
    """One more model of a camera."""

    top: tuple[LabelScore, ...] = ()
    stable: LabelScore | None = None
    windows: int = 0
    rate: Rate = field(default_factory=Rate)


@dataclass(slots=True)
class _Camera:
    """What is known of one camera; read and written under the lock of `Metrics`."""

    status: CameraStatus | None = None
    top: tuple[LabelScore, ...] = ()
    smoothed: dict[str, float] = field(default_factory=dict)
    stable: LabelScore | None = None
    open_events: dict[str, Event] = field(default_factory=dict)
    waiting: float | None = None
    windows: int = 0
    rate: Rate = field(default_factory=Rate)
    asked_per_s: float = 0.0
    skipped: dict[str, int] = field(default_factory=dict)
    others: dict[str, _Model] = field(default_factory=dict)

    def stats(self, status: CameraStatus, now: float) -> CameraStats:
        return CameraStats(
            status=status,
            top=self.top,
            smoothed=self.smoothed,  # replaced with each prediction, never changed
            stable=self.stable,
            open_events=tuple(self.open_events.values()),
            waiting=self.waiting,
            windows=self.windows,
            windows_per_s=self.rate.value(now),
            asked_per_s=self.asked_per_s if status.state is CameraState.RUNNING else 0.0,
            skipped=self.skipped,
            others=tuple(
                ModelStats(name, one.top, one.stable, one.windows, one.rate.value(now))
                for name, one in self.others.items()
            ),
        )


class Metrics:
    """Where the pipeline reports, and where the screen looks. Thread-safe."""

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._started = clock.monotonic()
        self._cameras: dict[str, _Camera] = {}
        self._latency: dict[str, deque[float]] = {}
        self._recent: dict[str, Event] = {}  # by id, in the order of their starts
        self._notes: dict[str, None] = {}
        self._model: ModelSpec | None = None
        self._bus: str | None = None
        self._subscribers = 0
        self._names: Mapping[str, str] = {}  # replaced, never changed: snapshots share it
        self._totals = Totals()

    def camera_status(self, status: CameraStatus) -> None:
        """The newest status of a camera; cameras are shown in the order of their first."""
        with self._lock:
            self._camera(status.camera).status = status

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
        now = self._clock.monotonic()
        # a window that was held was neither prepared nor computed
        spent = {k: v for k, v in latency_s.items() if k == "capture_to_publish" or not prediction.held}
        with self._lock:
            self._totals.window(prediction.camera, prediction.model, now, held=prediction.held, latency=spent)
            other = self._camera(prediction.camera).others.get(prediction.model)
            if other is not None:
                other.top, other.stable = best, stable
                other.windows += 1
                other.rate.add(now)
                return
        labels = [entry.label for entry in best]
        if stable is not None:
            labels.append(stable.label)
        kept = {label: smoothed[label] for label in labels if label in smoothed}
        with self._lock:
            camera = self._camera(prediction.camera)
            camera.top = best
            camera.smoothed = kept
            camera.stable = stable
            camera.waiting = None
            camera.windows += 1
            camera.rate.add(now)
            for stage, seconds in latency_s.items():
                values = self._latency.get(stage)
                if values is None:
                    if len(self._latency) >= STAGES:
                        continue
                    values = self._latency[stage] = deque(maxlen=LATENCY_WINDOWS)
                values.append(seconds)

    def event(self, event: Event) -> None:
        """An event started, goes on, or ended. The recent ones are kept as they stand now, one entry each."""
        with self._lock:
            if event.phase is Phase.START:
                self._totals.event(event.camera, event.label)
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

    def others(self, camera: str, models: Sequence[str]) -> None:
        """Names of the models that a camera runs besides its main one; they get lines of their own."""
        with self._lock:
            self._camera(camera).others = {name: _Model() for name in models}

    def names(self, names: Mapping[str, str]) -> None:
        """Display names of labels."""
        with self._lock:
            self._names = {**self._names, **names}

    def asked(self, camera: str, per_s: float) -> None:
        """Windows per second that the hop asks for; shown as 0 while the camera is not running."""
        with self._lock:
            self._camera(camera).asked_per_s = per_s

    def waiting(self, camera: str, seconds: float | None) -> None:
        """Seconds of video still needed before the camera's first window; None when there is one."""
        with self._lock:
            self._camera(camera).waiting = seconds

    def skipped(self, camera: str, causes: Mapping[str, int]) -> None:
        """Windows not computed so far, by cause (totals, not increments)."""
        counts = dict(causes)  # a copy that nobody changes: snapshots share it
        with self._lock:
            self._camera(camera).skipped = counts

    def note(self, text: str) -> None:
        """Something the user should know. Said again it moves to the end; only the last few are kept."""
        with self._lock:
            self._notes.pop(text, None)
            self._notes[text] = None
            if len(self._notes) > NOTES:
                del self._notes[next(iter(self._notes))]

    def bus(self, endpoint: str | None, subscribers: int) -> None:
        """Where messages are published (None: nowhere) and how many listen."""
        with self._lock:
            self._bus, self._subscribers = endpoint, subscribers

    def model(self, spec: ModelSpec) -> None:
        """The model in use; of several the first."""
        with self._lock:
            self._model = self._model or spec

    def totals(self) -> Totals:
        """Counters since the start, as a copy."""
        with self._lock:
            return self._totals.copy()

    def stats(self) -> Stats:
        """A consistent picture of everything, at this moment."""
        with self._lock:
            now, wall = self._clock.monotonic(), self._clock.wall()
            cameras = tuple(
                camera.stats(status, now) for camera in self._cameras.values() if (status := camera.status)
            )
            latency = {stage: tuple(values) for stage, values in self._latency.items()}
            recent, notes = tuple(self._recent.values()), tuple(self._notes)
            model, bus, subscribers = self._model, self._bus, self._subscribers
            names = self._names
        return Stats(
            time=now,
            wall=wall,
            uptime=now - self._started,
            cameras=cameras,
            model=model,
            # the sum of the cameras' rates: windows of several cameras come in batches, which would
            # bias one rate over all of them
            windows_per_s=sum(camera.windows_per_s for camera in cameras)
            + sum(other.windows_per_s for camera in cameras for other in camera.others),
            latency={stage: percentiles(values) for stage, values in latency.items()},
            recent=recent,
            bus=bus,
            subscribers=subscribers,
            notes=notes,
            names=names,
        )

    def _camera(self, name: str) -> _Camera:
        camera = self._cameras.get(name)
        if camera is None:
            camera = self._cameras[name] = _Camera()
        return camera
