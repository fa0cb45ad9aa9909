"""A video with one bright stretch, and a model that sees it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streamer.testing import FakeRecognizer
from streamer.types import Window
from tests.helpers.media import write_clip

LABELS = ("idle", "wave", "walk")


class Bright(FakeRecognizer):
    """Says "wave" with the brightness of a window's last frame."""

    def __init__(self) -> None:
        super().__init__(_brightness, labels=LABELS, name="bright")


def _brightness(window: Window) -> tuple[float, float, float]:
    light = float(window.frames[-1].image.mean()) / 255
    return 1 - light, light * 0.99, light * 0.01


def blinking(path: Path, seconds: float = 12.0) -> Path:
    """Bright from 4 to 8 s, 10 frames/s."""
    images = [
        np.full((48, 64, 3), 230 if 4 <= n / 10 < 8 else 10, np.uint8) for n in range(int(seconds * 10))
    ]
    return write_clip(path, images, 10)
