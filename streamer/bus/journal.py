"""The event history: every event phase is written here before it is published, and replayed from here.

`seq`, the number of an event message, is its row number in the history. It grows by one over restarts, so a
subscriber that remembers the last one it saw can ask for what it missed. Where the disk fails, numbering
goes on in memory, the rows wait there, and are written once the disk works again.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import uuid
from collections import deque
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from streamer.bus import wire
from streamer.bus.forwarded_events import Origin, closing
from streamer.bus.journal_file import MEMORY, JournalFile, Row, default_path, prepare_file
from streamer.config import JournalConfig
from streamer.errors import BusError
from streamer.system.clock import SYSTEM_CLOCK, Clock
from streamer.system.file_lock import FileLock
from streamer.system.private_files import exposure, open_to_others

RETRY = 5.0  # seconds between attempts to write to a failing disk
TIDY = 30.0  # seconds between two looks at age and size
TIDY_ROWS = 1000  # ... or as many new rows
CHUNK = 500  # rows deleted at once: a few milliseconds
MAX_WAITING = 10_000  # rows kept in memory while the disk fails
MOST_ORIGINS = 10_000  # places in other histories: workers that are new machines each time bring new ones
MAX_LIMIT = 5000  # rows in one answer
MAX_PAGE_BYTES = 1 << 20

Sent = tuple[wire.Body, bytes]  # a message and its JSON


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the history: rows with a number greater than `after`."""

    after: int
    rows: list[Row]
    more: bool


