"""Snapshots and clips of events, found by camera and event id, never by a path that somebody sends."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

MEDIA = {"snapshot": "image/jpeg", "clip": "video/mp4"}
LONGEST = 500  # characters of a camera's name or an event's id


def kinds_of(folder: Path | None, camera: str, event_id: str) -> list[str]:
    """Which of "snapshot" and "clip" there are."""
    return [kind for kind in MEDIA if path_of(folder, camera, event_id, kind) is not None]


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


def _find(folder: Path, camera: str, event_id: str) -> Any:
    try:
        files = import_module("streamer.recording.files")
        return files.find(folder, camera, event_id)
    except (ImportError, OSError, ValueError):
        return None
