"""The messages as they travel: topics, JSON objects, and how the program's values become them.

A message has two parts: a topic that ends in "/" and one compact UTF-8 JSON object; contract.py says what the
objects hold. The functions `*_body` build what is
particular to a message, `stamp` adds what all have in common.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from streamer.bus import contract, contract_schema
from streamer.types import CameraStatus, Event, LabelScore, Moment, Prediction, Track

VERSION: Final = contract.VERSION
KINDS: Final = tuple(contract.MESSAGES)
Body = dict[str, Any]
Display = Callable[[str], str]  # label -> what people call it


def escape_name(name: str) -> str:
    """A camera's name as it stands in a topic: "%" is written "%25" and "/" is "%2F", the rest as it is.

    Any percent-decoder (`urllib.parse.unquote`, `decodeURIComponent`) turns it back; the message itself holds
    the true name.
    """
    return name.replace("%", "%25").replace("/", "%2F")


def topic_for(kind: str, camera: str | None = None) -> str:
    """`topic_for("event", "front-door")` is `event/front-door/`; without a camera the whole kind,
    `event/`.
    """
    return f"{kind}/" if camera is None else f"{kind}/{escape_name(camera)}/"


def topic_of(message: Mapping[str, Any]) -> str:
    """The topic on which a message travels."""
    return topic_for(message["type"], message.get("camera"))


def encode(message: Mapping[str, Any]) -> bytes:
    """Compact UTF-8 JSON. Raises ValueError where a number is not finite (JSON has no word for it)."""
    text = json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")  # half a surrogate pair (an odd file name) becomes "?"


def decode(data: bytes) -> dict[str, Any]:
    """The object in `data`. Raises ValueError for anything but one JSON object, too deep a nesting
    included.
    """
    try:
        value = msgspec.json.decode(data)  # takes no NaN, no 1e999, no half surrogates
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"expected one JSON object, found {type(value).__name__}")
    return value


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of all messages."""
    return contract_schema.schema()


def stamp(body: Body, session: str, seq: int, sent_at: float) -> Body:
    """The whole message: what all messages begin with, then `body`."""
    kind = body["type"]
    message: Body = {"v": VERSION, "type": kind, "session": session, "seq": seq, "sent_at": round(sent_at, 6)}
    message.update(body)
    return message


def prediction_body(
    prediction: Prediction, stable: LabelScore | None, top: int, display: Display | None = None
) -> Body:
    """A prediction without `latency_ms.capture_to_publish`, which is known only when it is sent.

    `display` gives the names that people read beside the labels.

    Raises ValueError where a score is not a finite number.
    """
    window = prediction.window
    first, last = window.frames[0], window.frames[-1]
    described: contract.WindowJson = {
        "id": window.id,
        "start": round(first.wall, 3),
        "end": round(last.wall, 3),
        "frames": len(window.frames),
        "span": round(window.span, 4),
        "missing": window.missing,
    }
    if first.media_time is not None and last.media_time is not None:
        described["media_start"] = round(first.media_time, 4)
        described["media_end"] = round(last.media_time, 4)
    body: contract.PredictionBody = {
        "type": "prediction",
        "camera": prediction.camera,
        "model": prediction.model,
        "window": described,
        "top": [_label_score(item, display) for item in prediction.top(top)],
        "stable": None if stable is None else _label_score(stable, display),
        "latency_ms": {
            "capture_to_publish": 0.0,
            "preprocess": round(prediction.preprocess_s * 1000, 2),
            "inference": round(prediction.inference_s * 1000, 2),
        },
    }
    if prediction.held:  # nothing moved: the scores before stand
        body["held"] = True
    if window.follows:
        body["track"] = _track(window.track)
    return {**body}


