"""Stretches of stream with what the teacher says of them, kept as files: computed once, drawn from often.

OUT/run/stretches/NNNNN.npz   frames (ticks, H, W, 3) uint8 RGB in the model's size, scores (ticks, L) of the
                              window that ends at each tick (not a number: there is no whole one), and
                              labels (ticks,)

A file is there whole or not at all, so a run that was killed goes on behind the last one.
"""

from __future__ import annotations

import io
import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamer.errors import DatasetError
from streamer.recognition.forward import Forward
from streamer.recognition.preprocessing import Preprocessor
from streamer.system.atomic_files import write_atomically
from streamer.training.distillation import UNKNOWN, Stretch
from streamer.training.output import make_folder
from streamer.training.streaming_data import Part
from streamer.training.video_frames import read_frames

WINDOWS = 8  # of the teacher at once
MOST_HELD = 256e6  # bytes of stretches that stay in memory, of those to learn from and of those held out
ROOM = 1.1  # times the frames' bytes that must be free on the disk

Pixels = Callable[
    [Tensor], Tensor
]  # uint8 (B, S, H, W, 3) -> float32 (B, S, C, H, W), normalised, on the device


def pixels_of(preprocessor: Preprocessor, device: torch.device) -> Pixels:
    """What live recognition makes of frames, for stretches of them."""

    def pixels(frames: Tensor) -> Tensor:
        flat = preprocessor.normalise(frames.to(device).flatten(0, 1))
        return flat.view(*frames.shape[:2], *flat.shape[1:])

    return pixels


def teach(
    teacher: Forward, frames: NDArray[np.uint8], ages: int, pixels: Pixels, *, bf16: bool = False
) -> NDArray[np.float32]:
    """What the window model says of the window that ends at each frame.

    Args:
        teacher: pixel_values (B, T, C, H, W) -> logits (B, L).
        frames: (S, H, W, 3).
        ages: T.

    Returns:
        (S, L), not a number for the first T-1.
    """
    found: list[NDArray[np.float32]] = []
    with torch.inference_mode():
        for start in range(ages - 1, len(frames), WINDOWS):
            ends = range(start, min(start + WINDOWS, len(frames)))
            clips = pixels(torch.from_numpy(np.stack([frames[end - ages + 1 : end + 1] for end in ends])))
            with torch.autocast(clips.device.type, torch.bfloat16, enabled=bf16):
                logits = teacher(clips)
            found.append(logits.float().softmax(-1).cpu().numpy())
    scores = np.concatenate(found)
    cold = np.full((ages - 1, scores.shape[1]), np.nan, np.float32)
    return np.concatenate((cold, scores))


def write_stretches(
    parts: Sequence[Part],
    folder: Path,
    preprocessor: Preprocessor,
    teacher: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    progress: Callable[[int, Part], None],
) -> list[Path]:
    """A file for each part, in their order; those that are there already stay as they are.

    Args:
        teacher: frames (S, H, W, 3) -> scores (S, L), see `teach`.
        progress: called after each with its number, from 1.

    Raises:
        DatasetError: a video is no longer what it was, or the disk is too small. OSError.
    """
    make_folder(folder, private=True)  # pictures, perhaps of people
    paths = [folder / f"{number:05d}.npz" for number in range(len(parts))]
    missing = sum(part.ticks for part, path in zip(parts, paths, strict=True) if not path.exists())
    height, width = preprocessor.numbers.size
    needed, free = int(ROOM * missing * height * width * 3), shutil.disk_usage(folder).free
    if free < needed:
        raise DatasetError(
            f"the disk of {folder} has {free / 1e9:.1f} GB free, the frames of these videos need "
            f"{needed / 1e9:.1f} GB: free some, give fewer videos, or name a folder on another disk"
        )
    for number, (part, path) in enumerate(zip(parts, paths, strict=True), 1):
        if not path.exists():
            timed = part.footage.timed
            frames = np.stack(read_frames(timed.clip.path, timed.times, part.wanted, preprocessor.reduce))
            scores = teacher(frames)[part.before :]
            content = io.BytesIO()
            np.savez(content, frames=frames[part.before :], scores=scores, labels=part.labels)
            write_atomically(path, content.getvalue(), mode=0o600)
        progress(number, part)
    return paths


def sooner(stretch: Stretch, ahead: int) -> Stretch:
    """The same frames, each with the scores and the label of `ahead` ticks later; unknown at the end."""
    if not ahead:
        return stretch
    scores = np.full_like(stretch.scores, np.nan)
    labels = np.full_like(stretch.labels, UNKNOWN)
    scores[:-ahead], labels[:-ahead] = stretch.scores[ahead:], stretch.labels[ahead:]
    return Stretch(stretch.frames, scores, labels)


def padded(stretch: Stretch, ticks: int) -> Stretch:
    """So long, by its last frame again and again; nothing is known there, so nothing is learnt from it."""
    more = ticks - len(stretch.frames)
    if more <= 0:
        return stretch
    frames = np.concatenate((stretch.frames, np.repeat(stretch.frames[-1:], more, 0)))
    scores = np.pad(stretch.scores, ((0, more), (0, 0)), constant_values=np.nan)
    return Stretch(frames, scores, np.pad(stretch.labels, (0, more), constant_values=UNKNOWN))


@dataclass
class KeptStretches:
    """Stretches that are drawn at random from files; at most `MOST_HELD` bytes of them stay in memory.

    Args:
        files: of `write_stretches`.
        weights: of each file, how often it is drawn: its ticks.
        ticks: of a stretch.
        ahead: see `sooner`.
        mirror: turn every other stretch round, left to right; labels and scores stay.
    """

    files: Sequence[Path]
    weights: Sequence[float]
    ticks: int
    ahead: int = 0
    mirror: bool = False
    _held: OrderedDict[Path, Stretch] = field(default_factory=OrderedDict, repr=False)

    def draw(self, rng: np.random.Generator) -> Stretch:
        """See `Source.draw`."""
        shares = np.asarray(self.weights, np.float64)
        whole = self.whole(self.files[int(rng.choice(len(shares), p=shares / shares.sum()))])
        first = int(rng.integers(max(1, len(whole.frames) - self.ticks + 1)))
        part = slice(first, first + self.ticks)
        frames = whole.frames[part]
        if self.mirror and rng.random() < 0.5:
            frames = frames[:, :, ::-1]
        return padded(Stretch(frames, whole.scores[part], whole.labels[part]), self.ticks)

    def whole(self, path: Path) -> Stretch:
        """All ticks of a file."""
        if path in self._held:
            self._held.move_to_end(path)
            return self._held[path]
        with np.load(path) as file:
            stretch = sooner(Stretch(file["frames"], file["scores"], file["labels"]), self.ahead)
        self._held[path] = stretch
        while len(self._held) > 1 and sum(one.frames.nbytes for one in self._held.values()) > MOST_HELD:
            self._held.popitem(last=False)
        return stretch

    def some(self, most: int) -> Iterable[Stretch]:
        """At most so many files whole, from all over."""
        step = -(-len(self.files) // most)
        return (self.whole(path) for path in self.files[::step])

    def all(self) -> Iterable[Stretch]:
        """Every file whole, one after the other."""
        return (self.whole(path) for path in self.files)
