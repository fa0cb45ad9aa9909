"""What happened, read from the history file, also while the program writes to it."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from streamer.bus.journal_file import SCHEMA_VERSION, default_path
from streamer.errors import BusError
from streamer.recording.event_spans_in_clip import span_in
from streamer.recording.files import find
from streamer.recording.retention import default_folder

COLUMNS = (
    "seq", "id", "camera", "model", "label", "phase", "started_at", "ended_at", "seconds", "peak", "score",
    "reason", "snapshot", "clip", "clip_from", "clip_to",
)  # fmt: skip


def list_events(
    path: str | Path | None = None,
    since: float | None = None,
    camera: str | None = None,
    label: str | None = None,
    limit: int | None = None,
    recordings: str | Path | None = None,
    *,
    background: bool = True,
) -> list[dict[str, Any]]:
    """One dict per event (keys: COLUMNS), oldest first; of more than `limit` the newest. Those of cameras
    that follow people have `track` too, as messages have it: where they were at the newest phase.

    `recordings`: the folder of the pictures of events (`recording.folder`; None: the usual one), in which
    `snapshot` and `clip` are looked for; they are None where there is none. A clip shows a whole burst of
    events: `clip_from` and `clip_to` are where in it this one is, in seconds, None where that is not known.

    `background`: those too whose label means "no action".

    `path` None: the default history file. `since`: Unix seconds; events of which anything was said since
    then. An event that goes on has `ended_at` None and `seconds` None. Raises BusError where there is no
    history or it cannot be read.
    """
    file = default_path() if path is None else Path(os.path.expanduser(path))
    if not file.is_file():
        raise BusError(
            f"there is no event history at {file}; 'streamer run' makes one, --journal names another"
        )
    where, values = ["1"], []
    for column, value in (("sent_at >=", since), ("camera =", camera), ("label =", label)):
        if value is not None:
            where.append(f"{column} ?")
            values.append(value)
    if not background:
        where.append("json_extract(message, '$.event.background') IS NOT 1")
    query = (
        "SELECT message FROM events WHERE seq IN (SELECT max(seq) FROM events WHERE "
        + " AND ".join(where)
        + " GROUP BY event_id) ORDER BY seq DESC LIMIT ?"
    )
    try:
        with closing(_open(file)) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version != SCHEMA_VERSION:
                raise BusError(f"{file} is no event history of this version (format {version})")
            rows = db.execute(query, (*values, -1 if limit is None else limit)).fetchall()
    except sqlite3.Error as error:
        raise BusError(f"cannot read the event history {file}: {error}") from error
    pictures = default_folder() if recordings is None else Path(os.path.expanduser(recordings))
    return [_record(json.loads(message), pictures) for (message,) in reversed(rows)]


def names_in(path: str | Path | None = None) -> tuple[list[str], list[str]]:
    """(cameras, labels) that any event of the history has. Raises BusError as `list_events` does."""
    file = default_path() if path is None else Path(os.path.expanduser(path))
    try:
        with closing(_open(file)) as db:
            rows = [
                sorted(name for (name,) in db.execute(f"SELECT DISTINCT {column} FROM events"))
                for column in ("camera", "label")
            ]
    except sqlite3.Error as error:
        raise BusError(f"cannot read the event history {file}: {error}") from error
    return rows[0], rows[1]


def _open(file: Path) -> sqlite3.Connection:
    place = f"file:{quote(str(file))}"
    try:
        db = sqlite3.connect(f"{place}?mode=ro", uri=True, timeout=2.0)
        db.execute("PRAGMA user_version").fetchone()
    except sqlite3.OperationalError:
        # a folder in which no -shm file can be made: nobody writes there, so the file may be taken as it is
        db = sqlite3.connect(f"{place}?immutable=1", uri=True, timeout=2.0)
    return db


def _record(message: dict[str, Any], pictures: Path) -> dict[str, Any]:
    event = message["event"]
    recording = find(pictures, message["camera"], event["id"], event["started_at"])
    clip_from, clip_to = (recording.clip and span_in(recording.clip, event["id"])) or (None, None)
    started, ended = event["started_at"], event["ended_at"]
    return {
        "seq": message["seq"],
        "id": event["id"],
        "camera": message["camera"],
        "model": message.get("model"),
        "label": event["label"],
        "phase": event["phase"],
        "started_at": started,
        "ended_at": ended,
        "seconds": None if ended is None else round(ended - started, 3),
        "peak": event["peak"],
        "score": event["score"],
        "reason": event.get("reason"),
        "snapshot": None if recording.snapshot is None else str(recording.snapshot),
        "clip": None if recording.clip is None else str(recording.clip),
        "clip_from": clip_from,
        "clip_to": clip_to,
        **({"background": True} if event.get("background") else {}),
        **({"track": message["track"]} if "track" in message else {}),
    }
