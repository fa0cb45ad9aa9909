"""Real windows of a video file: what int8 is calibrated on, and what precisions are compared on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from streamer.errors import ModelLoadError

if TYPE_CHECKING:
    from torch import Tensor

    from streamer.recognition.preprocessing import Preprocessor

MOST_FRAMES = 20_000  # of a file that are looked at: half an hour at 10 fps


def clip_windows(path: Path, preprocessor: Preprocessor, frames: int, interval: float, count: int) -> Tensor:
    """`count` windows spread evenly over a file, as the recognizer would see them.

    A file shorter than one span is sampled more densely: its pictures are real, only its pace is not.

    Args:
        path: any video that OpenCV reads.
        preprocessor: the checkpoint's.
        frames: T.
        interval: seconds between a window's frames.
        count: n.

    Returns:
        float32 (n, T, C, H, W), normalised.

    Raises:
        ModelLoadError: the file holds no pictures.
    """
    import torch

    images, times = _read(path, preprocessor, interval)
    interval = min(interval, float(times[-1] - times[0]) / max(1, frames - 1))
    ends = np.linspace(times[0] + (frames - 1) * interval, times[-1], count)
    back = np.arange(frames - 1, -1, -1) * interval
    chosen = np.abs(times[None, None, :] - (ends[:, None] - back)[:, :, None]).argmin(-1)  # (n, T)
    unique, places = np.unique(chosen, return_inverse=True)
    pixels = preprocessor.normalise(torch.from_numpy(np.stack([images[i] for i in unique])))
    return pixels[torch.from_numpy(places.reshape(chosen.shape))].contiguous()


def _read(path: Path, preprocessor: Preprocessor, interval: float) -> tuple[list[np.ndarray], np.ndarray]:
    """Reduced frames, at least two an interval where the file has them, and their times in seconds."""
    from streamer.capture import opencv

    cv2 = opencv.load()
    video = cv2.VideoCapture(str(path))
    fps = video.get(cv2.CAP_PROP_FPS)
    fps = fps if 1 <= fps <= 1000 else 25.0
    every = max(1, int(fps * interval / 2))
    images, times = [], []
    try:
        for index in range(MOST_FRAMES):
            if not video.grab():
                break
            if index % every == 0:
                read, picture = video.retrieve()
                if read:
                    images.append(preprocessor.reduce(picture))
                    times.append(index / fps)
    finally:
        video.release()
    if not images:
        raise ModelLoadError(f"no pictures could be read from {path}; int8 needs a video to be calibrated on")
    return images, np.array(times)