def event_body(event: Event, display: Display | None = None) -> Body:
    """One phase of an event. Raises ValueError where a score is not a finite number."""
    told: contract.EventPhaseJson = {
        "id": event.id,
        "phase": str(event.phase),
        "label": event.label,
        "score": _score(event.score),
        "peak": _score(event.peak),
        "started_at": round(event.started.wall, 3),
        "decided_at": round(event.decided.wall, 3),
        "ended_at": None if event.ended is None else round(event.ended.wall, 3),
    }
    if event.started.media is not None:
        told["media_started_at"] = _media(event.started)
        told["media_decided_at"] = _media(event.decided)
        told["media_ended_at"] = None if event.ended is None else _media(event.ended)
    if event.reason is not None:
        told["reason"] = event.reason
    if event.background:
        told["background"] = True
    if display is not None:
        told["display"] = display(event.label)
    body: contract.EventBody = {
        "type": "event", "camera": event.camera, "model": event.model, "event": told,
    }  # fmt: skip
    if event.follows:
        body["track"] = _track(event.track)
    return {**body}


def status_body(status: CameraStatus, now: float) -> Body:
    """A camera's state; `now` is monotonic seconds, for the age of the newest frame."""
    body: contract.StatusBody = {
        "type": "status",
        "camera": status.camera,
        "state": str(status.state),
        "since": round(status.since, 3),
        "detail": status.detail,
        "fps": _optional(status.fps, 2),
        "width": status.width,
        "height": status.height,
        "dropped": dict(status.dropped),
        "captured": status.captured,
        "stored": status.stored,
        "picture": status.picture,
        "reconnects": status.reconnects,
        "age": None if status.newest is None else _optional(max(0.0, now - status.newest), 3),
    }
    if status.code is not None:
        body["code"] = status.code
    if status.labels_changed is not None:
        body["labels_changed"] = dict(status.labels_changed)
    if status.following is not None:
        body["following"] = status.following
    return {**body}


def preview_body(
    camera: str, jpeg: bytes, width: int, height: int, tracks: Iterable[Track] | None = None
) -> Body:
    """A small picture of a camera, and who is followed in it; sent only where people turned it on."""
    encoded = base64.b64encode(jpeg).decode("ascii")
    body: contract.PreviewBody = {
        "type": "preview", "camera": camera, "width": width, "height": height, "jpeg": encoded,
    }  # fmt: skip
    if tracks is not None:
        body["tracks"] = [_track_json(track) for track in tracks]
    return {**body}


def heartbeat_body(last_event_seq: int, cameras: Mapping[str, str], extra: Mapping[str, Any]) -> Body:
    """A sign of life; `extra` tells subscribers where requests are answered and which history this is."""
    body: contract.HeartbeatBody = {
        "type": "heartbeat", "last_event_seq": last_event_seq, "cameras": dict(cameras),
    }  # fmt: skip
    return {**body, **extra}


def error_body(code: str, message: str) -> Body:
    """The answer to a request that cannot be served."""
    body: contract.ErrorJson = {"v": VERSION, "type": "error", "code": code, "message": message}
    return {**body}


def events_reply(rows: Iterable[bytes], more: bool, extra: Mapping[str, Any]) -> bytes:
    """The answer to `op: events`; the rows are put in as they were stored, without being read again."""
    head = {"v": VERSION, "type": "events", **extra, "more": more}
    return encode(head)[:-1] + b',"events":[' + b",".join(rows) + b"]}"


def _label_score(item: LabelScore, display: Display | None) -> contract.LabelScoreJson:
    told: contract.LabelScoreJson = {"label": item.label, "score": _score(item.score)}
    if display is not None:
        told["display"] = display(item.label)
    return told


def _score(value: float) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"a score is {number}, which no message can carry")
    return round(number, 4)


def _track(track: Track | None) -> contract.TrackJson | None:
    return None if track is None else _track_json(track)


def _track_json(track: Track) -> contract.TrackJson:
    left, top, width, height = (min(2.0, max(-1.0, round(part, 4))) for part in track.box)
    return {"id": track.id, "box": (left, top, width, height)}


def _media(moment: Moment) -> float | None:
    return _optional(moment.media, 4)


def _optional(value: float | None, digits: int) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), digits)
