"""Files that only their owner may read: secrets, and records of what people did."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from streamer.errors import StreamerError

MOST = 64 * 1024  # bytes; a secret is a line, and a wrong path may name a film
_GROUP_AND_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_private(path: Path, subject: str, error: type[StreamerError]) -> str:
    """The text of a secret file.

    Raises:
        error: it cannot be read, is no text, is larger than MOST, or others on this machine can read it; one
            line that begins with `subject` and has nothing of the content in it.
    """
    text, exposed = read_with_rights(path, subject, error)
    if exposed:
        raise error(exposure(path, subject))
    return text


def read_with_rights(
    path: Path, subject: str, error: type[StreamerError], advice: str = ""
) -> tuple[str, bool]:
    """As `read_private`, where it depends on the content whether it is a secret: (text, others can read it).

    `advice` ends the line about a file that cannot be read.
    """
    try:
        with path.open("rb") as file:
            exposed = _exposed(os.fstat(file.fileno()))  # of this very file, whatever has the name now
            data = file.read(MOST + 1)
        if len(data) > MOST:
            raise error(f"{subject}: cannot read {path}: it is larger than {MOST // 1024} kB{advice}")
        return data.decode("utf-8"), exposed
    except OSError as wrong:
        raise error(f"{subject}: cannot read {path}: {wrong.strerror or wrong}{advice}") from wrong
    except UnicodeDecodeError:
        raise error(f"{subject}: cannot read {path}: it is no text{advice}") from None


def open_to_others(path: Path) -> bool:
    """Whether group or others have any right to a file or folder; False where it is not there, on Windows."""
    try:
        return _exposed(path.stat())
    except OSError:
        return False


def exposure(path: Path, subject: str) -> str:
    """One line about a file whose rights are too wide, and what to do."""
    return f"{subject}: {path}: others on this machine can read it; mend it: chmod 600 {path}"


def private_folder(path: Path) -> Path:
    """Make a folder, and what is missing above it, for the owner only; what is there keeps its rights.

    Raises OSError.
    """
    if not path.parent.exists():
        private_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def create_private(path: Path) -> None:
    """Make an empty file that only its owner may read, for an encoder or a library that then writes to it.

    Raises OSError: there is one already, or it cannot be made.
    """
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600))


def folder_exposure(path: Path, holds: str) -> str | None:
    """One line about a folder that others can look into, and what to do; None where they cannot."""
    if not open_to_others(path):
        return None
    return f"{path}: others on this machine can reach {holds} in it; mend it: chmod -R go= {path}"


def _exposed(status: os.stat_result) -> bool:
    return sys.platform != "win32" and bool(status.st_mode & _GROUP_AND_OTHERS)
