"""Snapshots and clips of events, found by camera and event id, never by a path that somebody sends."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from importlib import import_module
from pathlib import Path
from typing import Any

from streamer.recording.event_spans_in_clip import Span, span_in

THUMBNAIL = (240, 180)  # pixels that a small picture fits into
MOST_THUMBNAILS = 500  # kept in memory, some 8 kB each
MOST_PIXELS = 50_000_000  # of a picture that is made small
MEDIA = {"snapshot": "image/jpeg", "clip": "video/mp4"}
LONGEST = 500  # characters of a camera's name or an event's id


def kept_of(folder: Path | None, camera: str, event_id: str) -> dict[str, Any]:
    """`kinds`: which of "snapshot" and "clip" there are; `from`, `to`: where in the clip the event is, in
    seconds, None where that is not known.
    """
    paths = {kind: path_of(folder, camera, event_id, kind) for kind in MEDIA}
    begin, end = span_of(paths["clip"], event_id) or (None, None)
    kinds = [kind for kind, path in paths.items() if path is not None]
    return {"kinds": kinds, "from": begin, "to": end}


def span_of(clip: Path | None, event_id: str) -> Span | None:
    """Where an event is in its clip."""
    return None if clip is None else span_in(clip, event_id)


def path_of(folder: Path | None, camera: str, event_id: str, kind: str) -> Path | None:
    """The file of an event; None where there is none, or where it would lie outside of `folder`."""
    if folder is None or kind not in MEDIA or not camera or not event_id:
        return None
    if max(len(camera), len(event_id)) > LONGEST or "\0" in camera + event_id:
        return None
    found = _find(folder, camera, event_id)
    path = getattr(found, kind, None)
    if not isinstance(path, Path):
        return None
    try:
        real = path.resolve(strict=True)
        inside = real.is_relative_to(folder.resolve(strict=True)) and real.is_file()
    except (OSError, RuntimeError, ValueError):
        return None
    return real if inside else None


class Thumbnails:
    """Small pictures of events, made once each. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: OrderedDict[tuple[Path, int], bytes] = OrderedDict()

    def of(self, folder: Path | None, camera: str, event_id: str) -> bytes | None:
        """A JPEG of the event's snapshot; None where there is none."""
        path = path_of(folder, camera, event_id, "snapshot")
        try:
            if path is None:
                return None
            key = path, path.stat().st_mtime_ns  # replaced while the score rises
            with self._lock:
                if key not in self._made:
                    self._made[key] = _small(path)
                self._made.move_to_end(key)
                if len(self._made) > MOST_THUMBNAILS:
                    self._made.popitem(last=False)
                return self._made[key]
        except (OSError, ValueError, SyntaxError):  # what Pillow says of a file that is no picture
            return None


def _small(path: Path) -> bytes:
    """Raises OSError, ValueError, SyntaxError."""
    from PIL import Image

    made = io.BytesIO()
    with Image.open(path, formats=("JPEG",)) as image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError("too large")
        image.draft("RGB", THUMBNAIL)  # decoded at the size that is needed, in a few milliseconds
        image.thumbnail(THUMBNAIL)
        image.convert("RGB").save(made, "JPEG", quality=75)
    return made.getvalue()


def _find(folder: Path, camera: str, event_id: str) -> Any:
    try:
        files = import_module("streamer.recording.files")
        return files.find(folder, camera, event_id)
    except (ImportError, OSError, ValueError):
        return None
