"""What the page shows, as it is now: cameras, open events and those of the last minutes. Pure: no sockets.

Everything in here is made of plain JSON values, so that it can be sent as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from streamer.bus.messages import EventMessage, PredictionMessage, Snapshot, StatusMessage

Json: TypeAlias = dict[str, Any]

WINDOW = 900.0  # seconds of events that are kept here; what is older is in the history
MOST_EVENTS = 2000
MOST_CAMERAS = 500
MOST_WORKERS = 500
MOST_MODELS = 32  # of one camera, and people that they follow
MOST_OUTAGES = 50  # of one camera
TRACK_GONE = 15.0  # seconds after which a person of whom nothing was said is gone
LOST = ("reconnecting", "failed", "stalled")
MOST_LABELS = 2000
TOP = 3  # labels of a prediction that the page gets


def record_of(message: EventMessage) -> Json:
    """One event as the page knows it: flat, with the number of the newest phase."""
    event = message.raw["event"]
    display = event.get("display")
    return {
        "id": message.id,
        "seq": message.seq,
        "camera": message.camera,
        "model": message.raw.get("model"),
        "label": message.label,
        "display": display if isinstance(display, str) else message.label,
        "phase": message.phase,
        "score": message.score,
        "peak": message.peak,
        "started_at": message.started_at,
        "ended_at": message.ended_at,
        "reason": message.reason,
        "background": message.background,
        "track": message.raw.get("track"),
        "sent_at": message.sent_at,
    }


def _named(item: Mapping[str, Any]) -> Json:
    display = item.get("display")
    shown = display if isinstance(display, str) else item["label"]
    return {"label": item["label"], "display": shown, "score": item["score"]}


def prediction_of(message: PredictionMessage) -> Json:
    """What a model believes of a camera now."""
    raw = message.raw
    return {
        "camera": message.camera,
        "model": message.model,
        "stable": None if raw["stable"] is None else _named(raw["stable"]),
        "top": [_named(item) for item in raw["top"][:TOP]],
        "track": raw.get("track"),
        "sent_at": message.sent_at,
    }


def whose(message: PredictionMessage) -> str:
    """A model that follows people says something of each of them."""
    track = message.raw.get("track")
    return message.model if track is None else f"{message.model} {track['id']}"


def status_of(message: StatusMessage) -> Json:
    """A camera's state."""
    code, picture = message.raw.get("code"), message.raw.get("picture")
    return {
        "camera": message.camera,
        "state": message.state,
        "since": message.since,
        "detail": message.detail,
        "code": code if isinstance(code, str) else None,
        "picture": picture if isinstance(picture, str) else None,
        "fps": message.fps,
        "width": message.width,
        "height": message.height,
        "sent_at": message.sent_at,
    }


