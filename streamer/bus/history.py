"""`streamer events`: what happened, read from the history file, also while the program writes to it."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sqlite3
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

from streamer.bus.position import parse_time
from streamer.bus.store import SCHEMA_VERSION, default_path
from streamer.errors import BusError
from streamer.recording.files import find
from streamer.recording.retention import default_folder
from streamer.system.terminal_text import printable
from streamer.system.text_table import text_table, width_of

COLUMNS = (
    "seq", "id", "camera", "model", "label", "phase", "started_at", "ended_at", "seconds", "peak", "score",
    "reason", "snapshot", "clip",
)  # fmt: skip
TABLE_LIMIT = 50


def list_events(
    path: str | Path | None = None,
    since: float | None = None,
    camera: str | None = None,
    label: str | None = None,
    limit: int | None = None,
    recordings: str | Path | None = None,
) -> list[dict[str, Any]]:
    """One dict per event (keys: COLUMNS), oldest first; of more than `limit` the newest.

    `recordings`: the folder of the pictures of events (`recording.folder`; None: the usual one), in which
    `snapshot` and `clip` are looked for; they are None where there is none.

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
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `streamer events`."""
    parser.add_argument("--journal", metavar="FILE", help="history file (default: the user's state folder)")
    parser.add_argument(
        "--recordings", metavar="DIR", help="folder of snapshots and clips (default: the user's state folder)"
    )
    parser.add_argument("--config", metavar="FILE", help="a config file, which says where both are")
    parser.add_argument("--camera", help="only this camera's")
    parser.add_argument("--label", help="only this label's")
    parser.add_argument(
        "--since", metavar="WHEN", help="90s, 15m, 2h, 3d ago, '2026-01-31 14:00' or Unix seconds"
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help=f"the newest N (table: {TABLE_LIMIT}; else all)"
    )
    parser.add_argument(
        "--format", choices=("table", "json", "csv"), default="table", help="json: one object a line"
    )


def run(args: argparse.Namespace) -> int:
    """Print the events; returns the exit code. Raises BusError for the command line to print."""
    if args.limit is not None and args.limit < 1:
        raise BusError(f"--limit {args.limit}: must be 1 or more")
    limit = TABLE_LIMIT if args.limit is None and args.format == "table" else args.limit
    since = None if args.since is None else parse_time(args.since, time.time())
    journal, recordings = _places(args)
    records = list_events(journal, since, args.camera, args.label, limit, recordings)
    _WRITERS[args.format](records, sys.stdout)
    return 0


def _places(args: argparse.Namespace) -> tuple[str | None, str | None]:
    """Where the history and the pictures are: as the options say, else as the config file does."""
    if args.config is None:
        return args.journal, args.recordings
    from streamer.config import load_config

    config = load_config(args.config)
    return args.journal or config.journal.path, args.recordings or config.recording.folder


def write_table(records: Sequence[dict[str, Any]], out: TextIO) -> None:
    """For people: local times, seconds."""
    if not records:
        print("no events", file=out)
        return
    pictures = any(record["snapshot"] or record["clip"] for record in records)
    head = ("started", "lasted", "camera", "label", "peak", "", "clip or snapshot" if pictures else "")
    rows = []
    for record in records:
        started = datetime.fromtimestamp(record["started_at"]).strftime("%Y-%m-%d %H:%M:%S")
        lasted = "goes on" if record["seconds"] is None else f"{record['seconds']:.1f} s"
        words = (
            started,
            lasted,
            record["camera"],
            record["label"],
            f"{record['peak']:.2f}",
            record["reason"] or "",
            record["clip"] or record["snapshot"] or "",
        )
        rows.append([printable(str(word)) for word in words])
    for line in text_table(head, rows, width=width_of(out)):
        print(line, file=out)


def write_json(records: Sequence[dict[str, Any]], out: TextIO) -> None:
    """One object a line."""
    for record in records:
        print(json.dumps(record, ensure_ascii=False), file=out)


def write_csv(records: Sequence[dict[str, Any]], out: TextIO) -> None:
    """A header and one line per event; times in Unix seconds."""
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)


_WRITERS = {"table": write_table, "json": write_json, "csv": write_csv}
