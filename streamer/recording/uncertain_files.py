"""The folder of uncertain windows: small clips and the CSV file in which people write their labels.

Folders and files are for their owner only; one that was there keeps its rights, and wider ones are told.
"""

from __future__ import annotations

import csv
import io
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamer.errors import DatasetError
from streamer.recording.files import safe_name
from streamer.system.atomic_files import replacing, write_atomically
from streamer.system.csv_rows import read_rows
from streamer.system.install_extras import need
from streamer.system.private_files import create_private, folder_exposure, private_folder

if TYPE_CHECKING:
    from streamer.recording.privacy import Areas
    from streamer.types import LabelScore, Window

LABELS_FILE = "labels.csv"  # in a folder: its clips and their labels; `streamer train` reads it
CLOSE, MARKED = "close", "marked"  # why a clip was saved
COLUMNS = ("path", "label", "camera", "model", "time", "reason", "guess", "score", "second", "second_score",
           "event")  # fmt: skip
CLOCK_RATE = 90_000  # ticks a second of the files' time stamps
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class SelectedWindow:
    """A window worth keeping, and what the model thought of it."""

    window: Window
    model: str
    best: LabelScore
    second: LabelScore | None = None
    event: str = ""  # id of the event whose peak it is
    reason: str = CLOSE
    label: str = ""  # what a person says it is
    hidden: tuple[Areas, ...] = ()  # of each of its frames


class UncertainFolder:
    """Where clips go. Used by one thread; `close_of` by any.

    Raises:
        DatasetError: it cannot be written, its CSV file is not one of ours, or PyAV is missing.
    """

    def __init__(self, path: Path, max_mb: float) -> None:
        need("video", "saving uncertain windows", raising=DatasetError)  # said now, not at the first clip
        self.path, self._max = path, max_mb * MEGABYTE
        self._table = path / LABELS_FILE
        try:
            private_folder(path)
            if not self._table.exists():
                self._write([])
        except OSError as error:
            raise DatasetError(f"{path} cannot be written: {error.strerror or error}") from error
        rows = [row for _, row in read_rows(self._table, ("path", "label", "time", "reason"))]
        self._bytes = sum(file.stat().st_size for file in path.rglob("*.mp4"))
        self._marked = {row["event"]: row["path"] for row in rows if row.get("event")}
        self._days = [row["time"][:10] for row in rows if row["reason"] == CLOSE]

    def close_of(self, day: str) -> int:
        """How many clips of close scores were saved on a UTC day (2026-11-21), before this run."""
        return self._days.count(day)

    @property
    def exposure(self) -> str | None:
        """What people should know of the folder's rights; None: only its owner can look into it."""
        return folder_exposure(self.path, "the pictures")

    @property
    def full(self) -> bool:
        return self._bytes >= self._max

    @property
    def full_text(self) -> str:
        return (
            f"{self.path} holds {self._max / MEGABYTE:g} MB (uncertain.max_mb): nothing more is saved until "
            "this is raised, or clips are removed and the program is started again"
        )

    def save(self, selected: SelectedWindow) -> str | None:
        """Write the clip and its row. A second mark of an event changes its label. Why not, or None.

        Raises:
            OSError: the disk.
            DatasetError: the CSV file cannot be read.
        """
        if selected.event and (known := self._marked.get(selected.event)) is not None:
            self._relabel(known, selected.label)
            return None
        if self.full:
            return self.full_text
        columns = self._columns()
        when = datetime.fromtimestamp(selected.window.frames[-1].wall, UTC)
        file = self._free(
            self.path / safe_name(selected.window.camera) / f"{when:%Y-%m-%d}", when, selected.reason
        )
        private_folder(file.parent)
        with replacing(file) as part:
            create_private(part)
            write_window(part, selected.window)
            size = part.stat().st_size
        try:
            self._append(columns, _row(file.relative_to(self.path), when, selected))
        except OSError:  # a clip that no row names would never be looked at
            file.unlink(missing_ok=True)
            raise
        self._bytes += size
        if selected.event:
            self._marked[selected.event] = file.relative_to(self.path).as_posix()
        return None

    def _free(self, folder: Path, when: datetime, reason: str) -> Path:
        name = f"{when:%H%M%S}-{when.microsecond // 1000:03d}-{reason}"
        names = (folder / f"{name}{suffix}.mp4" for suffix in ("", *(f"-{n}" for n in range(2, 1000))))
        return next(path for path in names if not path.exists())

    # --- the CSV file, which people edit meanwhile: read again before each change ---

    def _columns(self) -> list[str]:
        """Of the file as it is now; a file that was removed begins anew."""
        if not self._table.exists():
            self._write([])
        with self._table.open(newline="", encoding="utf-8-sig") as file:
            columns = [name.strip() for name in next(csv.reader(file), [])]
        if not {"path", "label"} <= set(columns):
            raise DatasetError(
                f"{self._table} has lost its columns path and label: save it as comma-separated UTF-8 text"
            )
        return columns

    def _append(self, columns: list[str], row: Mapping[str, str]) -> None:
        with self._table.open("rb+") as file:
            file.seek(-1, os.SEEK_END)
            whole = file.read(1) in b"\r\n"
        with self._table.open("a", newline="", encoding="utf-8") as file:
            if not whole:
                file.write("\n")
            csv.writer(file, lineterminator="\n").writerow([row.get(name, "") for name in columns])

    def _relabel(self, path: str, label: str) -> None:
        rows = [dict(row) for _, row in read_rows(self._table, ("path", "label"))]
        for row in rows:
            if row["path"] == path and label:
                row["label"] = label
        self._write(rows)

    def _write(self, rows: list[dict[str, str]]) -> None:
        columns = list(dict.fromkeys([*COLUMNS, *(key for row in rows for key in row)]))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        mode = stat.S_IMODE(self._table.stat().st_mode) if self._table.exists() else 0o600
        write_atomically(self._table, text.getvalue(), mode=mode, durable=True)


def _row(path: Path, when: datetime, selected: SelectedWindow) -> dict[str, str]:
    second = selected.second
    return {
        "path": path.as_posix(),
        "label": selected.label,
        "camera": selected.window.camera,
        "model": selected.model,
        "time": when.isoformat(timespec="milliseconds"),
        "reason": selected.reason,
        "guess": selected.best.label,
        "score": f"{selected.best.score:.3f}",
        "second": "" if second is None else second.label,
        "second_score": "" if second is None else f"{second.score:.3f}",
        "event": selected.event,
    }


def write_window(path: Path, window: Window) -> None:
    """A window's T frames (uint8 RGB) as lossless H.264 in RGB, frame k at k x interval seconds.

    Lossless, because pictures as small as a model's lose much when their colours are halved, as is usual
    (34 dB at 64 x 64, 38 dB at 224 x 224); it costs 10 ms and 0.4 MB for 8 frames of 224 x 224.

    Raises:
        OSError: it cannot be written.
    """
    import av

    step = round(window.interval * CLOCK_RATE)
    with av.open(str(path), "w") as container:
        rate = Fraction(CLOCK_RATE, step).limit_denominator(1000)
        stream: Any = container.add_stream("libx264rgb", rate=rate)
        stream.height, stream.width = window.frames[0].image.shape[:2]
        stream.pix_fmt, stream.options = "rgb24", {"qp": "0", "preset": "ultrafast"}
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, CLOCK_RATE)
        for number, frame in enumerate(window.frames):
            picture = av.VideoFrame.from_ndarray(frame.image.copy(), format="rgb24")
            picture.pts, picture.time_base = number * step, Fraction(1, CLOCK_RATE)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
