"""The messages as a subscriber gets them: small frozen values made from the JSON, which stays in `.raw`.

Unknown keys are kept in `.raw` and otherwise ignored; a key that the contract promises and that is missing
or of the wrong kind makes the message invalid (`parse` raises ValueError).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from streamer.types import LabelScore

Raw: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PredictionMessage:
    """The best labels of one window."""

    session: str
    seq: int
    sent_at: float  # Unix seconds
    camera: str
    model: str
    top: tuple[LabelScore, ...]  # best first
    stable: LabelScore | None  # what is believed after smoothing; None = unknown
    start: float  # Unix seconds of the window's first frame
    end: float  # and of its last
    raw: Raw = field(repr=False, compare=False)
    type: str = "prediction"


@dataclass(frozen=True, slots=True)
class EventMessage:
    """An event's start, update or end. `seq` is its number in the history: ask from there to miss nothing."""

    session: str
    seq: int
    sent_at: float  # Unix seconds
    camera: str
    id: str
    phase: str  # "start", "update" or "end"
    label: str
    score: float
    peak: float
    started_at: float  # Unix seconds
    decided_at: float
    ended_at: float | None
    reason: str | None
    raw: Raw = field(repr=False, compare=False)
    type: str = "event"


@dataclass(frozen=True, slots=True)
class StatusMessage:
    """What a camera is doing."""

    session: str
    seq: int
    sent_at: float  # Unix seconds
    camera: str
    state: str  # a streamer.types.CameraState value, or one of a newer publisher
    since: float  # Unix seconds
    detail: str
    fps: float | None
    width: int | None
    height: int | None
    dropped: Mapping[str, int]
    raw: Raw = field(repr=False, compare=False)
    type: str = "status"


@dataclass(frozen=True, slots=True)
class HeartbeatMessage:
    """The publisher lives."""

    session: str
    seq: int
    sent_at: float  # Unix seconds
    last_event_seq: int
    cameras: Mapping[str, str]  # name -> state
    raw: Raw = field(repr=False, compare=False)
    type: str = "heartbeat"


@dataclass(frozen=True, slots=True)
class PreviewMessage:
    """A small picture of a camera; only where the publisher's `preview` is on."""

    session: str
    seq: int
    sent_at: float  # Unix seconds
    camera: str
    width: int  # pixels
    height: int
    jpeg: bytes = field(repr=False)
    raw: Raw = field(repr=False, compare=False)
    type: str = "preview"


@dataclass(frozen=True, slots=True)
class OtherMessage:
    """A kind that this version does not know."""

    session: str
    seq: int
    sent_at: float
    type: str
    raw: Raw = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages of one kind that did not arrive: numbers `first` to `last`, both included.

    Made by the subscriber, in the place of what is missing. `reason` is "lost" (dropped on the way, or
    published while not connected), "expired" (no longer in the history) or "no replay" (wanted, but the
    publisher does not answer requests).
    """

    kind: str
    first: int
    last: int
    reason: str
    raw: Raw = field(default_factory=dict, repr=False, compare=False)
    type: str = "gap"

    @property
    def count(self) -> int:
        """How many messages are missing."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class CameraSnapshot:
    """One camera as it stands now."""

    status: StatusMessage | None
    events: tuple[EventMessage, ...]  # open ones
    prediction: PredictionMessage | None  # the newest


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every camera as it stands now."""

    last_event_seq: int
    cameras: Mapping[str, CameraSnapshot]
    raw: Raw = field(repr=False, compare=False)


Message: TypeAlias = (
    PredictionMessage | EventMessage | StatusMessage | HeartbeatMessage | PreviewMessage | OtherMessage | Gap
)


def parse(raw: Raw) -> Message:
    """The message in a decoded JSON object. Raises ValueError where the contract is broken."""
    try:
        return _PARSERS.get(raw["type"], _other)(raw)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not a message of this bus: {type(error).__name__} {error}") from error


def parse_snapshot(raw: Raw) -> Snapshot:
    """The answer to `op: snapshot`. Raises ValueError where the contract is broken."""
    try:
        cameras = {str(name): _camera(value) for name, value in raw["cameras"].items()}
        return Snapshot(_whole(raw["last_event_seq"]), cameras, raw)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not a snapshot: {type(error).__name__} {error}") from error


def _camera(value: Raw) -> CameraSnapshot:
    status, prediction = value["status"], value["prediction"]
    return CameraSnapshot(
        status=None if status is None else _status(status),
        events=tuple(_event(item) for item in value["events"]),
        prediction=None if prediction is None else _prediction(prediction),
    )


def _head(raw: Raw) -> tuple[str, int, float]:
    return _text(raw["session"]), _whole(raw["seq"]), _number(raw["sent_at"])


def _prediction(raw: Raw) -> PredictionMessage:
    window, stable = raw["window"], raw["stable"]
    return PredictionMessage(
        *_head(raw),
        camera=_text(raw["camera"]),
        model=_text(raw["model"]),
        top=tuple(_label_score(item) for item in raw["top"]),
        stable=None if stable is None else _label_score(stable),
        start=_number(window["start"]),
        end=_number(window["end"]),
        raw=raw,
    )


def _event(raw: Raw) -> EventMessage:
    event = raw["event"]
    ended, reason = event["ended_at"], event.get("reason")
    return EventMessage(
        *_head(raw),
        camera=_text(raw["camera"]),
        id=_text(event["id"]),
        phase=_text(event["phase"]),
        label=_text(event["label"]),
        score=_number(event["score"]),
        peak=_number(event["peak"]),
        started_at=_number(event["started_at"]),
        decided_at=_number(event["decided_at"]),
        ended_at=None if ended is None else _number(ended),
        reason=None if reason is None else _text(reason),
        raw=raw,
    )


def _status(raw: Raw) -> StatusMessage:
    fps, width, height = raw["fps"], raw["width"], raw["height"]
    return StatusMessage(
        *_head(raw),
        camera=_text(raw["camera"]),
        state=_text(raw["state"]),
        since=_number(raw["since"]),
        detail=_text(raw["detail"]),
        fps=None if fps is None else _number(fps),
        width=None if width is None else _whole(width),
        height=None if height is None else _whole(height),
        dropped={str(cause): _whole(count) for cause, count in raw["dropped"].items()},
        raw=raw,
    )


def _heartbeat(raw: Raw) -> HeartbeatMessage:
    cameras = {str(name): _text(state) for name, state in raw["cameras"].items()}
    return HeartbeatMessage(
        *_head(raw), last_event_seq=_whole(raw["last_event_seq"]), cameras=cameras, raw=raw
    )


def _preview(raw: Raw) -> PreviewMessage:
    return PreviewMessage(
        *_head(raw),
        camera=_text(raw["camera"]),
        width=_whole(raw["width"]),
        height=_whole(raw["height"]),
        jpeg=base64.b64decode(_text(raw["jpeg"]), validate=True),
        raw=raw,
    )


def _other(raw: Raw) -> OtherMessage:
    return OtherMessage(*_head(raw), type=_text(raw["type"]), raw=raw)


def _label_score(value: Raw) -> LabelScore:
    return LabelScore(_text(value["label"]), _number(value["score"]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {type(value).__name__}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a number, found {type(value).__name__}")
    return float(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"expected a whole number, found {type(value).__name__}")
    return value


_PARSERS: dict[str, Callable[[Raw], Message]] = {
    "prediction": _prediction,
    "event": _event,
    "status": _status,
    "heartbeat": _heartbeat,
    "preview": _preview,
}
