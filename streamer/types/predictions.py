"""What a model says of windows, and the events that come of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, overload

from streamer.types.people import Track
from streamer.types.video import Window

if TYPE_CHECKING:  # numpy is not imported with the package
    from numpy.typing import NDArray


class Phase(StrEnum):
    """What a message says of an event."""

    START = "start"
    UPDATE = "update"
    END = "end"


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
    streaming: bool = False  # True: it computes a frame a hop and remembers; see windows/streaming_ticks.py
    reach: int = 0  # frames before the newest that a streaming model's answer depends on
    lag: float = 0.0  # seconds before a window's end of which its labels speak
    independent: bool = False  # True: sigmoid per label (scores do not sum to one)
    thresholds: tuple[tuple[str, float], ...] = ()  # (label, score at which its event opens), where its own
    events: tuple[tuple[str, float], ...] = ()  # settings of events that fit it, where the user says nothing
    ignored: tuple[str, ...] = ()  # labels that are never an event, such as "nothing of these"
    background: tuple[str, ...] = ()  # labels that the checkpoint itself calls "no action"
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

    @property
    def track(self) -> Track | None:
        """Of whom; None = the whole picture."""
        return self.window.track

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
    track: Track | None = None  # of whom, where they are at this phase; None = the whole picture
    background: bool = False  # its label means "no action": screens, speech and recordings leave it out
    follows: bool = False  # its camera follows people: messages say `track`, null for the whole picture


@dataclass(frozen=True, slots=True)
class LaneResult:
    """What one model says of one camera, as it stands after `changes`: after a window, or when events end.

    Of a camera that follows people each of them has results of their own, as the whole picture has: what is
    said here is of the one that `track` names.
    """

    camera: str
    model: str
    prediction: Prediction | None = None  # None: the video broke off, or nothing came for long
    top: int = 0  # how many of the prediction's labels messages tell
    stable: LabelScore | None = None  # the label that is believed now; None = unknown
    smoothed: Mapping[str, float] = field(default_factory=dict)  # label or group -> smoothed score
    open_events: tuple[Event, ...] = ()  # whose end has not been published, oldest first
    changes: tuple[Event, ...] = ()  # phases of events that come of it, ends first
    track: Track | None = None  # of whom; None = the whole picture
    gone: bool = False  # they are followed no more: the last result with this track
