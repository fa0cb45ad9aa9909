"""The motion gate: no inference while a camera's picture does not change.

A window is *quiet* when nothing moved in it and nothing has changed since the window that was last computed.
Its prediction would be the same again, so the last scores are held. What counts as change follows from the
camera's own noise, measured on the frames themselves:

- a frame is reduced to GRID x GRID means of brightness, which averages sensor noise away (a 28-pixel block of
  a 224-pixel frame: by 28) and keeps every motion larger than a fraction of a block;
- the noise of those means is the 20th percentile over blocks of their change between two frames, because
  whatever moves seldom covers four fifths of the picture; a cap keeps a panning camera from raising it;
- over T frames a block of pure noise ranges over about 5 standard deviations (the largest of GRID**2 ranges
  of 8 normal values); the gate asks for more than 6.5 before it calls something change.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.types import Frame, Window

Means = NDArray[Any]  # (GRID, GRID) float32, grey levels

GRID = 8
QUANTILE, QUANTILE_SIGMA = 0.2, 0.253  # 20 % of |normal| values lie below 0.253 standard deviations
SIGMAS, LEAST_CHANGE = 6.5, 0.6  # threshold = SIGMAS * noise + LEAST_CHANGE grey levels
NOISE_CAP = 1.5  # grey levels of a block's mean; more is motion, not noise
NOISE_MEMORY = 64  # frames
GREEN = 1  # the green channel stands for brightness: it has the least noise on every sensor


def block_means(image: NDArray[Any]) -> Means:
    """(H, W, 3) uint8 -> (GRID, GRID) float32 means of brightness; what exceeds whole blocks is left out."""
    rows, columns = image.shape[0] // GRID, image.shape[1] // GRID
    green = image[: rows * GRID, : columns * GRID, GREEN]
    means: Means = green.reshape(GRID, rows, GRID, columns).mean(axis=(1, 3), dtype=np.float32)
    return means


class MotionGate:
    """One camera's gate. Pure: the same windows give the same answers."""

    def __init__(self) -> None:
        self._means: OrderedDict[tuple[int, int], Means] = OrderedDict()  # (epoch, index) -> means, one span
        self._noise: deque[float] = deque(maxlen=NOISE_MEMORY)
        self._computed: tuple[int, Means] | None = None  # epoch and newest means of the last computed window

    @property
    def noise(self) -> float:
        """The camera's noise in a block's mean, grey levels (standard deviation)."""
        return float(np.median(self._noise)) if self._noise else 0.0

    def quiet(self, window: Window) -> bool:
        """True if this window need not be computed; otherwise later windows are compared with it."""
        stack = np.stack([self._of(frame) for frame in window.frames])  # (T, GRID, GRID)
        while len(self._means) > len(window.frames):
            self._means.popitem(last=False)
        limit = SIGMAS * min(self.noise, NOISE_CAP) + LEAST_CHANGE
        if self._computed is not None and self._computed[0] == window.epoch:
            moved = float(np.ptp(stack, axis=0).max())
            changed = float(np.abs(stack[-1] - self._computed[1]).max())
            if moved < limit and changed < limit:
                return True
        self._computed = window.epoch, stack[-1]
        return False

    def _of(self, frame: Frame) -> Means:
        """A frame's means, computed once while windows share it."""
        key = frame.epoch, frame.index
        if key in self._means:
            self._means.move_to_end(key)
            return self._means[key]
        means = block_means(frame.image)
        if self._means:
            change = np.abs(means - next(reversed(self._means.values())))
            self._noise.append(float(np.quantile(change, QUANTILE)) / (QUANTILE_SIGMA * np.sqrt(2.0)))
        self._means[key] = means
        return means
