"""Where the pictures of an event lie. Standard library only, so that any program can find them.

    FOLDER/.streamer-recordings                       says that the folder is ours
    FOLDER/front-door/2026-11-21/event-9f2c61d0a4be.jpg   the picture at the event's peak
    FOLDER/front-door/2026-11-21/event-9f2c61d0a4be.mp4   its clip
    FOLDER/front-door/2026-11-21/event-asked-181502-417.jpg   a picture that somebody asked for (UTC)

The day is that of the event's start in UTC. Files are written under a hidden name and renamed when they are
whole: what `find` returns is complete.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

MARKER = ".streamer-recordings"  # a file in the folder: what lies below was made by streamer
SNAPSHOT, CLIP = ".jpg", ".mp4"
PART = ".part"  # the end of a file's name while it is written
_PREFIX = "event-"
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_OURS = re.compile(r"event-[^/]+\.(jpg|mp4)")
_PLAIN = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # names that Windows keeps for itself
_LONGEST = 40  # characters of a name that stay readable
_LONGEST_PATH = 4096  # characters


@dataclass(frozen=True, slots=True)
class Recording:
    """What there is of an event; None: it was not made, not yet, or removed meanwhile."""

    snapshot: Path | None = None  # JPEG at the peak
    clip: Path | None = None  # MP4, H.264


def safe_name(name: str) -> str:
    """A name for a file or folder, different for different names on every file system.

    Lower-case letters, digits and `._-` stay as they are; every other name keeps its letters and digits, of
    any script, and gets a part of its hash: `Front Door` is `front-door~15b2f183`.
    """
    if _PLAIN.fullmatch(name) and not _RESERVED.fullmatch(name):
        return name
    letters = unicodedata.normalize("NFKC", name).lower()
    kept = re.sub("-+", "-", "".join(c if c.isalnum() else "-" for c in letters)).strip("-")[:_LONGEST]
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{kept}~{digest}"


def day_of(unix: float) -> str:
    """The UTC day of Unix seconds, as a folder is called: `2026-11-21`."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d")


def place(folder: Path, camera: str, event_id: str, started_at: float, suffix: str) -> Path:
    """Where the file of an event is written: `suffix` is SNAPSHOT or CLIP, `started_at` Unix seconds."""
    return folder / safe_name(camera) / day_of(started_at) / f"{_PREFIX}{safe_name(event_id)}{suffix}"


def find(folder: Path, camera: str, event_id: str, started_at: float | None = None) -> Recording:
    """The files of an event, found by its id alone; `started_at` (Unix seconds) spares looking at each day.

    Never raises: what cannot be read is not there. No name leads out of `folder`.
    """
    own, name = folder / safe_name(camera), _PREFIX + safe_name(event_id)
    try:
        # the day before too: messages round the start, and may round it over midnight
        days = _days(own) if started_at is None else sorted({day_of(started_at), day_of(started_at - 1.0)})
    except (ValueError, OverflowError, OSError):  # no time at all
        return Recording()
    for day in days:
        snapshot, clip = own / day / (name + SNAPSHOT), own / day / (name + CLIP)
        found = Recording(snapshot if _is_file(snapshot) else None, clip if _is_file(clip) else None)
        if found.snapshot is not None or found.clip is not None:
            return found
    return Recording()


def told_folder(path: object) -> Path | None:
    """A folder that a run says it records into, where it is one on this machine: nothing else will do,
    whoever says it.
    """
    if not isinstance(path, str) or not 0 < len(path) <= _LONGEST_PATH or "\0" in path:
        return None
    folder = Path(path)
    return folder if folder.is_absolute() and _is_file(folder / MARKER) else None


def recorded(folder: Path) -> Iterator[Path]:
    """Every finished file that is ours, in no order; nothing where the folder has no MARKER."""
    if _is_file(folder / MARKER):
        yield from _files(folder, lambda name: _OURS.fullmatch(name) is not None)


def unfinished(folder: Path) -> Iterator[Path]:
    """Files that were being written when a program died (or are being written now)."""
    if _is_file(folder / MARKER):
        yield from _files(folder, lambda name: name.startswith(f".{_PREFIX}") and name.endswith(PART))


def _files(folder: Path, wanted: Callable[[str], bool]) -> Iterator[Path]:
    for camera in _inside(folder):
        if camera.is_symlink():  # leads elsewhere: not ours
            continue
        for day in _days(camera):
            yield from (path for path in _inside(camera / day) if wanted(path.name) and _is_file(path))


def _days(camera: Path) -> list[str]:
    """The names of a camera's day folders, newest first."""
    return sorted((path.name for path in _inside(camera) if _DAY.fullmatch(path.name)), reverse=True)


def _inside(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _is_file(path: Path) -> bool:
    try:
        return path.is_file() and not path.is_symlink()
    except OSError:
        return False
