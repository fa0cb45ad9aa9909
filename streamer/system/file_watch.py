"""Notices that files were edited: by their time and size, once they have stopped changing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

Signature = tuple[int, int, int] | None  # modified (ns), bytes, inode; None: not there


def signature(path: Path) -> Signature:
    """What tells one version of a file from the next."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


class FileWatch:
    """Asked now and then. Editors write in steps (empty, half, whole; or a new file in the old one's place):
    a change counts when the file looks the same on two looks in a row.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self._seen: dict[Path, Signature] = {}
        self._taken: dict[Path, Signature] = {}
        self.files(files)

    def files(self, files: Iterable[Path]) -> None:
        """Watch these from now on; what is known of those that stay is kept."""
        wanted = list(files)
        self._taken = {path: self._taken[path] if path in self._taken else signature(path) for path in wanted}
        self._seen = {path: self._seen.get(path, self._taken[path]) for path in wanted}

    def changed(self) -> bool:
        """True once for each edit. A file that is not there now is waited for; the others count meanwhile."""
        found = {path: signature(path) for path in self._taken}
        settled = found == self._seen
        self._seen = found
        edited = {path: now for path, now in found.items() if now is not None and now != self._taken[path]}
        if not settled or not edited:
            return False
        self._taken.update(edited)
        return True
