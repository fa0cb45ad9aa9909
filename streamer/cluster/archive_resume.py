"""An archive's folder: one file of messages a recording, which is whole or not there, and a report.

The last line of a result says what it was made of. So a result and the proof that it is whole come into
being by one renaming, and resuming needs nothing but the results themselves.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unicodedata import category

from streamer.cluster import archive_settings
from streamer.cluster.archive_jobs import Job
from streamer.config import Config
from streamer.errors import BusError, ConfigError
from streamer.system.atomic_files import write_atomically
from streamer.system.file_lock import FileLock
from streamer.system.private_files import private_folder

SUFFIX, PART, LOCK, REPORT = ".jsonl", ".part", ".archive-lock", "report.json"
_LONGEST = 80  # characters of a name; what is longer is cut, and told apart by a digest
_TAIL = 1 << 20  # bytes read for the last line


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done: `jobs`; `there`: the last lines of results that are kept; `changed`: recordings
    whose result is made again, because the file is another one since.
    """

    jobs: tuple[Job, ...]
    there: tuple[Mapping[str, Any], ...]
    changed: int


class ResultsFolder:
    """The folder, locked for one archive at a time; a context manager.

    Raises (on entering):
        ConfigError: it cannot be made or written, or another archive is at work in it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder.expanduser().absolute()

    def __enter__(self) -> ResultsFolder:
        try:
            private_folder(self.path)
            self._lock = FileLock(self.path / LOCK)
        except BusError as error:
            raise ConfigError(f"another streamer archive is at work in {self.path} ({error})") from error
        except OSError as error:
            raise ConfigError(f"-o {self.path} cannot be used: {error.strerror or error}") from error
        self.tidy()
        return self

    def __exit__(self, *_: object) -> None:
        self.tidy()
        (self.path / LOCK).unlink(missing_ok=True)
        self._lock.release()

    def tidy(self) -> None:
        """Remove what players that ended left half written."""
        for part in self.path.glob(f".*{PART}"):
            part.unlink(missing_ok=True)

    def plan(self, recordings: Sequence[Path], config: Config, *, again: bool) -> Plan:
        """What is to be done for these recordings.

        `again`: results that were made with other settings are made anew.

        Raises:
            ConfigError: there are such results, and `again` is false; a recording cannot be read.
        """
        settings = archive_settings.described(config)
        taken: set[str] = set()
        jobs: list[Job] = []
        there, other = [], []
        changed = 0
        for source in dict.fromkeys(path.resolve() for path in recordings):
            name, last = self._place(source, taken)
            taken.add(name.casefold())  # on some file systems A.mp4 is a.mp4
            try:
                status = source.stat()
            except OSError as error:
                raise ConfigError(f"{source}: {error.strerror or error}") from error
            if last is not None:
                if last["bytes"] != status.st_size or last["modified"] != status.st_mtime_ns:
                    changed += 1
                elif different := archive_settings.differences(last["settings"], settings):
                    other.append((name, different))
                else:
                    there.append(last)
                    continue
            jobs.append(self._job(len(jobs), source, status, name, settings))
        if other and not again:
            raise ConfigError(_with_other_settings(self.path, other))
        return Plan(tuple(jobs), tuple(there), changed)

    def report(self, value: Mapping[str, Any]) -> Path:
        """Write the report. Raises ConfigError."""
        file = self.path / REPORT
        try:
            write_atomically(file, json.dumps(value, ensure_ascii=False, indent=1) + "\n", mode=0o600)
        except OSError as error:
            raise ConfigError(f"{file} cannot be written: {error.strerror or error}") from error
        return file

    def _job(
        self, number: int, source: Path, status: os.stat_result, name: str, settings: Mapping[str, Any]
    ) -> Job:
        return Job(
            number, str(source), status.st_size, status.st_mtime_ns, camera=name,
            part=str(self.path / f".{name}{PART}"), result=str(self.path / f"{name}{SUFFIX}"),
            note={"settings": settings},
        )  # fmt: skip

    def _place(self, source: Path, taken: set[str]) -> tuple[str, Mapping[str, Any] | None]:
        """(the name of a recording's result, the last line of the one that is there)."""
        plain = _plain_name(source.name)
        unique = f"{plain[: _LONGEST - 9]}-{hashlib.sha256(os.fsencode(source)).hexdigest()[:8]}"
        for name in (unique, plain):
            last = last_line(self.path / f"{name}{SUFFIX}")
            if last is not None and last["file"] == str(source):
                return name, last
        taken_by_another = plain.casefold() in taken or (self.path / f"{plain}{SUFFIX}").exists()
        return (unique if taken_by_another or plain != source.name else plain), None


def last_line(file: Path) -> dict[str, Any] | None:
    """The last line of a result; None where there is none, or it is not whole."""
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _TAIL))
            line = stream.read().rstrip(b"\n").rpartition(b"\n")[2]
        value = json.loads(line)
        keys = {"file": str, "bytes": int, "modified": int, "settings": dict, "windows": int, "events": int}
        whole = value["type"] == "recording" and all(
            isinstance(value[key], kind) for key, kind in keys.items()
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return value if whole else None


def _plain_name(name: str) -> str:
    """A recording's name as a camera's and a file's: nothing that steers a terminal, short, not hidden."""
    clean = "".join("_" if category(char) in ("Cc", "Cs", "Zl", "Zp") else char for char in name)
    return clean.lstrip(".").strip()[:_LONGEST] or "recording"


def _with_other_settings(folder: Path, other: Iterable[tuple[str, Sequence[str]]]) -> str:
    found = list(other)
    name, different = found[0]
    more = f" (and {len(different) - 3} more)" if len(different) > 3 else ""
    return (
        f"{folder} holds {len(found)} result{'s' if len(found) > 1 else ''} made with other settings, such "
        f"as {name}{SUFFIX}: {'; '.join(different[:3])}{more}. Name another folder with -o, or make them "
        "anew with --again"
    )
