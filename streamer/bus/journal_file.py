"""The event history's SQLite file: its tables and the questions asked of it. Who asks when is journal.py's.

One row per event phase; `seq` is the row number and is never used twice. Write-ahead logging with
`synchronous=NORMAL`: what is committed survives the end of the process at any instant; a power cut may take
the last commits, never the file.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from streamer.bus.forwarded_events import Origin
from streamer.errors import BusError
from streamer.system.private_files import private_folder
from streamer.system.user_folders import state_folder

SCHEMA_VERSION = 1
APPLICATION = 0x73747231  # "str1", in the file's header
MEMORY = ":memory:"
CACHE = 512  # KB of pages kept; SQLite's 2 MB fill up over the first 2,000 rows and make commits no faster

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    sent_at REAL NOT NULL, event_id TEXT NOT NULL, camera TEXT NOT NULL, label TEXT NOT NULL,
    phase TEXT NOT NULL, message TEXT NOT NULL);
CREATE INDEX events_sent_at ON events (sent_at);
CREATE INDEX events_camera ON events (camera);
CREATE INDEX events_label ON events (label);
CREATE TABLE open_events (event_id TEXT PRIMARY KEY, message TEXT NOT NULL);
CREATE TABLE sessions (
    n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, first_seq INTEGER NOT NULL,
    started_at REAL NOT NULL);
"""


# only where events are forwarded: the last place in each history, which the pruning of rows leaves alone
_ORIGINS = """
CREATE TABLE IF NOT EXISTS origins (
    journal TEXT PRIMARY KEY, worker TEXT NOT NULL, session TEXT NOT NULL, seq INTEGER NOT NULL)
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One event phase as it is stored."""

    seq: int
    sent_at: float
    event_id: str
    camera: str
    label: str
    phase: str
    message: bytes  # the JSON as it was sent

    def matches(self, camera: str | None, label: str | None) -> bool:
        return camera in (None, self.camera) and label in (None, self.label)


def default_path() -> Path:
    """The history's place where none is configured: the user's state folder of this system."""
    return state_folder() / "events.db"


def prepare_file(path: Path) -> None:
    """Make the folder and an empty file that only the user can read: it tells what people did."""
    private_folder(path.parent)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


