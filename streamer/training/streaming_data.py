"""What a streaming model is distilled from: labelled clips, untrimmed videos with their truth, footage.

All of it becomes `Part`s: consecutive ticks of one video, an interval apart, chosen from its frames by the
very object that chooses them live, with the label of each tick where it is known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamer.errors import DatasetError
from streamer.recording.uncertain_files import LABELS_FILE
from streamer.training.clips import BAD_SHOWN, TimedClip, find_timed_clips
from streamer.training.dataset_layout import (
    FOLDERS,
    IMAGE_SUFFIXES,
    SHARES,
    Clip,
    check_leak,
    grouped,
    join_copies,
    read_layout,
    shuffled,
    split_hash,
)
from streamer.training.distillation import UNKNOWN
from streamer.training.ground_truth import VIDEO_SUFFIXES, Segment, check_labels, read_truth
from streamer.training.video_frames import scan_all
from streamer.types import Frame
from streamer.windows.streaming_ticks import Ticks

UNSURE = 0.6  # of an interval: a change nearer to the moment that a label speaks of teaches nothing
SPANS = 7  # T of a stretch that is learnt from, where the videos are long enough
KEPT = 2  # stretches in a file
HAIR = 1e-6  # seconds
_NO_PICTURE = np.zeros((1, 1, 3), np.uint8)


@dataclass(frozen=True, slots=True)
class Teaching:
    """What the teacher decides of the data."""

    labels: tuple[str, ...]
    frames: int  # T
    interval: float  # seconds
    lag: float  # seconds before a window's end of which its label speaks; 0: of the whole window
    background: str | None  # what holds where a truth names nothing; None: nobody knows

    @property
    def span(self) -> float:
        """(T-1) x interval, seconds."""
        return (self.frames - 1) * self.interval


@dataclass(frozen=True, slots=True)
class Footage:
    """A readable piece of video, and its truth where there is one beside it (None: there is none)."""

    timed: TimedClip
    truth: tuple[Segment, ...] | None


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive ticks of one video, as one file of OUT/run keeps them."""

    footage: Footage
    wanted: tuple[int, ...]  # frames of the video: `before` that only the teacher looks at, then each tick's
    before: int
    labels: NDArray[np.int64]  # (ticks,); UNKNOWN where there is none
    held_out: bool

    @property
    def ticks(self) -> int:
        """How many the student sees."""
        return len(self.wanted) - self.before


@dataclass(frozen=True, slots=True)
class StreamingData:
    """The parts of all videos, and what the user should know. `stretch`: ticks that are learnt at once."""

    parts: tuple[Part, ...]
    stretch: int
    split: str  # hash
    notes: tuple[str, ...]


def prepare(
    paths: Sequence[Path],
    teaching: Teaching,
    *,
    group: str | None,
    allow_leak: bool,
    seed: int,
    cache: Path,
    say: Callable[[str], None],
) -> StreamingData:
    """Find, look through and divide the videos.

    Args:
        paths: data sets as `train` reads them, videos, or folders of videos.
        group: as of `read_layout`; no recording is both learnt from and held out.
        cache: a file that remembers what the videos hold.

    Raises:
        DatasetError: nothing can be learnt from them.
    """
    clips, notes = find_clips(paths, teaching.labels, group)
    files = sorted({clip.path for clip in clips})
    say(f"looking through {len(files)} {'file' if len(files) == 1 else 'files'}")
    scanned, bad = scan_all(files, cache, lambda _done, _all: None)
    told = [f"left out: {file}: {reason}" for file, reason in bad.items()]
    if len(told) > BAD_SHOWN:
        told[BAD_SHOWN:] = [f"left out: {len(bad) - BAD_SHOWN} more unreadable files"]
    if not scanned:
        raise DatasetError(f"none of {len(files)} files can be read; the first: {told[0]}")
    digests = {path: found.digest for path, found in scanned.items()}
    timed, more = find_timed_clips(clips, scanned)
    joined, copies = join_copies([piece.clip for piece in timed], digests)
    if copies:
        told.append(f"{copies} files are copies of others; copies stay on one side of the split")
    more += check_leak(joined, allowed=allow_leak)
    sides = _divide(joined, seed)
    footage = [
        Footage(replace(piece, clip=clip), _truth_of(clip, teaching.labels))
        for piece, clip in zip(timed, sides, strict=True)
    ]
    parts, stretch, last = _parts(footage, teaching)
    digest = split_hash(sides, digests) + _hash_of_truths(footage)
    return StreamingData(parts, stretch, digest, (*notes, *told, *more, *last, _counted(parts, teaching)))