class PageState:
    """The present and the last minutes. Methods return whether browsers need to hear of it."""

    def __init__(self) -> None:
        self.statuses: dict[str, Json] = {}
        self.predictions: dict[str, dict[str, Json]] = {}  # by camera, then by model (and person)
        self._lost: dict[str, list[list[float | None]]] = {}
        self.events: dict[str, Json] = {}  # by event id, oldest news first
        self.workers: dict[str, str] = {}  # of a front: name -> state
        self.labels: dict[str, str] = {}  # label -> what people call it
        self._floor: int | None = None  # of events up to this number some may be missing here

    def status(self, message: StatusMessage) -> bool:
        known = self.statuses.get(message.camera)
        if known is None and len(self.statuses) >= MOST_CAMERAS:
            return False
        if known is not None and known["sent_at"] > message.sent_at:
            return False
        self.statuses[message.camera] = status_of(message) | {"outages": self._outages(message)}
        return True

    def _outages(self, message: StatusMessage) -> list[list[float | None]]:
        """When a camera was lost, as [since, until]: until None, it is. What was long ago is forgotten."""
        outages: list[list[float | None]] = self._lost.setdefault(message.camera, [])
        lost = message.state in LOST or (
            message.state == "connecting" and message.raw.get("code") is not None
        )
        going_on = bool(outages) and outages[-1][1] is None
        if lost and not going_on:
            outages.append([message.since, None])
        elif going_on and message.state in ("running", "ended"):
            outages[-1][1] = max(message.since, outages[-1][0] or 0.0)
        old = message.sent_at - WINDOW
        outages[:] = [one for one in outages if one[1] is None or one[1] > old][-MOST_OUTAGES:]
        return [list(one) for one in outages]

    def prediction(self, message: PredictionMessage) -> bool:
        models = self.predictions.get(message.camera, {})
        for name, old in list(models.items()):
            if old["track"] is not None and message.sent_at - old["sent_at"] > TRACK_GONE:
                del models[name]
        key = whose(message)
        known = models.get(key)
        if not models and len(self.predictions) >= MOST_CAMERAS:
            return False
        if len(models) >= MOST_MODELS if known is None else known["sent_at"] > message.sent_at:
            return False
        told = models[key] = prediction_of(message)
        self.predictions[message.camera] = models
        for item in told["top"]:
            self._label(item["label"], item["display"])
        return True

    def event(self, message: EventMessage) -> Json:
        """Take in a phase of an event; the event as it stands now."""
        if self._floor is None:
            self._floor = message.seq - 1
        told = record_of(message)
        self.events.pop(message.id, None)  # so that the newest news comes last
        self.events[message.id] = told
        self._label(told["label"], told["display"])
        if len(self.events) > MOST_EVENTS:
            self._forget_event(next(iter(self.events)))
        return told

    def snapshot(self, snapshot: Snapshot) -> None:
        """Every camera as the publisher sees it; cameras that it does not have are gone."""
        self.keep_cameras(snapshot.cameras)
        for camera in snapshot.cameras.values():
            if camera.status is not None:
                self.status(camera.status)
            newest = () if camera.prediction is None else (camera.prediction,)
            for prediction in camera.predictions or newest:
                self.prediction(prediction)

    def keep_workers(self, told: Mapping[str, Any]) -> bool:
        """The workers of a front's heartbeat; none of a single run."""
        before = self.workers
        self.workers = {name: str(one["state"]) for name, one in sorted(told.items())[:MOST_WORKERS]}
        return self.workers != before

    def keep_cameras(self, names: Mapping[str, Any]) -> bool:
        """Forget cameras that are not in `names`."""
        gone = [name for name in {*self.statuses, *self.predictions} if name not in names]
        for name in gone:
            self.statuses.pop(name, None)
            self.predictions.pop(name, None)
            self._lost.pop(name, None)
        return bool(gone)

    def forget(self, now: float) -> None:
        """Drop events of which nothing was heard for long."""
        for name, told in list(self.events.items()):
            if told["sent_at"] >= now - WINDOW:
                break  # what follows is newer
            self._forget_event(name)

    def _forget_event(self, name: str) -> None:
        told = self.events.pop(name)
        self._floor = max(self._floor or 0, told["seq"])

    def synced(self, seq: int) -> None:
        """Everything up to number `seq` was offered."""
        if self._floor is None:
            self._floor = seq

    def new_history(self) -> None:
        """Numbers count in another history from here on: none of it is known yet."""
        self._floor = None

    def reaches(self, seq: int) -> bool:
        """Whether everything after number `seq` is in here."""
        return self._floor is not None and seq >= self._floor

    def _label(self, label: str, display: str) -> None:
        if label in self.labels or len(self.labels) < MOST_LABELS:
            self.labels[label] = display

    def state(self) -> Json:
        """All of it, for a page that knows nothing yet."""
        return {
            "cameras": [
                {
                    "camera": name,
                    "status": self.statuses.get(name),
                    "predictions": list(self.predictions.get(name, {}).values()),
                }
                for name in dict.fromkeys([*self.statuses, *self.predictions])
            ],
            "events": list(self.events.values()),
            "labels": [{"label": label, "display": display} for label, display in self.labels.items()],
            "workers": self.workers,
            "window": WINDOW,
        }
