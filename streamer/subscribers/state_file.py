"""Where a bridge goes on after a restart: a small JSON file, replaced as a whole.

It holds the position behind the last event that the receiver accepted. It may be older than the truth (then
an event is sent again, with the same key), never newer.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamer.bus.since import Since, check_since
from streamer.errors import BusError
from streamer.system.atomic_files import write_atomically
from streamer.system.clock import SYSTEM_CLOCK, Clock
from streamer.system.file_lock import FileLock
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


class Place:
    """An open state file, held by this process alone. Used on one thread.

    `since` is where to begin (for `Subscriber(since=...)`), `extra` what else the bridge keeps: change it and
    call `touch`. A file that is not there is begun with `start` and written at once, so that a bridge killed
    before its first event does not begin later than it did.

    Raises BusError where the file is damaged, cannot be written, or belongs to a running bridge.
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
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = FileLock(Path(f"{path}.lock"))
        except OSError as error:
            raise BusError(f"cannot use the state file {path}: {error}; name another with --state") from error
        try:
            self.since, self.extra, self.begun = self._load(start)
            if self.begun:
                self._write()
        except OSError as error:
            self._lock.release()
            raise BusError(f"cannot use the state file {path}: {error}; name another with --state") from error
        except BaseException:
            self._lock.release()
            raise

    def _load(self, start: Since) -> tuple[Since, dict[str, Any], bool]:
        try:
            value = json.loads(self.path.read_text("utf-8"))
            since, extra = value["since"], value.get("extra", {})
            check_since(since)
            if since is None or not isinstance(extra, dict):
                raise ValueError("'since' or 'extra' is not what it should be")
        except FileNotFoundError:
            return start, {}, True
        except (ValueError, KeyError, TypeError, AttributeError, BusError) as error:
            raise BusError(
                f"the state file {self.path} is damaged ({error}); remove it to begin anew, with --since for"
                " the events from some time on"
            ) from error
        return since, extra, False

    def move(self, position: Since) -> None:
        """Everything up to here was accepted; written soon (`tick`)."""
        if position is not None and position != self.since:
            self.since, self._dirty = position, True

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
        value = {"v": VERSION, "since": self.since, "extra": self.extra}
        # durable: or a power cut may leave an empty file under the name
        write_atomically(self.path, json.dumps(value), mode=0o600, durable=True)
        self._dirty, self._due_at = False, self._clock.monotonic() + EVERY

    def close(self) -> None:
        """Write what waits, and give the file back."""
        self.tick(now=True)
        with contextlib.suppress(OSError):
            self._lock.release()
