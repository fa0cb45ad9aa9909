"""Region of interest: the part of the picture that the model gets to see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.capture import opencv

Points = Sequence[tuple[float, float]]


class Region:
    """A box (two corners) or a polygon (three and more points), in parts of the width and the height.

    A polygon is cut to its bounding box, and what lies outside it is black. Any size of picture fits; the
    mask is made once per size.
    """

    def __init__(self, points: Points) -> None:
        if len(points) < 2:
            raise ValueError("a region needs two corners (box) or at least three points (polygon)")
        self._points = [(float(x), float(y)) for x, y in points]
        self._size: tuple[int, int] | None = None
        self._box = (0, 0, 0, 0)
        self._outside: NDArray[np.bool_] | None = None

    def cut(self, image: NDArray[Any]) -> NDArray[Any]:
        """uint8 (H, W, 3) -> uint8 (h, w, 3), at least 1x1: a view for a box, a copy for a polygon."""
        size = (image.shape[0], image.shape[1])
        if size != self._size:
            self._fit(size)
        left, top, right, bottom = self._box
        part = image[top:bottom, left:right]
        if self._outside is None:
            return part
        part = part.copy()
        part[self._outside] = 0
        return part

    def _fit(self, size: tuple[int, int]) -> None:
        height, width = size
        xs = [x * width for x, _ in self._points]
        ys = [y * height for _, y in self._points]
        left, top = min(int(min(xs)), width - 1), min(int(min(ys)), height - 1)
        right, bottom = max(left + 1, round(max(xs))), max(top + 1, round(max(ys)))
        self._box, self._size, self._outside = (left, top, right, bottom), size, None
        if len(self._points) > 2:
            inside = np.zeros((bottom - top, right - left), np.uint8)
            corners = np.array(
                [[round(x) - left, round(y) - top] for x, y in zip(xs, ys, strict=True)], np.int32
            )
            opencv.load().fillPoly(inside, [corners], 1)
            self._outside = inside == 0
