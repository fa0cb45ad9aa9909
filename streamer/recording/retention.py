"""The folder of pictures: for its owner only, cleaned at the start, kept within limits of size and age."""

from __future__ import annotations

import contextlib
import errno
from collections import Counter
from pathlib import Path

from streamer.errors import ConfigError
from streamer.recording import files
from streamer.system.private_files import private_folder
from streamer.system.user_folders import state_folder

_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ETIMEDOUT)  # of a disk, not of a name
_NOT_HINDERING = ("lost+found",)  # what an empty disk holds


def default_folder() -> Path:
    """Where pictures go when no folder is named: beside the event history."""
    return state_folder() / "recordings"


def prepare(folder: Path) -> str | None:
    """Make the folder ours; only then is anything in it ever removed. Returns what hinders it at the moment,
    such as a full disk, which must not keep the program from starting.

    Raises:
        ConfigError: it cannot be made or written to, or holds other people's files.
    """
    marker = folder / files.MARKER
    try:
        private_folder(folder)
        if not marker.is_file():
            others = [path.name for path in folder.iterdir() if path.name not in _NOT_HINDERING]
            if any(not name.startswith(".") for name in others):
                raise ConfigError(
                    f"recording.folder {folder} holds other files; name an empty or a new folder, because old"
                    " pictures are removed from it"
                )
        with marker.open("a"):
            marker.chmod(0o600)
    except OSError as error:
        if error.errno in _PASSING:
            return error.strerror
        raise ConfigError(
            f"recording.folder {folder} cannot be used: {error.strerror or error}; name another folder"
        ) from error
    return None


def make_folders(folder: Path, path: Path) -> None:
    """The camera's and the day's folder of a file, for the owner only. Raises OSError, and ConfigError where
    the folder itself has gone and cannot be made again.
    """
    if not (folder / files.MARKER).is_file():
        prepare(folder)
    for made in (path.parent.parent, path.parent):
        made.mkdir(mode=0o700, exist_ok=True)


def sweep(folder: Path) -> int:
    """Remove what a program that died left half written; how many files went."""
    swept = 0
    for path in files.unfinished(folder):
        with contextlib.suppress(OSError):
            path.unlink()
            swept += 1
    return swept


def tidy(folder: Path, oldest: float, most: float) -> tuple[int, int]:
    """Remove pictures written before `oldest` (Unix seconds), and the oldest while there are more than `most`
    bytes. Returns how many went, and the bytes that stay.
    """
    found = []
    for path in files.recorded(folder):
        with contextlib.suppress(OSError):
            told = path.stat()
            found.append((told.st_mtime, told.st_size, (told.st_dev, told.st_ino or path), path))
    found.sort(key=lambda entry: entry[0])
    names = Counter(file for _, _, file, _ in found)  # the events of one clip are names of one file
    kept, gone = sum({file: size for _, size, file, _ in found}.values()), 0
    for written, size, file, path in found:
        if written >= oldest and kept <= most:
            break
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            names[file] -= 1
            kept -= 0 if names[file] else size
            gone += 1
            _remove_empty(path.parent)
    return gone, kept


def _remove_empty(day: Path) -> None:
    with contextlib.suppress(OSError):  # not empty
        day.rmdir()
        day.parent.rmdir()
