"""The values that travel through the program, in the order they are made.

A camera's *time line* is in seconds: `time.monotonic()` for live sources; for files the monotonic time at
which playing began plus the file's own timestamp, so that windows of a file do not depend on the machine's
speed. Wall clock (`wall`, Unix seconds) is only for people and for the wire.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:  # numpy is not imported with the package
    from numpy.typing import NDArray


class CameraState(StrEnum):
    """What a camera is doing; `ENDED` and `FAILED` are final for a run."""

    CONNECTING = "connecting"
    RUNNING = "running"
    STALLED = "stalled"
    RECONNECTING = "reconnecting"
    ENDED = "ended"
    FAILED = "failed"


class Phase(StrEnum):
    """What a message says of an event."""

    START = "start"
    UPDATE = "update"
    END = "end"


@dataclass(frozen=True, slots=True)
class Frame:
    """One image of a camera, reduced to what the model needs.

    `image` is uint8 RGB (H, W, 3), read-only. `epoch` grows by one whenever the time line is broken
    (reconnect, file loop, seek): no window mixes epochs. `index` counts a camera's frames over all epochs.
    """

    camera: str
    index: int
    epoch: int
    time: float  # time line, seconds
    captured: float  # monotonic seconds, right after the frame arrived (latency is counted from here)
    wall: float  # Unix seconds, at the same moment
    media_time: float | None  # seconds in the file; None for live sources
    image: NDArray[Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Step:
    """One frame that a streaming model sees next."""

    stream: int  # which of a camera's interleaved streams
    frame: Frame
    begins: bool = False  # nothing of before belongs to it


@dataclass(frozen=True, slots=True)
class Window:
    """The T frames that one prediction looks at, oldest first.

    `missing` counts positions that had no frame of their own (a camera slower than the model's interval):
    there the nearest frame stands twice.
    """

    camera: str
    id: int
    frames: tuple[Frame, ...]
    interval: float  # seconds between the wanted positions
    missing: int = 0
    steps: tuple[Step, ...] = ()  # what a streaming model has not seen yet; the last one is the newest frame

    @property
    def start(self) -> float:
        """Time line of the oldest frame, seconds."""
        return self.frames[0].time

    @property
    def end(self) -> float:
        """Time line of the newest frame, seconds."""
        return self.frames[-1].time

    @property
    def span(self) -> float:
        """(T-1) x interval, seconds."""
        return (len(self.frames) - 1) * self.interval

    @property
    def epoch(self) -> int:
        return self.frames[-1].epoch


@dataclass(frozen=True, slots=True)
class LabelScore:
    """A label with its score in [0, 1]."""

    label: str
    score: float


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What the rest of the program needs to know of a loaded checkpoint."""

    name: str  # the Hub id, or the folder's name
    family: str  # "timesformer", "videomae", ...
    labels: tuple[str, ...]
    frames: int  # T
    interval: float  # seconds
    size: tuple[int, int]  # (H, W) of the model's input
    licence: str | None = None
    device: str = "cpu"
    precision: str = "fp32"
    engine: str = "torch"
    streaming: bool = False  # True: it computes a frame a hop and remembers; see windows/ticks.py
    reach: int = 0  # frames before the newest that a streaming model's answer depends on
    lag: float = 0.0  # seconds before a window's end of which its labels speak
    independent: bool = False  # True: sigmoid per label (scores do not sum to one)
    thresholds: tuple[tuple[str, float], ...] = ()  # (label, score at which its event opens), where its own
    ignored: tuple[str, ...] = ()  # labels that are never an event, such as "nothing of these"
    notes: tuple[str, ...] = ()  # what the user should know of this checkpoint

    @property
    def span(self) -> float:
        """(T-1) x interval, seconds."""
        return (self.frames - 1) * self.interval


@dataclass(frozen=True, slots=True)
class Scores(Sequence["NDArray[Any]"]):
    """What a model says of some windows: float32 (L,) in [0, 1] of each, in the order of the windows."""

    of_windows: Sequence[NDArray[Any]]
    preprocess_s: float = 0.0  # seconds before the model began to compute, for all of them together

    @overload
    def __getitem__(self, index: int) -> NDArray[Any]: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[NDArray[Any]]: ...

    def __getitem__(self, index: int | slice) -> NDArray[Any] | Sequence[NDArray[Any]]:
        return self.of_windows[index]

    def __len__(self) -> int:
        return len(self.of_windows)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Scores of one window. `scores` is float32 (L,) in the order of the model's labels."""

    camera: str
    model: str
    window: Window
    labels: tuple[str, ...]
    scores: NDArray[Any] = field(repr=False)
    preprocess_s: float = 0.0
    inference_s: float = 0.0
    held: bool = False  # nothing moved: the scores of the window before stand

    def top(self, k: int) -> list[LabelScore]:
        """The k best labels, best first; equal scores in the order of the labels."""
        scores: list[float] = self.scores.tolist()
        order = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)[:k]
        return [LabelScore(self.labels[i], scores[i]) for i in order]


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant, on the three clocks a reader may want."""

    time: float  # the camera's time line, seconds
    wall: float  # Unix seconds
    media: float | None = None  # seconds in the file


@dataclass(frozen=True, slots=True)
class Event:
    """One action of one camera as it stands at `phase`."""

    id: str  # unique over restarts
    camera: str
    model: str
    label: str
    phase: Phase
    score: float  # smoothed score now
    peak: float  # highest smoothed score so far
    started: Moment  # first window over the threshold
    decided: Moment  # when it was sure enough to say
    ended: Moment | None = None
    reason: str | None = None  # why it ended, where it was not the scores


@dataclass(frozen=True, slots=True)
class LaneResult:
    """What one model says of one camera, as it stands after `changes`: after a window, or when events end."""

    camera: str
    model: str
    prediction: Prediction | None = None  # None: the video broke off, or nothing came for long
    top: int = 0  # how many of the prediction's labels messages tell
    stable: LabelScore | None = None  # the label that is believed now; None = unknown
    smoothed: Mapping[str, float] = field(default_factory=dict)  # label or group -> smoothed score
    open_events: tuple[Event, ...] = ()  # whose end has not been published, oldest first
    changes: tuple[Event, ...] = ()  # phases of events that come of it, ends first


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """A camera as people and subscribers see it."""

    camera: str
    state: CameraState
    since: float  # Unix seconds
    detail: str = ""  # one line for people, without secrets
    code: str | None = None  # one of errors.SOURCE_CODES when something is wrong
    fps: float | None = None  # measured, frames per second
    width: int | None = None
    height: int | None = None
    picture: str = "ok"  # "ok", "frozen", "black" or "grey"
    captured: int = 0  # frames that arrived; captured = stored + sum(dropped)
    stored: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)  # cause -> frames
    reconnects: int = 0
    newest: float | None = None  # monotonic seconds of the newest frame
    labels_changed: Mapping[str, Any] | None = None  # the last change of its labels while running


@dataclass(frozen=True, slots=True)
class ModelStats:
    """One model's counts for one camera, since the start.

    `asked` = `windows` + the sum of `skipped` + those on their way: one that waits, and those in the model.
    """

    model: str = ""
    top: tuple[LabelScore, ...] = ()  # of the newest window, best first
    smoothed: Mapping[str, float] = field(default_factory=dict)  # label -> smoothed score of the same labels
    stable: LabelScore | None = None  # what is believed now; None = unknown
    asked: int = 0  # windows that came due, one each hop
    windows: int = 0  # windows recognised
    held: int = 0  # of these, answered by the motion gate
    skipped: Mapping[str, int] = field(default_factory=dict)  # cause -> windows not computed
    asked_per_s: float = 0.0  # 1 / hop while frames come
    windows_per_s: float = 0.0
    lacking: float | None = None  # seconds of video still needed before the next window; None = none
    waiting_since: float | None = None  # monotonic seconds; None: no window waits for the model
    newest: float | None = None  # monotonic seconds at which the newest window was recognised; None: none yet


@dataclass(frozen=True, slots=True)
class CameraStats:
    """One camera, and the counts of its models."""

    status: CameraStatus
    models: tuple[ModelStats, ...] = ()  # the main one first; empty until they are loaded
    open_events: tuple[Event, ...] = ()
    readers: int = 0  # threads that read it, those that hang included
    readers_hanging: int = 0  # of these, left behind in a call that does not return

    @property
    def main(self) -> ModelStats:
        """Its main model: an empty one until it is loaded."""
        return self.models[0] if self.models else ModelStats()


@dataclass(frozen=True, slots=True)
class InferenceStats:
    """One model's inference thread, which may serve several cameras. Times are monotonic seconds."""

    model: str
    waiting_since: float | None = None  # the window that has waited longest; None: none waits
    newest: float | None = None  # when the newest window was recognised; None: none yet


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often a duration fell between two bounds; the last count is of those above all of them."""

    counts: tuple[int, ...]
    sum: float  # seconds


@dataclass(frozen=True, slots=True)
class PublisherState:
    """The bus and the event history at one moment."""

    session: str = ""  # identifies this run in every message
    endpoint: str = ""  # where messages are published, with the real port; "" without a bus
    requests_endpoint: str | None = None  # where requests are answered; None where they are not
    subscribers: int = 0  # programs connected now
    refused: int = 0  # connections, for their key or for having none
    waiting: int = 0  # messages not sent yet
    dropped: int = 0  # predictions overtaken by newer ones before they were sent
    lost: int = 0  # messages that somebody was to get and did not, for whatever reason
    last_event_seq: int = 0  # the number of the newest event message
    durable: bool = False  # events reach the disk (False: memory only, or the disk fails at the moment)
    wants_durable: bool = False  # and they should
    last_loop: float | None = None  # monotonic seconds of its last look at its work; None: it does not run


@dataclass(frozen=True, slots=True)
class RecordingStats:
    """Pictures of events."""

    counts: Mapping[str, int] = field(default_factory=dict)  # written ones, and losses, by kind
    failing: bool = False  # they do not reach the disk at the moment


@dataclass(frozen=True, slots=True)
class UncertainStats:
    """Windows worth labelling: clips saved and not, and how many are not written yet."""

    saved: Mapping[str, int] = field(default_factory=dict)  # reason -> clips
    dropped: Mapping[str, int] = field(default_factory=dict)  # cause -> clips
    waiting: int = 0
    failing: bool = False  # they do not reach the disk at the moment


@dataclass(frozen=True, slots=True)
class Stats:
    """A consistent snapshot of the whole program, made on request: for the screen, health, Prometheus."""

    time: float  # monotonic seconds
    wall: float  # Unix seconds
    uptime: float  # seconds
    cameras: tuple[CameraStats, ...] = ()
    model: ModelSpec | None = None  # the main model
    windows_per_s: float = 0.0
    latency: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # stage -> (p50, p95) s, of late
    inference: tuple[InferenceStats, ...] = ()  # one for each model
    durations: Mapping[tuple[str, str], Histogram] = field(default_factory=dict)  # (stage, model) -> so far
    started: Mapping[tuple[str, str], int] = field(default_factory=dict)  # (camera, label) -> events started
    recent: tuple[Event, ...] = ()  # newest last
    publisher: PublisherState = field(default_factory=PublisherState)
    recording: RecordingStats = field(default_factory=RecordingStats)
    uncertain: UncertainStats | None = None  # None: nothing is collected
    ready_since: float | None = None  # monotonic: models are loaded and cameras are read; None: not yet
    last_loop: float = 0.0  # monotonic seconds of the main loop's last look
    notes: tuple[str, ...] = ()  # what the user should know (warnings), newest last
    names: Mapping[str, str] = field(default_factory=dict)  # label -> display name, where there is one
