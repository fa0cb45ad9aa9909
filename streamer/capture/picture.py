"""Is the picture alive? Tells frozen, black and grey (damaged) pictures from real ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

OK, FROZEN, BLACK, GREY = "ok", "frozen", "black", "grey"
_ROWS, _COLUMNS = 48, 64  # samples
_SETTLE = 0.5  # seconds that black or grey must last before the camera is called that


class PictureCheck:
    """Watches one camera's pictures, on a grid of 48 x 64 of its raw pixels (about 20 µs a frame)."""

    def __init__(self, frozen_after: float) -> None:
        self._frozen_after = frozen_after
        self.reset()

    def reset(self) -> None:
        self._reference: NDArray[np.int16] | None = None
        self._same_since = 0.0
        self._same = 0
        self._bad = OK
        self._bad_since = 0.0
        self.state = OK

    def see(self, image: NDArray[Any], time: float) -> str:
        """What is wrong with this picture (uint8 BGR (H, W, 3)) at `time`, seconds; OK if nothing."""
        sample = _sample(image)
        now = BLACK if _is_black(sample) else GREY if _is_grey(sample) else OK
        if now != OK:
            if now != self._bad:
                self._bad, self._bad_since = now, time
            if time - self._bad_since >= _SETTLE:
                self.state = now
            self._reference = None
            return now
        self._bad = OK
        now = FROZEN if self._is_frozen(sample, time) else OK
        self.state = now
        return now

    def _is_frozen(self, sample: NDArray[np.int16], time: float) -> bool:
        if self._reference is None or _differs(sample, self._reference):
            self._reference, self._same_since, self._same = sample, time, 0
            return False
        self._same += 1
        return self._same >= 3 and time - self._same_since >= self._frozen_after


def _sample(image: NDArray[Any]) -> NDArray[np.int16]:
    height, width = image.shape[:2]
    down, right = max(1, height // _ROWS), max(1, width // _COLUMNS)
    return image[down // 2 :: down, right // 2 :: right].astype(np.int16)


def _differs(a: NDArray[np.int16], b: NDArray[np.int16]) -> bool:
    if a.shape != b.shape:
        return True
    return bool(np.count_nonzero(a != b) > a.size * 0.002)


def _is_black(sample: NDArray[np.int16]) -> bool:
    return bool(sample.mean() < 20 and sample.std() < 4)


def _is_grey(sample: NDArray[np.int16]) -> bool:
    flat = (np.abs(sample - 129) <= 2).all(axis=2)
    return bool(flat.mean() > 0.4)
