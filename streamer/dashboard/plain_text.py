"""One line of plain text per change: for screen readers, log files, and terminals that can do no more."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, TextIO

from streamer.dashboard.line_sink import LineSink
from streamer.system.terminal_text import printable


class PlainSink(LineSink):
    """Says what changed: camera states, starts and ends of events.

        14:03:20 front-door: running, 640x480, 25 frames/s
        14:03:22 front-door: waving started (score 0.82)
        14:03:27 front-door: waving ended after 4.6 s (peak score 0.93)

    Times are local. No control codes, no colours.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        stop: threading.Event | None = None,
        complete: bool = False,
    ) -> None:
        super().__init__(stream, stop=stop, complete=complete)
        self._states: dict[str, tuple[Any, ...]] = {}
        self._day = ""

    def send(self, topic: str, message: Mapping[str, Any]) -> None:
        """Write a line if `message` is a change; predictions, updates and heartbeats are none."""
        kind = message.get("type")
        text = None
        if kind == "event" and not message["event"].get("background"):
            text = event_text(message)
        elif kind == "status":
            text = self._status(message)
        if text is not None:
            self._say(
                float(message.get("sent_at", 0.0)), f"{printable(str(message.get('camera', '?')))}: {text}"
            )

    def _status(self, message: Mapping[str, Any]) -> str | None:
        """The camera's line, or None if it says nothing new (statuses are repeated every few seconds)."""
        camera = str(message.get("camera", "?"))
        changed = message.get("labels_changed") or {}
        news = (message.get("state"), message.get("code"), message.get("picture", "ok"))
        if self._states.get(camera) == (*news, changed.get("change")):
            return None
        before, self._states[camera] = self._states.get(camera), (*news, changed.get("change"))
        if changed and before is not None and before[:-1] == news:
            return "looks for " + ", ".join(printable(str(label)) for label in changed.get("labels", ()))
        return status_text(message)

    def _say(self, at: float, text: str) -> None:
        local = time.localtime(at)
        clock, day = time.strftime("%H:%M:%S", local), time.strftime("%Y-%m-%d", local)
        if self._day and day != self._day:
            self._writer.write(f"{clock} the date is {day}", important=True)
        self._day = day
        self._writer.write(f"{clock} {text}", important=True)


def event_text(message: Mapping[str, Any]) -> str | None:
    """What an event message says, in words; None for updates."""
    event, track = message["event"], message.get("track")
    label = printable(str(event.get("display") or event["label"]))
    label = f"person {printable(str(track['id']))}: {label}" if track else label
    if event["phase"] == "start":
        return f"{label} started (score {event['score']:.2f}{_media(event, 'started')})"
    if event["phase"] != "end":
        return None
    seconds = _length(event)
    text = f"{label} ended after {spoken(seconds)} (peak score {event['peak']:.2f}{_media(event, 'ended')})"
    return f"{text}, {printable(str(event['reason']))}" if event.get("reason") else text


def _length(event: Mapping[str, Any]) -> float:
    """Seconds from start to end; for files, of the video, which may play faster than time passes."""
    start, end = event.get("media_started_at"), event.get("media_ended_at")
    if start is None or end is None or end < start:  # live, or the file began again meanwhile
        start, end = event["started_at"], event.get("ended_at")
    return 0.0 if end is None else max(0.0, float(end) - float(start))


def status_text(message: Mapping[str, Any]) -> str:
    """What a status message says, in words."""
    words = [printable(str(message.get("state", "unknown")))]
    width, height, fps = message.get("width"), message.get("height"), message.get("fps")
    if message.get("state") == "running":
        if width and height:
            words.append(f"{width}x{height}")
        if fps:
            words.append(f"{fps:.0f} frames/s")
        if message.get("picture", "ok") != "ok":
            words.append(f"the picture is {printable(str(message['picture']))}")
    if message.get("detail"):
        words.append(printable(str(message["detail"])))
    return ", ".join(words)


def spoken(seconds: float) -> str:
    """A duration as people say it: 4.6 s, 2 min 5 s, 3 h 12 min."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _media(event: Mapping[str, Any], key: str) -> str:
    """Where in the file that was, for files."""
    at = event.get(f"media_{key}_at")
    return "" if at is None else f", {spoken(float(at))} into the file"
