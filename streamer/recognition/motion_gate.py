"""The motion gate: no inference while a camera's picture does not change.

A window is *quiet* when nothing moved in it and nothing has changed since the window that was last computed.
Its prediction would be the same again, so the last scores are held. What counts as change follows from the
camera's own noise, measured on the frames themselves:

- a frame is reduced to GRID x GRID means of brightness, which averages sensor noise away (a 28-pixel block of
  a 224-pixel frame: by 28) and keeps every motion larger than a fraction of a block;
- the noise of a block is the median of its changes from frame to frame over the last frames: what moves
  seldom stays in one block for half of the time. It is at least what half of the blocks have, and a cap
  keeps what always moves (a tree, a panning camera) from passing for noise. A camera that trembles is thus
  noisy where the picture has edges, and only there;
- over T frames a block of pure noise ranges over about 5 standard deviations (the largest of GRID**2 ranges
  of 8 normal values); the gate asks for more than 6.5 before it calls something change.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.types import Frame, Window

Means = NDArray[Any]  # (GRID, GRID) float32, grey levels

GRID = 8
MEDIAN_SIGMA = 0.6745  # half of |normal| values lie below so many standard deviations
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
    """One camera's gate. Pure: the same windows give the same answers.

    Args:
        further: windows in which nothing moved that are computed before one is held, of each stream.
            A streaming model looks further back than its window: what it says has settled only then.
    """

    def __init__(self, further: int = 0) -> None:
        self._further = further
        self._settling: Counter[int] = Counter()  # stream -> such windows since something moved
        self._means: OrderedDict[tuple[int, int], Means] = OrderedDict()  # (epoch, index) -> means, one span
        self._changes: deque[Means] = deque(maxlen=NOISE_MEMORY)  # from frame to frame, absolute
        self._still: tuple[int, Means] | None = None  # epoch and newest means, if nothing moved in the last
        # computed window; a window that still holds the end of a movement has other scores than what follows

    @property
    def noise(self) -> Means:
        """Each block's noise, (GRID, GRID) float32 grey levels (standard deviation)."""
        if not self._changes:
            return np.zeros((GRID, GRID), np.float32)
        usual = np.median(np.stack(self._changes), axis=0) / np.sqrt(2.0)  # a change has two frames' noise
        noise: Means = np.maximum(usual, np.median(usual)) / MEDIAN_SIGMA
        return noise

    def quiet(self, window: Window) -> bool:
        """True if this window need not be computed; otherwise later windows are compared with it."""
        stack = np.stack([self._of(frame) for frame in window.frames])  # (T, GRID, GRID)
        while len(self._means) > len(window.frames):
            self._means.popitem(last=False)
        limit = SIGMAS * np.minimum(self.noise, NOISE_CAP) + LEAST_CHANGE
        still = bool((np.ptp(stack, axis=0) < limit).all())
        if still and self._still is not None and self._still[0] == window.epoch:
            changed = np.abs(stack[-1] - self._still[1])
            if bool((changed < limit).all()):
                stream = window.steps[-1].stream if window.steps else 0
                self._settling[stream] += 1
                return self._settling[stream] > self._further
        self._settling.clear()
        self._still = (window.epoch, stack[-1]) if still else None
        return False

    def forget_computed(self) -> None:
        """The window that was called not quiet has no scores after all: the next one is computed."""
        self._still = None
        self._settling.clear()

    def _of(self, frame: Frame) -> Means:
        """A frame's means, computed once while windows share it."""
        key = frame.epoch, frame.index
        if key in self._means:
            self._means.move_to_end(key)
            return self._means[key]
        means = block_means(frame.image)
        if self._means:
            self._changes.append(np.abs(means - next(reversed(self._means.values()))))
        self._means[key] = means
        return means
