"""The thread that writes pictures: slow, full or failing disks hold up nothing else."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path

from streamer.config import RecordingConfig
from streamer.errors import BusError, ConfigError
from streamer.recording import files, retention
from streamer.recording.h264_encoder import EncodedClip, write_clip
from streamer.system.atomic_files import replacing
from streamer.system.clock import SYSTEM_CLOCK, Clock
from streamer.system.file_lock import FileLock

log = logging.getLogger(__name__)

MOST_WAITING = 48_000_000  # bytes on their way to the disk, of all cameras; beyond that clips are lost
TIDY = 60.0  # seconds between two looks at age and size
DAY = 86400.0
MB = 1_000_000

Job = bytes | EncodedClip  # a snapshot's JPEG, or a clip


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file for its owner only. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write(path: Path, job: Job) -> None:
    """Write a picture or a clip. Raises OSError where it cannot be written whole."""
    if isinstance(job, EncodedClip):
        write_clip(path, job)
    else:
        write_bytes(path, job)


class DiskWriter:
    """Writes what it is given, one after the other, on a thread of its own.

    `put` never blocks: what does not fit is counted in `counts["lost"]` and told to `note`, once until it
    works again. Files get their name when they are whole.
    """

    def __init__(
        self,
        folder: Path,
        config: RecordingConfig,
        note: Callable[[str], None],
        clock: Clock = SYSTEM_CLOCK,
        writer: Callable[[Path, Job], None] = write,
    ) -> None:
        self._folder, self._config, self._note, self._clock = folder, config, note, clock
        self._writer = writer
        self._changed = threading.Condition()
        self._waiting: OrderedDict[Path, Job] = OrderedDict()
        self._bytes = 0
        self._closing = False
        self._slow = self._failing = False
        self._lock: FileLock | None = None
        self._kept = 0  # bytes in the folder, roughly
        self._tidy_at = clock.monotonic()
        self.counts: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, name="recording-disk", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, path: Path, job: Job) -> bool:
        """Have a file written; False where the disk is too far behind. A newer one of a name replaces it."""
        size = _size(job)
        with self._changed:
            before = self._waiting.get(path)
            total = self._bytes - (0 if before is None else _size(before)) + size
            fits = total <= MOST_WAITING and not self._closing
            if fits:
                self._waiting[path] = job
                self._bytes = total
                self._changed.notify_all()
            else:
                self.counts["lost"] += 1
            told, self._slow = self._slow, not fits
        if not fits and not told:
            self._note(
                f"{self._folder} is too slow for the pictures of events: some are lost, all else continues"
            )
        return fits

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def failing(self) -> bool:
        """Whether what is given does not reach the disk at the moment; any thread."""
        return self._failing or self._slow

    def close(self, timeout: float) -> bool:
        """Write what waits, for `timeout` seconds at most; False where the disk still blocks then."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(max(0.0, timeout))
        if not self._thread.is_alive():
            return True
        with self._changed:
            left = len(self._waiting) + 1
            self._waiting.clear()
            self.counts["lost"] += left
        self._note(f"{left} pictures of events were not written: {self._folder} is too slow")
        return False

    # ---- the thread

    def _run(self) -> None:
        try:
            self._tidy()
            while (job := self._next()) is not None:
                if job:
                    self._write(*job[0])
                if not self._closing:
                    self._tidy()
        except Exception as error:  # the thread's top
            log.exception("recording failed")
            self._note(f"pictures of events are no longer written: {type(error).__name__}: {error}")
            with self._changed:
                self._closing = self._slow = True  # nothing more is taken, and nothing more need be said
        finally:
            if self._lock is not None:
                self._lock.release()

    def _is_ours(self) -> bool:
        """Whoever has the lock removes old files; a second program only writes its own."""
        if self._lock is None:
            try:
                self._lock = FileLock(self._folder / files.MARKER)
            except (BusError, OSError) as error:
                log.info("recording: %s; old pictures are left to it", error)
                return False
            retention.sweep(self._folder)
        return True

    def _next(self) -> list[tuple[Path, Job]] | None:
        """What is to be written now: nothing for a while (empty), or one; None at the end."""
        with self._changed:
            if not self._waiting and not self._closing:
                self._changed.wait(TIDY)
            if not self._waiting:
                return None if self._closing else []
            path, job = self._waiting.popitem(last=False)
            self._bytes -= _size(job)
            return [(path, job)]

    def _write(self, path: Path, job: Job) -> None:
        part = path.with_name(f".{path.name}{files.PART}")
        try:
            retention.make_folders(self._folder, path)
            with replacing(path, part):
                self._writer(part, job)
                size = part.stat().st_size
            for other in job.also if isinstance(job, EncodedClip) else ():
                _same_file(path, other)
        except (OSError, ValueError, ConfigError) as error:
            self.counts["lost"] += 1
            if not self._failing:
                self._failing = True
                why = (error.strerror if isinstance(error, OSError) else None) or error
                self._note(
                    f"pictures of events cannot be written to {self._folder}: {why};"
                    " they are lost until it works again, everything else continues"
                )
            return
        self.counts["clips" if isinstance(job, EncodedClip) else "snapshots"] += 1
        self._kept += size
        if self._failing:
            self._failing = False
            self._note(f"pictures of events are written again ({self.counts['lost']} were lost)")

    def _tidy(self) -> None:
        most = self._config.keep_mb * MB
        if self._clock.monotonic() < self._tidy_at and self._kept <= most:
            return
        ours = self._is_ours()
        self._tidy_at = self._clock.monotonic() + TIDY
        if not ours:
            return
        oldest = self._clock.wall() - self._config.keep_days * DAY
        gone, self._kept = retention.tidy(self._folder, oldest, most)
        if gone:
            self.counts["removed"] += gone
            log.info("recording: %d old files removed from %s", gone, self._folder)


def _size(job: Job) -> int:
    return job.size if isinstance(job, EncodedClip) else len(job)


def _same_file(path: Path, other: Path) -> None:
    """Another name of a finished file; a copy where the file system knows no second names. Raises OSError."""
    other.parent.mkdir(mode=0o700, exist_ok=True)
    with replacing(other, other.with_name(f".{other.name}{files.PART}")) as part:
        try:
            os.link(path, part)
        except OSError:
            shutil.copy2(path, part)
