"""Where a subscriber resumes after a restart: a small JSON file, replaced as a whole.

It holds the position behind the last event that was dealt with (for a bridge: that the receiver accepted).
It may be older than the truth (then an event is dealt with again; bridges send it with the same key), never
newer.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamer.bus.position import Position, Since
from streamer.errors import BusError
from streamer.system.atomic_files import write_atomically
from streamer.system.clock import SYSTEM_CLOCK, Clock
from streamer.system.file_lock import FileLock
from streamer.system.private_files import private_folder
from streamer.system.user_folders import state_folder

VERSION = 1
EVERY = 0.2  # least seconds between two writes while events flow; a kill repeats what lies between
RETRY = 5.0  # seconds between attempts to write to a failing disk


def default_file(kind: str, *parts: str, private: str = "") -> Path:
    """A file in the user's state folder, one for each publisher and receiver: `parts` name them, with
    `private` in the digest only.
    """
    told = re.sub(r"[^A-Za-z0-9]+", "-", "-".join(parts)).strip("-")[:60]
    digest = hashlib.sha256("\0".join((*parts, private)).encode("utf-8", "replace")).hexdigest()[:8]
    return state_folder() / "bridges" / f"{kind}-{told}-{digest}.json"


class StateFile:
    """An open state file, held by this process alone. Used by one thread at a time.

    `position` is where to begin (for `Subscriber(since=...)`), `extra` what else its owner keeps: change it
    and call `touch`. A file that is not there is begun with `start` and written at once, so that a program
    killed before its first event does not begin later than it did.

    Raises BusError where the file is damaged, cannot be written, or belongs to a program that runs.
    """

    def __init__(
        self,
        path: Path,
        start: Since,
        *,
        clock: Clock = SYSTEM_CLOCK,
        on_problem: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.path, self._clock, self._on_problem = path, clock, on_problem
        self._dirty, self._failing = False, False
        self._due_at = clock.monotonic()
        try:
            private_folder(path.parent)
            self._lock = FileLock(Path(f"{path}.lock"))
        except OSError as error:
            raise BusError(f"cannot use the state file {path}: {error}; name another with --state") from error
        try:
            self.position, self.extra, self.begun = self._load(start)
            if self.begun:
                self._write()
        except OSError as error:
            self._lock.release()
            raise BusError(f"cannot use the state file {path}: {error}; name another with --state") from error
        except BaseException:
            self._lock.release()
            raise

    def _load(self, start: Since) -> tuple[Position, dict[str, Any], bool]:
        try:
            value = _as_written_now(json.loads(self.path.read_text("utf-8")))
            position, extra = Position.of(value["since"]), value.get("extra", {})
            if not isinstance(extra, dict):
                raise ValueError("'extra' is not what it should be")
        except FileNotFoundError:
            return Position.of(start), {}, True
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, BusError) as error:
            raise BusError(
                f"the state file {self.path} is damaged ({error}); remove it to begin anew, with --since for"
                " the events from some time on"
            ) from error
        return position, extra, False

    def move(self, position: Position | None) -> None:
        """Everything up to here was dealt with; written soon (`tick`)."""
        if position is not None and position != self.position:
            self.position, self._dirty = position, True

    def touch(self) -> None:
        """`extra` has changed."""
        self._dirty = True

    def tick(self, *, now: bool = False) -> None:
        """Write what has changed, if the last writing is long enough ago (`now`: in any case)."""
        if not self._dirty or not (now or self._clock.monotonic() >= self._due_at):
            return
        try:
            self._write()
        except OSError as error:
            self._due_at = self._clock.monotonic() + RETRY
            if not self._failing:
                self._failing = True
                self._on_problem(
                    f"cannot write {self.path}: {error}; tried again every {RETRY:g} s; a restart before that"
                    " sends events again"
                )
            return
        if self._failing:
            self._failing = False
            self._on_problem(f"{self.path} is written again")

    def _write(self) -> None:
        value = {"v": VERSION, "since": self.position.as_json, "extra": self.extra}
        # durable: or a power cut may leave an empty file under the name
        write_atomically(self.path, json.dumps(value), mode=0o600, durable=True)
        self._dirty, self._due_at = False, self._clock.monotonic() + EVERY

    def close(self) -> None:
        """Write what waits, and give the file back."""
        self.tick(now=True)
        with contextlib.suppress(OSError):
            self._lock.release()


def _as_written_now(value: Any) -> Any:
    """A file of `streamer speak` had its own shape once."""
    if isinstance(value, dict) and value.get("kind") == "streamer speak":
        return {"since": value["position"], "extra": {"said": value["said"], "known": value["known"]}}
    return value
