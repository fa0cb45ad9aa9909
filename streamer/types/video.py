"""What a camera gives: frames, windows of them, and how it is.

A camera's *time line* is in seconds: `time.monotonic()` for live sources; for files the monotonic time at
which playing began plus the file's own timestamp, so that windows of a file do not depend on the machine's
speed. Wall clock (`wall`, Unix seconds) is only for people and for the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

from streamer.types.people import Square, Track

if TYPE_CHECKING:  # numpy is not imported with the package
    from numpy.typing import NDArray


Subject: TypeAlias = tuple[str, int | None]  # a camera, and who is followed there; None = the whole picture


class CameraState(StrEnum):
    """What a camera is doing; `ENDED` and `FAILED` are final for a run."""

    CONNECTING = "connecting"
    RUNNING = "running"
    STALLED = "stalled"
    RECONNECTING = "reconnecting"
    ENDED = "ended"
    FAILED = "failed"


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
    size: tuple[int, int] | None = None  # (H, W) of the camera's own picture
    part: Square | None = None  # which part of the camera's picture it shows; None = all of it


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
    track: Track | None = None  # of whom, at its newest frame; None = the whole picture
    follows: bool = False  # its camera follows people: messages say `track`, null for the whole picture

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
    def subject(self) -> Subject:
        """Whose it is."""
        return self.camera, None if self.track is None else self.track.id

    @property
    def epoch(self) -> int:
        return self.frames[-1].epoch


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """A camera as people and subscribers see it."""

    camera: str
    state: CameraState
    since: float  # Unix seconds
    detail: str = ""  # one line for people, without secrets
    code: str | None = None  # one of errors.SOURCE_CODES, or unplaced, when something is wrong
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
    following: int | None = None  # people followed now; None = nobody is to be followed

    @property
    def reason(self) -> str:
        """The detail without when the next try comes."""
        return self.detail.partition("; next try in")[0]
