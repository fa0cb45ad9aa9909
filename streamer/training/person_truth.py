"""Ground truth of who is where in a video: MOT's gt.txt, or our CSV file with boxes.

MOT (motchallenge.net), no head line, pixels, frames from 1:

    frame,id,left,top,width,height,considered,class,visibility

Ours, seconds of the file and parts of the picture; a row says where somebody is, and what they do if any:

    start,end,label,track,left,top,width,height

Rows of one track and label that touch each other are one action of that person.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from streamer.errors import DatasetError
from streamer.system.csv_rows import read_rows
from streamer.training.ground_truth import Segment, seconds
from streamer.types import Box

BOX_COLUMNS = ("track", "left", "top", "width", "height")
PERSON = 1  # MOT's class of pedestrians
_MOT_COLUMNS = 6  # at least
_TOUCHING = 0.05  # seconds between two rows of one action


@dataclass(frozen=True, slots=True)
class TrueBox:
    """Where somebody is from `start` to `end`, seconds of the file."""

    start: float
    end: float
    track: str
    box: Box  # parts of the picture


@dataclass(frozen=True, slots=True)
class PersonTruth:
    """Who is where, in order of time, and what each of them does (None: the truth does not tell)."""

    boxes: tuple[TrueBox, ...] = field(repr=False)
    actions: Mapping[str, tuple[Segment, ...]] | None = None


def has_boxes(path: Path) -> bool:
    """Whether a truth file tells where people are: MOT's, or a CSV file with columns of boxes.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            head = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    return {name.strip() for name in head}.issuperset(BOX_COLUMNS) or _is_mot(head)


def _is_mot(row: Sequence[str]) -> bool:
    try:
        return len([float(value) for value in row]) >= _MOT_COLUMNS
    except ValueError:
        return False


def truth_of(video: Path, file: Path) -> PersonTruth:
    """The truth of one video, in either form.

    Raises:
        DatasetError: it, or the video, cannot be read.
    """
    with file.open(newline="", encoding="utf-8-sig") as text:
        if not _is_mot(next(csv.reader(text), [])):
            return read_boxes(file)
    from streamer.training.video_frames import read_frames, scan

    times = scan(video).times
    (first,) = read_frames(video, times, [0], lambda image: image)
    return read_mot(file, times, (first.shape[0], first.shape[1]))


def read_boxes(path: Path) -> PersonTruth:
    """A CSV file of ours.

    Raises:
        DatasetError: a row makes no sense.
    """
    boxes: list[TrueBox] = []
    actions: dict[str, list[Segment]] = {}
    for number, row in read_rows(path, ("start", "end", "label", *BOX_COLUMNS)):
        where = f"{path}, line {number}"
        start, end = (seconds(row[key], f"{where}, {key}") for key in ("start", "end"))
        track, label = row["track"].strip(), " ".join(row["label"].split())
        left, top, width, height = (_part(row[key], f"{where}, {key}") for key in BOX_COLUMNS[1:])
        if not track or not 0.0 <= start < end or width <= 0 or height <= 0:
            raise DatasetError(
                f"{where}: a row is start,end,label,track,left,top,width,height with 0 <= start < end in "
                "seconds and a box in parts of the picture (the label may be empty)"
            )
        boxes.append(TrueBox(start, end, track, (left, top, width, height)))
        actions.setdefault(track, [])
        if label:
            actions[track].append(Segment(start, end, label))
    return PersonTruth(
        tuple(sorted(boxes, key=lambda box: (box.start, box.track))),
        {track: tuple(_joined(segments)) for track, segments in actions.items()},
    )


def read_mot(path: Path, times: Sequence[float], size: tuple[int, int]) -> PersonTruth:
    """MOT's gt.txt of a video whose frames are shown at `times` (seconds) and have `size` (H, W) pixels.

    Rows that are not to be considered, and other classes than pedestrians, are left out.

    Raises:
        DatasetError: a row is no such row, or of a frame that the video does not have.
    """
    height, width = size
    boxes = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        for number, row in enumerate(csv.reader(file), 1):
            if not any(map(str.strip, row)):
                continue
            if not _is_mot(row):
                raise DatasetError(
                    f"{path}, line {number}: not a row of MOT: frame,id,left,top,width,height,..."
                )
            values = [float(value) for value in row]
            frame, left, top, across, down = round(values[0]), *values[2:6]
            if not 1 <= frame <= len(times):
                raise DatasetError(f"{path}, line {number}: frame {frame}, but the video has {len(times)}")
            told = [*values[6:8], *(1.0, float(PERSON))[len(values[6:8]) :]]
            if told[0] == 0 or round(told[1]) not in (PERSON, -1):
                continue
            box = left / width, top / height, across / width, down / height
            boxes.append(TrueBox(times[frame - 1], _next(times, frame - 1), row[1].strip(), box))
    return PersonTruth(tuple(sorted(boxes, key=lambda box: (box.start, box.track))))


def _next(times: Sequence[float], index: int) -> float:
    """When a frame is followed by the next one; the last one lasts as long as the one before."""
    if index + 1 < len(times):
        return times[index + 1]
    return times[index] + (times[index] - times[index - 1] if index else 1.0)


def _part(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not -1.0 <= value <= 2.0:
        raise DatasetError(f"{where} must be a part of the picture, such as 0.25, found {text!r}")
    return value


def _joined(segments: Iterable[Segment]) -> list[Segment]:
    """Segments of one person that touch each other and have one label are one."""
    out: list[Segment] = []
    for segment in sorted(segments, key=lambda one: (one.label, one.start)):
        last = out[-1] if out else None
        if last is not None and last.label == segment.label and segment.start <= last.end + _TOUCHING:
            out[-1] = Segment(last.start, max(last.end, segment.end), last.label)
        else:
            out.append(segment)
    return sorted(out)