def find_clips(
    paths: Iterable[Path], labels: Sequence[str], group: str | None
) -> tuple[list[Clip], list[str]]:
    """The pieces of video below `paths`, "" as the label of those without one, and notes.

    Raises:
        DatasetError: there is none, or a label is none of the teacher's.
    """
    clips: list[Clip] = []
    notes: list[str] = []
    for path in paths:
        if not path.exists():
            raise DatasetError(f"there is no {path}; name videos, folders of videos, or a data set")
        if path.is_dir() and not (path / LABELS_FILE).is_file():
            found, note = _in_folder(path, labels)
            notes += note
        elif path.is_dir() or path.suffix.lower() == ".csv":
            found = list(read_layout(path, group, unlabelled=True).clips)
        else:
            found = [Clip(path, "")]
        pictures = [clip.path for clip in found if clip.path.suffix.lower() in IMAGE_SUFFIXES]
        if pictures:
            raise DatasetError(f"{pictures[0]} is a picture: a stream is learnt from videos")
        unknown = sorted({clip.label for clip in found} - {"", *labels})
        if unknown:
            raise DatasetError(
                f"{path}: the teacher has no label {', '.join(map(repr, unknown[:5]))}; it has "
                f"{', '.join(map(repr, labels[:8]))}: a student learns its teacher's labels (rename them, "
                "fine-tune the teacher first, or give the videos alone, without labels)"
            )
        clips += grouped(found, group)
    return clips, notes