class Journal:
    """The history of one run of the program. Made, used and closed on one thread; nothing here raises for a
    disk that fails: `on_problem` is told in one line, once, and again when it is over.
    """

    def __init__(
        self,
        config: JournalConfig,
        session: str,
        *,
        clock: Clock = SYSTEM_CLOCK,
        on_problem: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._config, self._session, self._clock, self._on_problem = config, session, clock, on_problem
        self._lock: FileLock | None = None
        self._waiting: deque[Row] = deque()
        self._failing = False
        self._retry_at = 0.0
        self._lost = 0
        self._tidy_at, self._new_rows = clock.monotonic() + TIDY, 0
        self._file = self._open()
        self.last = self._file.last
        self.origins = self._known_origins()  # the last place taken of each other history, by its id
        self._new_origins: dict[str, Origin] = {}  # not written yet

    # ---- opening

    def _open(self) -> JournalFile:
        if self._config.path == "":
            return self._memory()
        path = default_path() if self._config.path is None else Path(os.path.expanduser(self._config.path))
        try:
            prepare_file(path)
            self._lock = FileLock(Path(f"{path}.lock"))
            try:
                file = JournalFile(str(path), uuid.uuid4().hex)
            except sqlite3.DatabaseError as error:
                # locked, full, read-only: not the file's fault; or it is somebody's film, named by mistake
                if isinstance(error, sqlite3.OperationalError) or not _looks_like_ours(path):
                    raise
                self._on_problem(f"event history: {path} is damaged ({error}); {self._move_aside(path)}")
                prepare_file(path)
                file = JournalFile(str(path), uuid.uuid4().hex)
            file.begin_session(self._session, file.last + 1, self._clock.wall())
            if open_to_others(path):
                self._on_problem(exposure(path, "event history"))
        except (OSError, sqlite3.Error, BusError) as error:
            self._release()
            self._on_problem(
                f"event history: cannot use {path}: {error}; events of this run are kept in memory only"
                " (give another file with journal.path, or free this one and start again)"
            )
            return self._memory()
        return file

    def _memory(self) -> JournalFile:
        file = JournalFile(MEMORY, uuid.uuid4().hex)
        file.begin_session(self._session, 1, self._clock.wall())
        return file

    def _move_aside(self, path: Path) -> str:
        aside = f"{path}.damaged-{int(self._clock.wall())}"
        os.replace(path, aside)
        for ending in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{path}{ending}", f"{aside}{ending}")
        return f"it was moved to {aside} and a new history begun"

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    # ---- writing

    @property
    def id(self) -> str:
        """Which history this is: numbers of different histories have nothing to do with each other."""
        return self._file.id

    @property
    def durable(self) -> bool:
        """Whether events are on disk at this moment."""
        return self._file.path != MEMORY and not self._failing

    def take_open(self) -> list[wire.Body]:
        """Ends for the events that an earlier run left open; to be appended before anything else."""
        return [closing(message, "program stopped", message["sent_at"]) for message in self.left_open()]

    def left_open(self) -> list[wire.Body]:
        """The last messages of the events that an earlier run left open."""
        try:
            return [wire.decode(message) for message in self._file.open_events()]
        except (sqlite3.Error, ValueError) as error:
            self._on_problem(f"event history: cannot read the events that an earlier run left open: {error}")
            return []

    def _known_origins(self) -> dict[str, Origin]:
        try:
            return {origin.journal: origin for origin in self._file.origins()}
        except sqlite3.Error as error:
            self._on_problem(f"event history: cannot read the places in other histories: {error}")
            return {}

    def append(self, bodies: Sequence[wire.Body], passed: Sequence[Origin] = ()) -> list[Sent]:
        """Number, stamp and write event bodies; when this returns they are in the history (or wait for
        it).

        `passed`: where those that come from other histories stood there, and those that were left out, in
        order: the last of each history is kept, in the same transaction.
        """
        for origin in passed:
            self._new_origins.pop(origin.journal, None)  # the newest last
            self.origins[origin.journal] = self._new_origins[origin.journal] = origin
        if not bodies and not passed:
            return []
        now = round(self._clock.wall(), 6)
        sent, rows = [], []
        for body in bodies:
            event = {**body["event"], "published_at": now}
            message = wire.stamp({**body, "event": event}, self._session, self.last + 1, now)
            data = wire.encode(message)
            self.last += 1
            sent.append((message, data))
            rows.append(Row(self.last, now, event["id"], _clean(body["camera"]), _clean(event["label"]),
                            event["phase"], data))  # fmt: skip
        self._waiting.extend(rows)
        if not self._failing or self._clock.monotonic() >= self._retry_at:
            self._write()
        while len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self._lost += 1
        return sent

    def forget_origins(self, followed: Set[str]) -> list[str]:
        """Keep the places in the other histories from which something came last, and in those `followed`;
        what the others still have to tell is not taken. Returns which are forgotten.
        """
        excess = len(self.origins) - MOST_ORIGINS
        if excess <= 0:
            return []
        try:
            oldest = [origin.journal for origin in self._file.origins() if origin.journal not in followed]
            self._file.delete_origins(oldest[:excess])
        except sqlite3.Error as error:
            self._on_problem(f"event history: cannot forget places in other histories: {error}")
            return []
        for journal in oldest[:excess]:
            self.origins.pop(journal, None)
            self._new_origins.pop(journal, None)
        return oldest[:excess]

    def _write(self) -> None:
        try:
            self._file.insert(self._waiting, self._new_origins.values())
        except sqlite3.Error as error:
            if isinstance(error, sqlite3.OperationalError) or not self._begin_anew(f"is damaged ({error})"):
                self._failed(error)
            return
        self._new_rows += len(self._waiting)
        if self._failing:
            self._failing = False
            lost = f", {self._lost} are lost" if self._lost else ""
            self._on_problem(
                f"event history: writing works again; {len(self._waiting)} waiting messages are written{lost}"
            )
            self._lost = 0
        self._waiting.clear()
        self._new_origins.clear()

    def _failed(self, error: Exception) -> None:
        self._retry_at = self._clock.monotonic() + RETRY
        if not self._failing:
            self._failing = True
            self._on_problem(
                f"event history: cannot write to {self._file.path}: {error}; events are still published,"
                f" wait in memory and are written when it works again (tried every {RETRY:g} s)"
            )

    def _begin_anew(self, why: str) -> bool:
        """Go on in a new file, with the same numbers; False where that fails too."""
        path = Path(self._file.path)
        try:
            self._file.close()
            what = self._move_aside(path) if path.exists() else "a new history is begun"
            prepare_file(path)
            file = JournalFile(str(path), uuid.uuid4().hex)
            first = self._waiting[0].seq if self._waiting else self.last + 1
            file.continue_from(first - 1)
            file.begin_session(self._session, first, self._clock.wall())
            self._file = file
            self._file.insert(self._waiting, self.origins.values())
        except (OSError, sqlite3.Error, BusError) as error:
            self._file = self._memory()
            self._file.continue_from(self.last)
            self._on_problem(
                f"event history: {path} {why}, and no new one can be made ({error}): memory only"
            )
            return True
        self._on_problem(f"event history: {path} {why}; {what}")
        self._waiting.clear()
        self._new_origins.clear()
        return True

    # ---- reading

    def after(
        self,
        seq: int,
        *,
        session: str | None = None,
        camera: str | None = None,
        label: str | None = None,
        limit: int = CHUNK,
    ) -> Page:
        """The rows after number `seq`, oldest first, at most `limit` and about a megabyte. Raises
        sqlite3.Error.

        `session` is that of the message with number `seq`: where the history lost its end since (power cut,
        full disk), the page begins at the first number that a later session gave out again.
        """
        start = self._resume(seq, session)
        limit = max(1, min(limit, MAX_LIMIT))
        rows = self._file.after(start, camera, label, limit + 1)
        newest = rows[-1].seq if rows else start
        if len(rows) <= limit:
            rows += [row for row in self._waiting if row.seq > newest and row.matches(camera, label)]
        kept, size = 0, 0
        for row in rows[:limit]:
            size += len(row.message)
            if kept and size > MAX_PAGE_BYTES:
                break
            kept += 1
        return Page(start, rows[:kept], more=kept < len(rows))

    def before(self, unix: float) -> int:
        """The number after which everything sent at `unix` or later is found. Raises sqlite3.Error."""
        first = self._file.first_since(unix)
        if first is None:
            first = next((row.seq for row in self._waiting if row.sent_at >= unix), self.last + 1)
        return first - 1

    def _resume(self, seq: int, session: str | None) -> int:
        if session is not None and session != self._session:
            known, following = self._file.next_session(session)
            if known and following is not None and seq >= following:
                return following - 1
        return 0 if seq > self.last else max(0, seq)  # a greater number belongs to another history

    # ---- life

    def tidy(self) -> bool:
        """Retry failed writes, and remove what is too old or too much; True where more waits to be
        removed.
        """
        now = self._clock.monotonic()
        if self._failing and now >= self._retry_at:
            self._write()
        if self._failing or (now < self._tidy_at and self._new_rows < TIDY_ROWS):
            return False
        self._tidy_at, self._new_rows = now + TIDY, 0
        if self._file.moved():
            self._begin_anew("was removed or replaced while in use")
        try:
            gone = self._file.delete_oldest(CHUNK, self._clock.wall() - self._config.max_days * 86400)
            if self._file.size() > self._config.max_mb * 1_000_000:
                gone = max(gone, self._file.delete_oldest(CHUNK // 5, None))
        except sqlite3.Error as error:
            self._on_problem(f"event history: cannot remove old events: {error}")
            return False
        if gone >= CHUNK // 5:
            self._tidy_at = now  # at the next call
        return gone >= CHUNK // 5

    def close(self) -> None:
        """Write what waits, and give the file back."""
        if self._waiting:
            self._write()
        if self._waiting:
            self._on_problem(
                f"event history: {len(self._waiting)} messages could not be written and are lost"
            )
        with contextlib.suppress(sqlite3.Error):
            self._file.close()
        self._release()


def _looks_like_ours(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(16)
    return head in (b"SQLite format 3\0", bytes(16)) or path.suffix == ".db"


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
