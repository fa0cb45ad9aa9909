"""What somebody looked like when they were seen alone, by which they are found beside others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.types import Box

UPPER = 0.6  # of somebody's height: legs look different with each step
REACH = 0.6, 0.15  # of their width and height, around where they are expected
LEAST_REACH = 2  # pixels
LEAST_SIDE = 3  # pixels of what can be found again
ALIKE = 0.6  # correlation from which it is them
FAR = 0.2  # of correlation, that the edge of the reach costs: who is alike is sooner the nearer one


@dataclass(frozen=True, slots=True)
class _Portrait:
    image: NDArray[Any]  # uint8 (h, w, 3), their upper part
    mask: NDArray[Any]  # float32 (h, w), 1 where it shows them
    offset: tuple[int, int]  # pixels, from the middle of their box to the portrait's corner


class Appearances:
    """Of one camera's people, in reduced pictures, uint8 BGR (H, W, 3)."""

    def __init__(self) -> None:
        self._portraits: dict[int, _Portrait] = {}

    def keep(self, known: Iterable[int]) -> None:
        """Forget all others."""
        known = set(known)
        self._portraits = {number: one for number, one in self._portraits.items() if number in known}

    def learn(self, number: int, image: NDArray[Any], mask: NDArray[Any], box: Box) -> None:
        """Somebody is seen alone in `box`; `mask`, uint8 (H, W), is not 0 where they are."""
        height, width = mask.shape
        left, top = max(0, round(box[0] * width)), max(0, round(box[1] * height))
        right, bottom = round((box[0] + box[2]) * width), round((box[1] + UPPER * box[3]) * height)
        there = mask[top:bottom, left:right]
        if min(there.shape) < LEAST_SIDE or not there.any():
            return
        x, y = _middle(box, width, height)
        self._portraits[number] = _Portrait(
            image[top:bottom, left:right].copy(), (there > 0).astype(np.float32), (left - x, top - y)
        )

    def find(self, number: int, image: NDArray[Any], expected: Box) -> tuple[float, Box] | None:
        """(how much it looks like them, the box moved there), near where they are expected; None if they are
        not seen there.
        """
        portrait = self._portraits.get(number)
        if portrait is None:
            return None
        height, width = image.shape[:2]
        h, w = portrait.mask.shape
        reach_x = max(LEAST_REACH, round(REACH[0] * expected[2] * width))
        reach_y = max(LEAST_REACH, round(REACH[1] * expected[3] * height))
        x, y = _middle(expected, width, height)
        x, y = x + portrait.offset[0], y + portrait.offset[1]  # of the portrait's corner
        left, top = max(0, x - reach_x), max(0, y - reach_y)
        area = image[top : min(height, y + reach_y + h), left : min(width, x + reach_x + w)]
        if area.shape[0] < h or area.shape[1] < w:
            return None
        like = cv2.matchTemplate(area, portrait.image, cv2.TM_CCOEFF_NORMED, mask=portrait.mask)
        like = np.where(np.isfinite(like), like, -1.0)
        rows, columns = np.indices(like.shape)
        far = ((columns + left - x) / reach_x) ** 2 + ((rows + top - y) / reach_y) ** 2
        row, column = np.unravel_index(int(np.argmax(like - FAR * far)), like.shape)
        if like[row, column] < ALIKE:
            return None
        moved = (column + left - x) / width, (row + top - y) / height
        box = (expected[0] + float(moved[0]), expected[1] + float(moved[1]), expected[2], expected[3])
        return float(like[row, column]), box


def _middle(box: Box, width: int, height: int) -> tuple[int, int]:
    return round((box[0] + box[2] / 2) * width), round((box[1] + box[3] / 2) * height)
