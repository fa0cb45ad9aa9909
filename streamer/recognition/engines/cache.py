"""Converted models and measurements on disk: looked up by what they were made from, checked when read.

    <cache>/streamer/engines/<key>/   manifest.json: the digest of each file beside it
                                      the files

`<cache>` is the user's cache folder of this system. An entry is written whole or not at all: it is made
in a folder of another name and renamed. One that does not match its manifest is deleted and made again. Only
the newest KEPT entries stay.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamer.system.user_folders import cache_folder

log = logging.getLogger(__name__)

KEPT = 12  # entries; a converted TimeSformer-base takes 120 MB (int8) to 490 MB
ABANDONED = 24 * 3600.0  # seconds after which nobody writes any more
MANIFEST = "manifest.json"
_PARTIAL = ".partial-"  # folders being written, or left by a crash
_BLOCK = 1 << 20


def entry_key(*parts: object) -> str:
    """A short name for what an entry is made from; equal parts, equal name."""
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()[:32]


def weights_hash(module: Any) -> str:
    """Names, shapes, types and values of a module's parameters, and what its class is."""
    import torch

    digest = hashlib.sha256(f"{type(module).__module__}.{type(module).__qualname__}".encode())
    for name, tensor in sorted(module.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tuple(values.shape)} {values.dtype}".encode())
        digest.update(values.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


class Cache:
    """Entries under one folder. Several processes may use it at once.

    Args:
        folder: made when the first entry is written; None: `cache_folder() / "engines"`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder() / "engines"

    def find(self, key: str) -> Path | None:
        """The entry's folder, whole and unchanged, or None. A damaged one is deleted."""
        entry = self.folder / key
        if not entry.is_dir():
            return None
        try:
            manifest = json.loads((entry / MANIFEST).read_text(encoding="utf-8"))
            sound = bool(manifest) and all(_digest(entry / name) == want for name, want in manifest.items())
        except (OSError, ValueError, AttributeError) as error:
            log.debug("cache entry %s: %s", key, error)
            sound = False
        if sound:
            _touch(entry)
            return entry
        self.discard(key)
        return None

    def discard(self, key: str) -> None:
        """Delete an entry that is of no use."""
        log.warning("the cached model %s is damaged; it is deleted and made again", self.folder / key)
        shutil.rmtree(self.folder / key, ignore_errors=True)

    def store(self, key: str, write: Callable[[Path], None]) -> Path:
        """Make an entry: `write` puts its files into the folder that it is given.

        Raises:
            OSError: no room, no permission. Nothing is left behind.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self.folder))
        try:
            write(partial)
            manifest = {file.name: _digest(file) for file in sorted(partial.iterdir())}
            (partial / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
            entry = self.folder / key
            try:
                partial.rename(entry)
            except OSError:
                if not entry.is_dir():
                    raise
                shutil.rmtree(partial, ignore_errors=True)  # another process was first, with the same
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        self._prune(keep=key)
        return entry

    def _prune(self, keep: str) -> None:
        """Delete the entries that were not used for longest, and what a crash left half written."""
        now = (self.folder / keep).stat().st_mtime  # by the file system's own clock
        for partial in self.folder.glob(_PARTIAL + "*"):
            if _changed(partial) < now - ABANDONED:
                shutil.rmtree(partial, ignore_errors=True)
        entries = [e for e in self.folder.iterdir() if e.is_dir() and not e.name.startswith(_PARTIAL)]
        entries.sort(key=lambda entry: (entry.name == keep, _changed(entry / MANIFEST)))
        for entry in entries[:-KEPT]:
            shutil.rmtree(entry, ignore_errors=True)


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another process was faster
        return 0.0


def _touch(entry: Path) -> None:
    try:
        os.utime(entry / MANIFEST)
    except OSError as error:  # a cache that others own and we only read
        log.debug("%s: %s", entry, error)
