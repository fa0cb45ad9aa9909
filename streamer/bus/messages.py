"""The messages as a subscriber gets them: small frozen values made from the JSON, which stays in `.raw`.

Everything that other programs send is checked here, against contract.py. Unknown keys are kept in `.raw` and
otherwise ignored; a key that the contract knows and that is not what it should be makes the message invalid
(`parse` raises ValueError).
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from msgspec import convert

from streamer.bus import contract
from streamer.types import Box, LabelScore

Raw: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TrackMessage:
    """Somebody who is followed, and where they were: see bus.md."""

    id: int | str
    box: Box  # left, top, width, height; parts of the picture's width and height


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
    track: TrackMessage | None = None  # of whom; None: the whole picture


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
    track: TrackMessage | None = None  # of whom, where they were at this phase; None: the whole picture
    background: bool = False  # its label means "no action"


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
    following: int | None = None  # people followed now; None: it follows nobody


@dataclass(frozen=True, slots=True)
class HeartbeatMessage:
    """The publisher is running."""

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
    tracks: tuple[TrackMessage, ...] | None = None  # who is followed in it; None: nobody is to be
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
    prediction: PredictionMessage | None  # the newest, of the whole picture where that is asked for
    predictions: tuple[PredictionMessage, ...] = ()  # of each model and person


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every camera as it stands now."""

    last_event_seq: int
    cameras: Mapping[str, CameraSnapshot]
    raw: Raw = field(repr=False, compare=False)


Message: TypeAlias = (
    PredictionMessage | EventMessage | StatusMessage | HeartbeatMessage | PreviewMessage | OtherMessage | Gap
)


@dataclass(frozen=True, slots=True)
class EventsPage:
    """The answer to `op: events`."""

    session: str
    journal: str
    after: int  # the events are those behind this number
    last_event_seq: int
    more: bool
    events: tuple[EventMessage, ...]
    invalid: int  # events that broke the contract and were left out


def parse(raw: Raw) -> Message:
    """The message in a decoded JSON object. Raises ValueError where the contract is broken."""
    try:
        return _PARSERS.get(raw["type"], _other)(raw)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a message of this bus: {_why(error)}") from error


def parse_snapshot(raw: Raw) -> Snapshot:
    """The answer to `op: snapshot`. Raises ValueError where the contract is broken."""
    try:
        told = convert(raw, contract.SnapshotJson)
        cameras = {name: _camera(camera) for name, camera in told["cameras"].items()}
    except ValueError as error:
        raise ValueError(f"not a snapshot: {_why(error)}") from error
    return Snapshot(told["last_event_seq"], cameras, raw)


def parse_events(raw: Raw) -> EventsPage:
    """The answer to `op: events`. Raises ValueError where the contract is broken; a single event that breaks
    it is left out.
    """
    try:
        told = convert(raw, contract.EventsReplyJson)
    except ValueError as error:
        raise ValueError(f"not an answer to 'events': {_why(error)}") from error
    events = []
    for item in told["events"]:
        with contextlib.suppress(ValueError):
            events.append(_event(item))
    return EventsPage(
        told["session"], told["journal"], told["after"], told["last_event_seq"], told["more"],
        tuple(events), len(told["events"]) - len(events),
    )  # fmt: skip


def _why(error: Exception) -> str:
    return f"{type(error).__name__} {error}"[:300]


def _camera(told: contract.CameraSnapshotJson) -> CameraSnapshot:
    status, prediction = told["status"], told["prediction"]
    return CameraSnapshot(
        status=None if status is None else _status(status),
        events=tuple(_event(item) for item in told["events"]),
        prediction=None if prediction is None else _prediction(prediction),
        predictions=tuple(_prediction(item) for item in told.get("predictions", ())),
    )


def _prediction(raw: Raw) -> PredictionMessage:
    told = convert(raw, contract.PredictionJson)
    stable = told["stable"]
    return PredictionMessage(
        session=told["session"],
        seq=told["seq"],
        sent_at=told["sent_at"],
        camera=told["camera"],
        model=told["model"],
        top=tuple(LabelScore(item["label"], item["score"]) for item in told["top"]),
        stable=None if stable is None else LabelScore(stable["label"], stable["score"]),
        start=told["window"]["start"],
        end=told["window"]["end"],
        raw=raw,
        track=_track(told.get("track")),
    )


def _event(raw: Raw) -> EventMessage:
    told = convert(raw, contract.EventJson)
    event = told["event"]
    return EventMessage(
        session=told["session"],
        seq=told["seq"],
        sent_at=told["sent_at"],
        camera=told["camera"],
        id=event["id"],
        phase=event["phase"],
        label=event["label"],
        score=event["score"],
        peak=event["peak"],
        started_at=event["started_at"],
        decided_at=event["decided_at"],
        ended_at=event["ended_at"],
        reason=event.get("reason"),
        raw=raw,
        track=_track(told.get("track")),
        background=event.get("background", False),
    )


def _track(told: contract.TrackJson | None) -> TrackMessage | None:
    return None if told is None else _person(told)


def _person(told: contract.TrackJson) -> TrackMessage:
    return TrackMessage(told["id"], told["box"])


def _status(raw: Raw) -> StatusMessage:
    told = convert(raw, contract.StatusJson)
    return StatusMessage(
        session=told["session"],
        seq=told["seq"],
        sent_at=told["sent_at"],
        camera=told["camera"],
        state=told["state"],
        since=told["since"],
        detail=told["detail"],
        fps=told["fps"],
        width=told["width"],
        height=told["height"],
        dropped=told["dropped"],
        raw=raw,
        following=told.get("following"),
    )


def _heartbeat(raw: Raw) -> HeartbeatMessage:
    told = convert(raw, contract.HeartbeatJson)
    return HeartbeatMessage(
        session=told["session"],
        seq=told["seq"],
        sent_at=told["sent_at"],
        last_event_seq=told["last_event_seq"],
        cameras=told["cameras"],
        raw=raw,
    )


def _preview(raw: Raw) -> PreviewMessage:
    told = convert(raw, contract.PreviewJson)
    return PreviewMessage(
        session=told["session"],
        seq=told["seq"],
        sent_at=told["sent_at"],
        camera=told["camera"],
        width=told["width"],
        height=told["height"],
        jpeg=base64.b64decode(told["jpeg"], validate=True),
        raw=raw,
        tracks=None if (tracks := told.get("tracks")) is None else tuple(map(_person, tracks)),
    )


def _other(raw: Raw) -> OtherMessage:
    told = convert(raw, contract.OtherJson)
    return OtherMessage(told["session"], told["seq"], told["sent_at"], type=told["type"], raw=raw)


_PARSERS: dict[str, Callable[[Raw], Message]] = {
    "prediction": _prediction,
    "event": _event,
    "status": _status,
    "heartbeat": _heartbeat,
    "preview": _preview,
}
