"""A lock that one program holds on a file; it is released whenever that program ends (kill -9 included)."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from streamer.errors import BusError

_held: set[str] = set()  # POSIX record locks do not exclude the same process from itself
_held_lock = threading.Lock()


class FileLock:
    """Held from the making until `release`. Raises BusError where another holder has it, OSError otherwise.

    POSIX record locks are used, not flock: a child process that outlives us must not keep the lock.
    """

    def __init__(self, path: Path) -> None:
        self._key = str(path.resolve())
        with _held_lock:
            if self._key in _held:
                raise BusError(f"{path} is in use by this program itself")
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                _lock(self._fd)
            except OSError:
                owner = os.read(self._fd, 20).decode("ascii", "replace").strip()
                os.close(self._fd)
                raise BusError(f"{path} is in use by process {owner or 'unknown'}") from None
            _held.add(self._key)
        os.ftruncate(self._fd, 0)
        os.write(self._fd, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        with _held_lock:
            if self._key in _held:
                _held.discard(self._key)
                os.close(self._fd)


def _lock(fd: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        os.lseek(fd, 1 << 20, os.SEEK_SET)  # far from the process number, which others may read
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        os.lseek(fd, 0, os.SEEK_SET)
    else:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
