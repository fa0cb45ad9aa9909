"""Clips as a model sees them: T frames at `interval` seconds, prepared by live recognition's own object."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from streamer.errors import DatasetError
from streamer.training.clip_scores import measure_clips
from streamer.training.dataset_layout import Clip, Layout, read_layout
from streamer.training.video_frames import Scanned, nearest, read_frames, scan_all
from streamer.types import Frame, Window

if TYPE_CHECKING:
    from streamer.recognition.recognizer import Recognizer

SIDES = re.compile(r"\b(left|right|leftwards?|rightwards?|(anti|counter)?-?clockwise)\b", re.IGNORECASE)
_WORDS = re.compile(r"([a-z])([A-Z])")  # MovingLeft
CHUNK = 16  # clips decoded ahead of the model
DECODERS = 4  # threads
BAD_SHOWN = 20  # unreadable files named one by one


@dataclass(frozen=True, slots=True)
class Sampling:
    """T and the seconds between two frames."""

    frames: int
    interval: float

    @property
    def span(self) -> float:
        return (self.frames - 1) * self.interval


@dataclass(frozen=True, slots=True)
class TimedClip:
    """A readable clip: its file's frame times, and where it lies between them (seconds)."""

    clip: Clip
    times: tuple[float, ...]
    start: float
    end: float


def find_timed_clips(
    clips: Iterable[Clip], scanned: dict[Path, Scanned]
) -> tuple[list[TimedClip], list[str]]:
    """The clips of readable files, and a line for each whose bounds lie beyond its file."""
    timed_clips, notes = [], []
    for clip in clips:
        found = scanned.get(clip.path)
        if found is None:
            continue
        first, last = found.times[0], found.times[-1]
        start = first if clip.start is None else clip.start
        end = last if clip.end is None else min(clip.end, last)
        if start > end or (start == end and clip.start is not None):
            notes.append(f"left out: {clip.path} ends at {last:.1f} s, before {clip.label!r} at {start:g} s")
            continue
        timed_clips.append(TimedClip(clip, found.times, start, end))
    return timed_clips, notes


def starts(timed_clip: TimedClip, span: float, views: int) -> list[float]:
    """Where `views` windows begin: evenly over the clip, or once around its middle where it is too short."""
    room = timed_clip.end - timed_clip.start - span
    if room <= 0.0 or views == 1:
        return [timed_clip.start + room / 2]
    return [timed_clip.start + room * view / (views - 1) for view in range(views)]


def indices(timed_clip: TimedClip, start: float, sampling: Sampling) -> list[int]:
    """The frames nearest to `start`, `start + interval`, ...; beyond the clip its first or last stands."""
    wanted = (start + k * sampling.interval for k in range(sampling.frames))
    return [nearest(timed_clip.times, min(max(time, timed_clip.start), timed_clip.end)) for time in wanted]


def names_a_side(labels: Iterable[str]) -> bool:
    """True where mirrored pictures would make labels wrong."""
    return any(SIDES.search(_WORDS.sub(r"\1 \2", label).replace("_", " ")) for label in labels)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What is changed at random in training, the same for all frames of a clip."""

    scale: float = 0.7  # the smallest part of the picture's sides that is kept
    flip: bool = True
    colour: float = 0.2  # brightness, contrast and saturation by up to so much


def cut(rng: np.random.Generator, least: float) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """A random piece of a picture with its proportions; the same piece of every frame."""
    scale, x, y = rng.uniform(least, 1.0), rng.random(), rng.random()

    def crop(image: NDArray[Any]) -> NDArray[Any]:
        height, width = max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))
        top, left = round((image.shape[0] - height) * y), round((image.shape[1] - width) * x)
        return image[top : top + height, left : left + width]

    return crop


def recolour(rng: np.random.Generator, clip: NDArray[Any], most: float) -> NDArray[Any]:
    """Brightness, contrast, saturation of a uint8 (T, H, W, 3) clip."""
    brightness, contrast, saturation = rng.uniform(1 - most, 1 + most, 3)
    values = clip.astype(np.float32)
    grey = values.mean(-1, keepdims=True)
    values = grey + np.float32(saturation) * (values - grey)
    mean = np.float32(grey.mean())
    values = np.float32(brightness) * (mean + np.float32(contrast) * (values - mean))
    changed: NDArray[Any] = np.clip(values + 0.5, 0, 255).astype(np.uint8)
    return changed


def load_clip(
    timed_clip: TimedClip,
    start: float,
    sampling: Sampling,
    reduce: Callable[[NDArray[Any]], NDArray[Any]],
    rng: np.random.Generator | None = None,
    change: Augmentation | None = None,
) -> NDArray[Any]:
    """A window of a clip: uint8 RGB (T, h, w, 3). With `rng` and `change` it is augmented.

    Raises:
        DatasetError: its file can no longer be read.
    """
    wanted = indices(timed_clip, start, sampling)
    if rng is None or change is None:
        return np.stack(read_frames(timed_clip.clip.path, timed_clip.times, wanted, reduce))
    crop = cut(rng, change.scale)
    flip = change.flip and rng.random() < 0.5
    pictures = read_frames(timed_clip.clip.path, timed_clip.times, wanted, lambda image: reduce(crop(image)))
    clip = np.stack(pictures)
    if flip:
        clip = clip[:, :, ::-1]
    return recolour(rng, clip, change.colour) if change.colour else np.ascontiguousarray(clip)


def open_dataset(
    path: Path, group: str | None, cache: Path | None, say: Callable[[str], None]
) -> tuple[Layout, dict[Path, Scanned]]:
    """Find and scan a data set; what cannot be read is told, and left out of the layout.

    Raises:
        DatasetError: nothing is left, or the folder cannot be understood.
    """
    layout = read_layout(path, group)
    files = sorted({clip.path for clip in layout.clips})

    def progress(done: int, total: int) -> None:
        if done % 2000 == 0:
            say(f"looked at {done} of {total} files")

    scanned, bad = scan_all(files, cache, progress)
    notes = [f"left out: {file}: {reason}" for file, reason in bad.items()]
    if len(notes) > BAD_SHOWN:
        notes[BAD_SHOWN:] = [f"left out: {len(bad) - BAD_SHOWN} more unreadable files"]
    clips = tuple(clip for clip in layout.clips if clip.path in scanned)
    if not clips:
        raise DatasetError(f"{path}: none of {len(files)} files can be read; the first: {notes[0]}")
    return replace(layout, clips=clips, notes=(*layout.notes, *notes)), scanned


def evaluate_clips(
    recognizer: Recognizer, paths: Sequence[Path], split: str, views: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Accuracy on data sets by the recognizer that `run` uses; scores are averaged over views.

    Raises:
        DatasetError: a data set cannot be used, or has labels that the model has not.
    """
    return measure_timed_clips(recognizer, timed_clips_of(recognizer.spec.labels, paths, split, say), views)