def _in_folder(folder: Path, labels: Sequence[str]) -> tuple[list[Clip], list[str]]:
    """Class folders of the teacher's labels, split or not; anything else is footage without labels."""
    inside = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    split = [path for path in inside if path.name.lower() in FOLDERS]
    names = {
        " ".join(own.name.split())
        for path in (split or [folder])
        for own in path.iterdir()
        if own.is_dir() and not own.name.startswith(".")
    }
    if names and names & set(labels):
        return list(read_layout(folder).clips), []
    videos = [
        Clip(path, "", split=_side_of(path, folder))
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    if not videos:
        raise DatasetError(f"{folder} holds no videos ({', '.join(VIDEO_SUFFIXES)})")
    if not names:
        return videos, []
    shown = ", ".join(sorted(names)[:3])
    return videos, [f"{folder}: its folders ({shown}) are no labels of the teacher: taken as footage without"]


def _side_of(path: Path, folder: Path) -> str:
    return FOLDERS.get(path.relative_to(folder).parts[0].lower(), "")


def _truth_of(clip: Clip, labels: Sequence[str]) -> tuple[Segment, ...] | None:
    """What stands in the CSV file beside a video that has no label itself."""
    file = clip.path.with_suffix(".csv")
    if clip.label or not file.is_file():
        return None
    segments = read_truth(file)
    check_labels(file, segments, labels)
    return segments


def _divide(clips: Sequence[Clip], seed: int) -> list[Clip]:
    """Each clip gets its side, "train" or "val" (held out), by recording; one recording alone gets none."""
    given = {clip.split for clip in clips} - {""}
    if given - {"train"}:
        return [replace(clip, split="train" if clip.split in ("", "train") else "val") for clip in clips]
    groups = sorted({clip.group for clip in clips}, key=lambda name: shuffled(name, seed))
    if len(groups) < 2:
        return [replace(clip, split="") for clip in clips]
    held = set(groups[: max(1, round(SHARES["val"] * len(groups)))])
    return [replace(clip, split="val" if clip.group in held else "train") for clip in clips]


def _parts(footage: Sequence[Footage], teaching: Teaching) -> tuple[tuple[Part, ...], int, list[str]]:
    """Parts in order, how long a stretch is, and notes."""
    streams = [(piece, stream) for piece in footage for stream in ticks_of(piece.timed, teaching)]
    whole = [(piece, stream) for piece, stream in streams if len(stream) >= teaching.frames]
    notes = []
    if len(whole) < len(streams):
        notes.append(
            f"left out: {len(streams) - len(whole)} of {len(streams)} pieces of video are shorter than one "
            f"window of the teacher ({teaching.span:.1f} s)"
        )
    longest = max((len(s) for piece, s in whole if piece.timed.clip.split != "val"), default=0)
    if longest < 2 * teaching.frames - 1:
        raise DatasetError(
            f"no video to learn from lasts two spans of the teacher (2 x {teaching.span:.1f} s): a stream is "
            "learnt from what goes on longer than a window; give longer clips, or whole recordings"
        )
    stretch = min(SPANS * teaching.frames, longest)
    alone = all(piece.timed.clip.split == "" for piece, _ in whole)
    if alone:
        notes.append(
            "one recording only: its end is held out, which measures less than another recording would"
        )
    parts = [part for piece, stream in whole for part in _cut(piece, stream, teaching, stretch)]
    if alone:
        parts = _hold_out_the_end(parts)
    if not any(part.held_out for part in parts):
        raise DatasetError("nothing is held out to check with: the videos of val are shorter than one window")
    return tuple(parts), stretch, notes


def _hold_out_the_end(parts: list[Part]) -> list[Part]:
    if len(parts) < 2:
        raise DatasetError(
            "there is too little video to learn from a part and check with another: add a second recording"
        )
    held = max(1, round(SHARES["val"] * len(parts)))
    return [replace(part, held_out=number >= len(parts) - held) for number, part in enumerate(parts)]


def ticks_of(timed: TimedClip, teaching: Teaching) -> list[list[int]]:
    """The frames that a live camera's ticks would take, as indices of the file's; a list for each stream (a
    hole in the video begins another one).
    """
    ticks = Ticks("file", teaching.frames, teaching.interval, teaching.interval, True)
    streams: list[list[int]] = []
    for index, time in enumerate(timed.times):
        if not timed.start - HAIR <= time <= timed.end + HAIR:
            continue
        ticks.add(Frame("file", index, 0, time, 0.0, 0.0, time, _NO_PICTURE))
        while (window := ticks.take()) is not None:
            for step in window.steps:
                if step.begins:
                    streams.append([])
                streams[-1].append(step.frame.index)
    return streams


def _cut(footage: Footage, stream: Sequence[int], teaching: Teaching, stretch: int) -> list[Part]:
    first = footage.timed.times[stream[0]]
    ends = [first + number * teaching.interval for number in range(len(stream))]
    labels = np.array([label_of(footage, end, teaching) for end in ends], np.int64)
    parts = []
    for start in range(0, len(stream), KEPT * stretch):
        end = min(start + KEPT * stretch, len(stream))
        before = min(start, teaching.frames - 1)
        if end - start < min(teaching.frames, len(stream)):
            continue  # a tail that is no window
        wanted = tuple(stream[start - before : end])
        held_out = footage.timed.clip.split == "val"
        parts.append(Part(footage, wanted, before, labels[start:end], held_out))
    return parts


def label_of(footage: Footage, end: float, teaching: Teaching) -> int:
    """Index of the label of the window that ends at `end` (seconds of the file), UNKNOWN near a change."""
    if teaching.lag:
        moment, unsure = end - teaching.lag, UNSURE * teaching.interval
        begin, end = moment - unsure, moment + unsure
    else:
        begin = end - teaching.span
    timed, clip = footage.timed, footage.timed.clip
    if begin < timed.start - HAIR:
        return UNKNOWN
    if clip.label:
        return teaching.labels.index(clip.label) if end <= timed.end + HAIR else UNKNOWN
    if footage.truth is None:
        return UNKNOWN
    near = [segment for segment in footage.truth if segment.start < end and segment.end > begin]
    if not near:
        return UNKNOWN if teaching.background is None else teaching.labels.index(teaching.background)
    if len(near) > 1 or near[0].start > begin or near[0].end < end:
        return UNKNOWN
    return teaching.labels.index(near[0].label)


def _hash_of_truths(footage: Iterable[Footage]) -> str:
    rows = sorted(f"{piece.timed.clip.path.name} {piece.truth}" for piece in footage)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:8]


def _counted(parts: Sequence[Part], teaching: Teaching) -> str:
    def minutes(held_out: bool) -> str:
        ticks = sum(part.ticks for part in parts if part.held_out == held_out)
        videos = len({part.footage.timed.clip.path for part in parts if part.held_out == held_out})
        return (
            f"{ticks * teaching.interval / 60:.1f} minutes of {videos} {'video' if videos == 1 else 'videos'}"
        )

    known = sum(int((part.labels != UNKNOWN).sum()) for part in parts) / sum(part.ticks for part in parts)
    shares = f"{known:.0%} of all ticks have a known label"
    return f"{minutes(False)} to learn from, {minutes(True)} held out; {shares}"
