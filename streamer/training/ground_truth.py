"""Ground truth of an untrimmed video: a CSV file with the columns start, end (seconds) and label."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from streamer.errors import DatasetError
from streamer.labels.model_labels import background_labels
from streamer.system.csv_rows import read_rows

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv")


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """One true action: seconds of the file, start < end."""

    start: float
    end: float
    label: str


def read_truth(path: Path) -> tuple[Segment, ...]:
    """The segments of a CSV file in order of time. No rows: an idle video.

    Raises:
        DatasetError: it cannot be read, a column is missing, or a row makes no sense.
    """
    rows = read_rows(path, ("start", "end", "label"))
    segments = []
    for number, row in rows:
        start, end = (seconds(row[key], f"{path}, line {number}, {key}") for key in ("start", "end"))
        label = " ".join(row["label"].split())
        if not label or not 0.0 <= start < end:
            raise DatasetError(
                f"{path}, line {number}: a row is start,end,label with 0 <= start < end in seconds, "
                f"found {row['start']},{row['end']},{row['label']}"
            )
        segments.append(Segment(start, end, label))
    segments.sort()
    last: dict[str, Segment] = {}
    for segment in segments:
        before = last.get(segment.label)
        if before is not None and segment.start < before.end - 1e-9:
            raise DatasetError(
                f"{path}: two segments of {segment.label!r} overlap "
                f"({before.start:g}-{before.end:g} and {segment.start:g}-{segment.end:g}); join them"
            )
        last[segment.label] = segment
    return tuple(segments)


def seconds(text: str, where: str) -> float:
    """A finite number. Raises DatasetError that begins with `where`."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DatasetError(f"{where} must be a number of seconds, found {text!r}")
    return value


def write_truth(path: Path, segments: Iterable[Segment]) -> None:
    """The file that `read_truth` reads. Raises OSError."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["start", "end", "label"])
        writer.writerows((round(s.start, 3), round(s.end, 3), s.label) for s in segments)


def check_labels(path: Path, segments: Iterable[Segment], known: Sequence[str]) -> None:
    """Raises DatasetError where the truth names a label that neither the model nor a group has."""
    unknown = sorted({segment.label for segment in segments} - set(known))
    if unknown:
        some = ", ".join(map(repr, known[:8])) + (", ..." if len(known) > 8 else "")
        raise DatasetError(
            f"{path}: the model has no label {', '.join(map(repr, unknown))}; it has {some} "
            "(events.groups can give labels another name)"
        )


def background_of(
    labels: Sequence[str], asked: Sequence[str] | None, own: Sequence[str] = ()
) -> tuple[str, ...]:
    """The labels that mean "no action": asked for, else the checkpoint's own, else those with a usual name.

    Raises:
        DatasetError: one that is asked for is not a label.
    """
    if asked is not None:
        for name in asked:
            if name not in labels:
                raise DatasetError(
                    f"--background {name!r} is no label of the model; it has {', '.join(labels[:8])}"
                )
        return tuple(asked)
    return background_labels(labels, own)
