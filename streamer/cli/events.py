"""`streamer events`: what happened, as a table, JSON lines or CSV."""

from __future__ import annotations

import argparse
import csv
import difflib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from streamer.bus.history import COLUMNS, list_events, names_in
from streamer.bus.position import parse_time
from streamer.errors import BusError
from streamer.system.terminal_text import printable_json
from streamer.system.text_table import text_table, width_of

if TYPE_CHECKING:
    from streamer.config import Config

TABLE_LIMIT = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `streamer events`."""
    parser.add_argument("--journal", metavar="FILE", help="history file (default: the user's state folder)")
    parser.add_argument(
        "--recordings", metavar="DIR", help="folder of snapshots and clips (default: the user's state folder)"
    )
    parser.add_argument("--config", metavar="FILE", help="a config file, which says where both are")
    parser.add_argument("--camera", help="only this camera's")
    parser.add_argument("--label", help="only this label's (table: all but those that mean no action)")
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
    config = _config(args.config)
    journal = args.journal or (config.journal.path if config else None)
    recordings = args.recordings or (config.recording.folder if config else None)
    more = None if limit is None else limit + 1
    # people are not told of "no action", unless they name it; programs get everything
    whole = args.label is not None or args.format != "table"
    records = list_events(journal, since, args.camera, args.label, more, recordings, background=whole)
    if not records:
        _refuse_unknown(args, journal, config)
    if limit is not None and len(records) > limit:
        records = records[-limit:]
        if args.limit is None:
            told = f"the newest {limit} events; --limit {10 * limit} or --since shows more"
            print(f"streamer: {told}", file=sys.stderr)
    _WRITERS[args.format](records, sys.stdout)
    return 0


def _config(file: str | None) -> Config | None:
    if file is None:
        return None
    from streamer.config import load_config

    return load_config(file)


def _refuse_unknown(args: argparse.Namespace, journal: str | None, config: Config | None) -> None:
    """A camera or label that was mistyped is no camera without events. Raises BusError."""
    cameras, labels = names_in(journal)
    cameras += [camera.name for camera in config.cameras] if config else []
    for option, name, known in (("--camera", args.camera, cameras), ("--label", args.label, labels)):
        if name is not None and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            shown = ", ".join(dict.fromkeys(known)) or "none yet"
            hint = f"did you mean {near[0]!r}?" if near else f"it has {shown}"
            raise BusError(f"{option} {name!r}: the history has no event of it; {hint}")


def write_table(records: Sequence[dict[str, Any]], out: TextIO) -> None:
    """For people: local times, seconds."""
    if not records:
        print("no events", file=out)
        return
    pictures = any(record["snapshot"] or record["clip"] for record in records)
    placed = any(record["clip_from"] is not None for record in records)
    people = any(record.get("track") for record in records)
    head = ("started", "lasted", "camera", "person" if people else "", "label", "peak", "",
            "in clip at" if placed else "", "clip or snapshot" if pictures else "")  # fmt: skip
    rows = []
    for record in records:
        started = datetime.fromtimestamp(record["started_at"]).strftime("%Y-%m-%d %H:%M:%S")
        lasted = "still on" if record["seconds"] is None else f"{record['seconds']:.1f} s"
        words = (
            started,
            lasted,
            record["camera"],
            _person(record),
            record["label"],
            f"{record['peak']:.2f}",
            record["reason"] or "",
            "" if record["clip_from"] is None else f"{record['clip_from']:.1f} s",
            record["clip"] or record["snapshot"] or "",
        )
        rows.append([str(word) for word in words])
    for line in text_table(head, rows, width=width_of(out)):
        print(line, file=out)


def write_json(records: Sequence[dict[str, Any]], out: TextIO) -> None:
    """One object a line."""
    for record in records:
        print(printable_json(json.dumps(record, ensure_ascii=False)), file=out)


def write_csv(records: Sequence[dict[str, Any]], out: TextIO) -> None:
    """A header and one line per event; times in Unix seconds."""
    people = ("track",) if any("track" in record for record in records) else ()
    writer = csv.DictWriter(out, (*COLUMNS, *people), lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows({**record, **({"track": _person(record)} if people else {})} for record in records)


def _person(record: Mapping[str, Any]) -> str:
    """The number of who is followed; "" for the whole picture."""
    return str(record["track"]["id"]) if record.get("track") else ""


_WRITERS = {"table": write_table, "json": write_json, "csv": write_csv}