def timed_clips_of(
    labels: Sequence[str], paths: Sequence[Path], split: str, say: Callable[[str], None]
) -> list[TimedClip]:
    """The readable clips of a part ("all" is one too) of data sets; all of those that are not split.

    Raises:
        DatasetError: a data set cannot be used, or has labels that are not among `labels`.
    """
    timed_clips: list[TimedClip] = []
    for path in paths:
        layout, scanned = open_dataset(path, None, None, say)
        parts = {clip.split for clip in layout.clips} - {""}
        chosen = [c for c in layout.clips if split == "all" or not parts or c.split == split]
        if not chosen:
            raise DatasetError(f"{path} has no part {split!r}, only {', '.join(sorted(parts))}: --split")
        found, notes = find_timed_clips(chosen, scanned)
        if not parts and split != "all":
            notes.append(f"{path} is not split: all of its clips are taken")
        for note in (*layout.notes, *notes):
            say(note)
        timed_clips += found
    unknown = sorted({p.clip.label for p in timed_clips} - set(labels))
    if unknown:
        raise DatasetError(
            f"the model has no label {', '.join(map(repr, unknown[:5]))}; it has "
            f"{', '.join(map(repr, labels[:8]))}"
        )
    return timed_clips


def measure_timed_clips(
    recognizer: Recognizer, timed_clips: Sequence[TimedClip], views: int
) -> dict[str, Any]:
    """`measure_clips` of the recognizer's scores, averaged over the views of each piece."""
    scores, truth = scores_of(recognizer, timed_clips, views)
    return measure_clips(scores, truth, recognizer.spec.labels)


def scores_of(
    recognizer: Recognizer, timed_clips: Sequence[TimedClip], views: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scores (N, L) averaged over the views of each piece, and true labels (N,) as indices."""
    spec = recognizer.spec
    sampling = Sampling(spec.frames, spec.interval)
    scores = np.zeros((len(timed_clips), len(spec.labels)))

    def windows(item: tuple[int, TimedClip]) -> list[Window]:
        number, timed_clip = item
        return [
            _window(
                number * views + view, load_clip(timed_clip, start, sampling, recognizer.reduce), sampling
            )
            for view, start in enumerate(starts(timed_clip, sampling.span, views))
        ]

    with ThreadPoolExecutor(DECODERS, thread_name_prefix="decode") as pool:
        for first in range(0, len(timed_clips), CHUNK):
            chunk = list(enumerate(timed_clips[first : first + CHUNK], first))
            for (number, _), seen in zip(chunk, pool.map(windows, chunk), strict=True):
                scores[number] = np.mean(recognizer.predict(seen), axis=0)
            recognizer.forget("clips")
    truth = np.array([spec.labels.index(timed_clip.clip.label) for timed_clip in timed_clips], dtype=np.intp)
    return scores, truth


def _window(number: int, clip: NDArray[Any], sampling: Sampling) -> Window:
    frames = tuple(
        Frame("clips", number * len(clip) + k, 0, k * sampling.interval, 0.0, 0.0, None, image)
        for k, image in enumerate(clip)
    )
    return Window("clips", number, frames, sampling.interval)
