"""Clips for the trainer: drawn by (seed, epoch, index) alone, so that a resumed run sees the same ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from streamer.recognition.preprocessing import Preprocessor
from streamer.training.clips import Augmentation, Sampling, TimedClip, load_clip, starts

Index = tuple[int, int] | int  # (epoch, clip), or a clip for checking
TRAINING = 7001  # keeps training's random numbers apart from others of the same seed


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """Which frames are taken from a clip, and how they are prepared."""

    sampling: Sampling
    preprocessor: Preprocessor
    labels: tuple[str, ...]
    seed: int
    single: bool = False  # for models of single frames: one frame of the clip
    change: Augmentation | None = None  # None: the clip's middle, unchanged


class ClipDataset(Dataset[dict[str, Any]]):
    """(epoch, index) or index -> {"clip": uint8 RGB (T, h, w, 3), "label": int}."""

    def __init__(self, timed_clips: Sequence[TimedClip], view: ClipSettings) -> None:
        self.timed_clips = list(timed_clips)
        self.view = view

    def __len__(self) -> int:
        return len(self.timed_clips)

    def __getitem__(self, index: Index) -> dict[str, Any]:
        """Raises DatasetError where its file can no longer be read."""
        view = self.view
        epoch, number = index if isinstance(index, tuple) else (None, index)
        timed_clip = self.timed_clips[number]
        sampling = Sampling(1, view.sampling.interval) if view.single else view.sampling
        rng = None
        start = starts(timed_clip, sampling.span, 1)[0]
        if epoch is not None:
            rng = np.random.default_rng([view.seed, TRAINING, epoch, number])
            room = timed_clip.end - timed_clip.start - sampling.span
            start = timed_clip.start + (rng.random() * room if room > 0 else room / 2)
        clip = load_clip(timed_clip, start, sampling, view.preprocessor.reduce, rng, view.change)
        return {"clip": clip, "label": view.labels.index(timed_clip.clip.label)}


class EpochOrder(Sampler[Index]):
    """Each epoch's order: a permutation, or with `balance` draws in which all labels are equally likely."""

    def __init__(self, labels: Sequence[int], seed: int, balance: bool) -> None:
        self._labels = np.asarray(labels)
        self._seed = seed
        self._balance = balance
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer at the beginning of each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._labels)

    def __iter__(self) -> Iterator[Index]:
        rng = np.random.default_rng([self._seed, TRAINING, self._epoch])
        count = len(self._labels)
        if self._balance:
            weights = 1.0 / np.bincount(self._labels)[self._labels]
            order = rng.choice(count, count, p=weights / weights.sum())
        else:
            order = rng.permutation(count)
        epoch = self._epoch
        return ((epoch, number) for number in order.tolist())


class Collate:
    """Samples -> {"pixel_values": float32 (B, T, C, H, W), or (B, C, H, W) of single frames, "labels": (B,)}.

    Normalised by live recognition's own preprocessor, in the worker.
    """

    def __init__(self, preprocessor: Preprocessor, single: bool) -> None:
        self._preprocessor = preprocessor
        self._single = single

    def __call__(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        clips = torch.from_numpy(np.stack([sample["clip"] for sample in samples]))
        pixels = self._preprocessor.normalise(clips.flatten(0, 1))
        if not self._single:
            pixels = pixels.view(*clips.shape[:2], *pixels.shape[1:])
        return {"pixel_values": pixels, "labels": torch.tensor([sample["label"] for sample in samples])}
