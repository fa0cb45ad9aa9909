"""Which whole pictures are kept for people's windows, and how much memory they take.

People are cut from the camera's own resolution, everywhere they were in a window's span: so a span of whole
pictures is kept, a few for each frame that a window wants. All people of a camera share them.
"""

from __future__ import annotations

import math
from dataclasses import replace

import cv2

from streamer.capture.frame_rate import RateChoice
from streamer.types import Frame, ModelSpec
from streamer.windows.sliding_windows import AHEAD, SPARE

# pictures for each interval: the nearest to a wanted time is then an eighth, or a quarter, of it away
MOST, LEAST = 4.0, 2.0


class KeptFrames:
    """One camera's for one model; for the camera's thread.

    Where the pictures would take more than `memory_mb`, fewer are kept for each interval, and then smaller
    ones.

    Args:
        spec: the model's.
        complete: files as fast as the model allows: windows lie further back.
    """

    def __init__(self, spec: ModelSpec, memory_mb: float, complete: bool) -> None:
        self._interval = spec.interval
        self._seconds = spec.span + (AHEAD if complete else SPARE)
        self._memory = memory_mb * 1e6
        self._size: tuple[int, ...] = ()
        self._epoch: int | None = None
        self._choice = RateChoice(None)
        self.halvings = 0  # how often a picture's sides are halved before it is kept

    def keep(self, frame: Frame) -> Frame | None:
        """What to keep of a whole frame; None for one that no window needs."""
        if frame.image.shape != self._size or frame.epoch != self._epoch:
            self._fit(frame.image.shape)
            self._size, self._epoch = frame.image.shape, frame.epoch
        if not self._choice.keeps(frame.time):
            return None
        if self.halvings == 0:
            return frame
        height, width = (max(1, side >> self.halvings) for side in self._size[:2])
        image = cv2.resize(frame.image, (width, height), interpolation=cv2.INTER_AREA)
        image.setflags(write=False)
        return replace(frame, image=image)

    def frames(self, each: float = MOST) -> int:
        """How many pictures are kept with so many for each interval."""
        return math.ceil(self._seconds / self._interval * each) + 4

    def _fit(self, shape: tuple[int, ...]) -> None:
        size = math.prod(shape)
        room = (self._memory / size - 4) * self._interval / self._seconds  # pictures for each interval
        self.halvings = 0
        while room < LEAST and size >> 2 * (self.halvings + 1) > 0:
            self.halvings += 1
            room = (self._memory / (size >> 2 * self.halvings) - 4) * self._interval / self._seconds
        self._choice = RateChoice(max(LEAST, min(MOST, room)) / self._interval)