class JournalFile:
    """An open history. All methods raise sqlite3.Error; used on the thread that made it."""

    def __init__(self, path: str, new_id: str) -> None:
        self.path = path
        self._db = sqlite3.connect(path, timeout=0.2, isolation_level=None)
        try:
            self._prepare(new_id)
        except BaseException:
            self._db.close()
            raise
        self._inode = self._stat()

    def _prepare(self, new_id: str) -> None:
        db = self._db
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise BusError(f"{self.path} was written by a newer streamer (format {version})")
        (owner,) = db.execute("PRAGMA application_id").fetchone()
        if owner != APPLICATION and db.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
            raise BusError(f"{self.path} is another program's database")
        if version == 0:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before the first table, or never
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA journal_size_limit = 8388608")
        db.execute(f"PRAGMA cache_size = -{CACHE}")
        if version == 0:
            with self._transaction():
                for statement in _TABLES.split(";"):
                    db.execute(statement)
                db.execute("INSERT INTO meta VALUES ('id', ?)", (new_id,))
                db.execute(f"PRAGMA application_id = {APPLICATION}")
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self.id = str(db.execute("SELECT value FROM meta WHERE key = 'id'").fetchone()[0])
        found = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        self.last = int(found[0]) if found else 0

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def continue_from(self, last: int) -> None:
        """Let an empty history go on counting after `last`."""
        with self._transaction():
            self._db.execute("DELETE FROM sqlite_sequence WHERE name = 'events'")
            self._db.execute("INSERT INTO sqlite_sequence VALUES ('events', ?)", (last,))
        self.last = last

    def begin_session(self, session: str, first_seq: int, now: float) -> None:
        """Remember where a session begins; written through to the disk, power cut or not."""
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(
            "INSERT OR REPLACE INTO sessions (id, first_seq, started_at) VALUES (?, ?, ?)",
            (session, first_seq, now),
        )
        self._db.execute("PRAGMA synchronous = NORMAL")

    def next_session(self, session: str) -> tuple[bool, int | None]:
        """Whether a session is known here, and the first number of the one after it (None: it is the
        last).
        """
        known = self._db.execute("SELECT n FROM sessions WHERE id = ?", (session,)).fetchone()
        if known is None:
            return False, None
        later = self._db.execute(
            "SELECT first_seq FROM sessions WHERE n > ? ORDER BY n LIMIT 1", known
        ).fetchone()
        return True, None if later is None else int(later[0])

    def origins(self) -> list[Origin]:
        """The last place taken of each other history, that of which nothing came for longest first; empty
        where nothing was ever forwarded.
        """
        tables = "SELECT count(*) FROM sqlite_master WHERE name = 'origins'"
        if self._db.execute(tables).fetchone() == (0,):
            return []
        found = self._db.execute("SELECT worker, journal, session, seq FROM origins ORDER BY rowid")
        return [Origin(*row) for row in found]

    def delete_origins(self, journals: Iterable[str]) -> None:
        """Forget the places in these histories."""
        with self._transaction():
            self._db.executemany("DELETE FROM origins WHERE journal = ?", [(one,) for one in journals])

    def insert(self, rows: Sequence[Row], origins: Iterable[Origin] = ()) -> None:
        """Write rows in one transaction, and with them the list of open events and the places in other
        histories that they come from.
        """
        with self._transaction():
            for number, origin in enumerate(origins):
                if number == 0:
                    self._db.execute(_ORIGINS)
                self._db.execute(  # what is replaced goes to the end
                    "INSERT OR REPLACE INTO origins VALUES (?, ?, ?, ?)",
                    (origin.journal, origin.worker, origin.session, origin.seq),
                )
            for row in rows:
                text = row.message.decode()
                self._db.execute(
                    "INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (row.seq, row.sent_at, row.event_id, row.camera, row.label, row.phase, text),
                )
                if row.phase == "end":
                    self._db.execute("DELETE FROM open_events WHERE event_id = ?", (row.event_id,))
                else:
                    self._db.execute("INSERT OR REPLACE INTO open_events VALUES (?, ?)", (row.event_id, text))

    def open_events(self) -> list[bytes]:
        """The last message of each event that has not ended."""
        found = self._db.execute("SELECT CAST(message AS BLOB) FROM open_events ORDER BY rowid")
        return [bytes(message) for (message,) in found]

    def after(self, seq: int, camera: str | None, label: str | None, limit: int) -> list[Row]:
        """Rows with a greater number, oldest first."""
        where, values = "seq > ?", [str(seq)]  # SQLite compares as the column's kind asks
        for column, value in (("camera", camera), ("label", label)):
            if value is not None:
                where, values = f"{where} AND {column} = ?", [*values, value]
        found = self._db.execute(
            "SELECT seq, sent_at, event_id, camera, label, phase, CAST(message AS BLOB) FROM events"
            f" WHERE {where} ORDER BY seq LIMIT ?",
            (*values, limit),
        )
        return [Row(*row) for row in found]

    def first_since(self, unix: float) -> int | None:
        """The number of the first row sent at `unix` or later; None where there is none."""
        (first,) = self._db.execute("SELECT min(seq) FROM events WHERE sent_at >= ?", (unix,)).fetchone()
        return None if first is None else int(first)

    def size(self) -> int:
        """Bytes in use."""
        pragma = self._db.execute
        pages = pragma("PRAGMA page_count").fetchone()[0] - pragma("PRAGMA freelist_count").fetchone()[0]
        return int(pages * pragma("PRAGMA page_size").fetchone()[0])

    def delete_oldest(self, count: int, sent_before: float | None) -> int:
        """Delete up to `count` of the oldest rows (those sent before a time); returns how many went."""
        oldest = "SELECT seq, sent_at FROM events ORDER BY seq LIMIT ?"
        limit = "SELECT max(seq) FROM (" + oldest + ")" + (" WHERE sent_at < ?" if sent_before else "")
        values = (count, sent_before) if sent_before else (count,)
        gone = self._db.execute(f"DELETE FROM events WHERE seq <= ({limit})", values).rowcount
        if gone:
            self._db.execute("PRAGMA incremental_vacuum(500)").fetchall()
        return gone

    def moved(self) -> bool:
        """Whether the file was taken away or replaced under us."""
        return self.path != MEMORY and self._stat() != self._inode

    def _stat(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def close(self) -> None:
        self._db.close()
