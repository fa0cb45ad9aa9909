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

    `wait`: until another program lets go of it. POSIX record locks are used, not flock: a child process that
    outlives us must not keep the lock.
    """

    def __init__(self, path: Path, *, wait: bool = False) -> None:
        self._key = str(path.resolve())
        with _held_lock:
            if self._key in _held:
                raise BusError(f"{path} is in use by this program itself")
            _held.add(self._key)
        try:
            self._fd = self._locked(path, wait)
        except BaseException:
            with _held_lock:
                _held.discard(self._key)
            raise
        os.ftruncate(self._fd, 0)
        os.write(self._fd, f"{os.getpid()}\n".encode())

    def _locked(self, path: Path, wait: bool) -> int:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(fd, wait)
        except BaseException as error:
            owner = os.read(fd, 20).decode("ascii", "replace").strip()
            os.close(fd)
            if wait or not isinstance(error, OSError):
                raise
            raise BusError(f"{path} is in use by process {owner or 'unknown'}") from None
        return fd

    def release(self) -> None:
        with _held_lock:
            if self._key in _held:
                _held.discard(self._key)
                os.close(self._fd)


def _lock(fd: int, wait: bool) -> None:
    """Raises OSError where another program has it."""
    try:
        import fcntl
    except ImportError:  # Windows
        _lock_on_windows(fd, wait)
    else:
        fcntl.lockf(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _lock_on_windows(fd: int, wait: bool) -> None:
    import msvcrt

    os.lseek(fd, 1 << 20, os.SEEK_SET)  # far from the process number, which others may read
    while True:
        try:
            kind = msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK  # type: ignore[attr-defined,unused-ignore]
            msvcrt.locking(fd, kind, 1)  # type: ignore[attr-defined,unused-ignore]
            break
        except OSError:  # LK_LOCK gives up after ten seconds
            if not wait:
                raise
    os.lseek(fd, 0, os.SEEK_SET)
