"""A video with one bright stretch, and a model that sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from streamer.types import ModelSpec, Scores
from tests.helpers.media import write_clip

LABELS = ("idle", "wave", "walk")


class Bright:
    """A recognizer that says "wave" with the brightness of a window's last frame."""

    spec = ModelSpec("bright", "scripted", LABELS, 4, 0.2, (32, 32))
    words, picture_key = None, "bright"
    closed = False

    def reduce(self, image: Any) -> Any:
        return np.ascontiguousarray(image[:32, :32, ::-1])

    def predict(self, windows: Any) -> Scores:
        light = [float(w.frames[-1].image.mean()) / 255 for w in windows]
        return Scores([np.array([1 - x, x * 0.99, x * 0.01], np.float32) for x in light])

    def warm_up(self) -> None:
        return None

    def forget(self, camera: str) -> None:
        return None

    def close(self) -> None:
        self.closed = True


def blinking(path: Path, seconds: float = 12.0) -> Path:
    """Bright from 4 to 8 s, 10 frames/s."""
    images = [
        np.full((48, 64, 3), 230 if 4 <= n / 10 < 8 else 10, np.uint8) for n in range(int(seconds * 10))
    ]
    return write_clip(path, images, 10)
