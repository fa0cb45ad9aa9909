"""What is measured: a checkpoint, and windows of real frames in the size that a camera would give."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from streamer.errors import ModelLoadError
from streamer.types import Frame, Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

RANDOM_BASE = "TimeSformer-base, random weights"
# facebook/timesformer-base-finetuned-k400's own numbers: 8 frames, every 32nd at 30 fps
_INTERVAL = 32 / 30
_PROCESSOR = {
    "image_processor_type": "VideoMAEImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 224},
    "resample": 2,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.45] * 3,
    "image_std": [0.225] * 3,
}


@contextmanager
def checkpoint(model: str | None) -> Iterator[str]:
    """An id that `load_recognizer` takes; where none is named, a random TimeSformer-base."""
    if model is not None:
        yield model
        return
    with TemporaryDirectory(prefix="streamer-bench-") as folder:
        make_random(Path(folder))
        yield folder


def make_random(folder: Path, **changes: Any) -> None:
    """Write a TimeSformer-base checkpoint of random weights; `changes` are the config's."""
    import torch
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    from streamer.recognition.loading import quiet_transformers

    torch.manual_seed(0)
    labels = {index: f"label {index}" for index in range(400)}
    config = TimesformerConfig(id2label=labels, streamer={"interval": _INTERVAL}, **changes)
    with quiet_transformers():
        TimesformerForVideoClassification(config).save_pretrained(folder)
    size = config.image_size
    numbers = {"size": {"shortest_edge": size}, "crop_size": {"height": size, "width": size}}
    (folder / "preprocessor_config.json").write_text(json.dumps({**_PROCESSOR, **numbers}), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Clip:
    """Pictures one interval apart: each window is the last one with its oldest frame gone and a new one."""

    pictures: list[NDArray[Any]]  # uint8 BGR (H, W, 3), as a camera gives them
    frames: list[Frame]  # the same, reduced

    def count(self, length: int) -> int:
        """Windows of `length` frames."""
        return len(self.frames) - length + 1

    def window(self, number: int, length: int, interval: float) -> Window:
        """Window `number`, beginning again after the last."""
        first = number % self.count(length)
        return Window("bench", number, tuple(self.frames[first : first + length]), interval)


def read_clip(path: Path, size: tuple[int, int], interval: float, count: int, recognizer: Any) -> Clip:
    """`count` pictures `interval` seconds apart, resized to `size` (H, W); the file begins again at its end.

    Raises:
        ModelLoadError: the file holds no pictures.
    """
    import cv2

    pictures: list[NDArray[Any]] = []
    while len(pictures) < count:
        before = len(pictures)
        video = cv2.VideoCapture(str(path))
        try:
            every = max(1, round((video.get(cv2.CAP_PROP_FPS) or 25) * interval))
            index = 0
            while len(pictures) < count and video.grab():
                if index % every == 0:
                    read, picture = video.retrieve()
                    if read:
                        pictures.append(cv2.resize(picture, size[::-1]))
                index += 1
        finally:
            video.release()
        if len(pictures) == before:
            raise ModelLoadError(f"no pictures could be read from {path}")
    frames = [
        Frame("bench", i, 0, i * interval, i * interval, 0.0, None, recognizer.reduce(picture))
        for i, picture in enumerate(pictures)
    ]
    return Clip(pictures, frames)
