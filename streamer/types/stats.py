"""The counts of a run, as they stand at one moment: for the screen, health and Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from streamer.types.people import Track
from streamer.types.predictions import Event, LabelScore, ModelSpec, Moment
from streamer.types.video import CameraStatus


@dataclass(frozen=True, slots=True)
class Belief:
    """What was believed in one half second."""

    time: float  # monotonic seconds of its beginning
    stable: LabelScore | None  # None = unknown


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which a camera could not be seen. Moments are of the machine's clocks."""

    camera: str
    what: str  # "lost", "not reached", "black picture", ...
    started: Moment
    ended: Moment | None = None


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
    asked_per_s: float = 0.0  # 1 / hop for each subject while frames come; 0 for files played fast
    windows_per_s: float = 0.0  # never more than was asked, where that is known
    lacking: float | None = None  # seconds of video still needed before the next window; None = none
    waiting_since: float | None = None  # monotonic seconds; None: no window waits for the model
    newest: float | None = None  # monotonic seconds at which the newest window was recognised; None: none yet
    past: tuple[Belief, ...] = ()  # the last minute, oldest first


@dataclass(frozen=True, slots=True)
class PersonStats:
    """Somebody who is followed now, and what the camera's main model says of them."""

    track: Track  # where they were in their newest window
    top: tuple[LabelScore, ...] = ()  # best first; empty until they were seen for a span
    stable: LabelScore | None = None  # what is believed now; None = unknown


@dataclass(frozen=True, slots=True)
class CameraStats:
    """One camera, and the counts of its models."""

    status: CameraStatus
    models: tuple[ModelStats, ...] = ()  # the main one first; empty until they are loaded
    open_events: tuple[Event, ...] = ()
    readers: int = 0  # threads that read it, those that hang included
    readers_hanging: int = 0  # of these, left behind in a call that does not return
    people: tuple[PersonStats, ...] = ()  # who is followed, oldest first
    left_out: Mapping[str, int] = field(default_factory=dict)  # cause -> people who were not followed

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
    journal: str = ""  # which history event numbers count in
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
class ClusterStats:
    """What a front knows beside its cameras."""

    workers: Mapping[str, str]  # name -> joining, idle, working, draining, drained, unheard, lost, left
    unplaced: Mapping[str, str]  # cameras that nobody watches -> why


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
    outages: tuple[Outage, ...] = ()  # of cameras, newest last
    outage_counts: Mapping[str, int] = field(default_factory=dict)  # cause -> how many so far
    publisher: PublisherState = field(default_factory=PublisherState)
    recording: RecordingStats = field(default_factory=RecordingStats)
    uncertain: UncertainStats | None = None  # None: nothing is collected
    ready_since: float | None = None  # monotonic: models are loaded and cameras are read; None: not yet
    last_loop: float = 0.0  # monotonic seconds of the main loop's last look
    notes: tuple[str, ...] = ()  # what the user should know (warnings), newest last
    names: Mapping[str, str] = field(default_factory=dict)  # label -> display name, where there is one
    cluster: ClusterStats | None = None  # of a front
