"""The part of the picture in which somebody is seen: one square for all frames of a window.

A square that moved with them would hide the movement, and one that jitters looks like movement. So it holds
everywhere they were in the window's span, with a margin; it stays the same from window to window for as long
as it fits, which lets prepared frames, a streaming model's cache and the motion gate be used again.

A square says nothing of whom it is about: who walks past inside it moves as well. So within its margin it is
moved to where it shows least of others who are followed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.types import Box, Square

TOO_LARGE = 1.3  # times the side that would be enough: then a smaller square is taken
LEAST_SIDE = 8  # pixels
LEAST_RIM = 0.05  # of what a new square holds, on each side, however it is moved
PLACES = 17  # that are tried for it, along each side
AVOIDABLE = 0.02  # of a square, in the mean of a window's moments: so much of others is worth a new square


def union(boxes: Iterable[Box]) -> Box:
    """The smallest box that holds all of them. Raises ValueError where there is none."""
    found = list(boxes)
    left, top = min(box[0] for box in found), min(box[1] for box in found)
    right, bottom = max(box[0] + box[2] for box in found), max(box[1] + box[3] for box in found)
    return left, top, right - left, bottom - top


def square_around(box: Box, margin: float, width: int, height: int) -> Square:
    """The square around a box (parts of a picture of `width` x `height` pixels), `margin` times its longer
    side.

    It is cut where the picture is not large enough for it (so it may be no square then), and moved inside
    where it would reach over the edge.
    """
    side = max(LEAST_SIDE, round(margin * max(box[2] * width, box[3] * height)))
    w, h = min(side, width), min(side, height)
    left = round((box[0] + box[2] / 2) * width - w / 2)
    top = round((box[1] + box[3] / 2) * height - h / 2)
    return min(max(left, 0), width - w), min(max(top, 0), height - h), w, h


def holds(square: Square, box: Box, width: int, height: int, room: float = 0.0) -> bool:
    """Whether a box lies in a square with `room` times its size to spare; what lies outside the picture is of
    no interest.
    """
    left, top, w, h = square
    rim_x, rim_y = room * box[2] * width, room * box[3] * height
    return (
        left <= max(0.0, box[0] * width - rim_x) + 1.0
        and top <= max(0.0, box[1] * height - rim_y) + 1.0
        and min(width, (box[0] + box[2]) * width + rim_x) - 1.0 <= left + w
        and min(height, (box[1] + box[3]) * height + rim_y) - 1.0 <= top + h
    )


def square_apart(box: Box, others: Sequence[Box], margin: float, width: int, height: int) -> Square:
    """`square_around`, moved to where it shows least of others; it holds the box with `LEAST_RIM` to spare.

    `others`: where they were, a box for each moment at which one of them was seen. Of places that show
    equally much, the one nearest to the middle is taken.
    """
    left, top, w, h = square_around(box, margin, width, height)
    if not others:
        return left, top, w, h
    lefts = _places(left, w, box[0] * width, box[2] * width, width)
    tops = _places(top, h, box[1] * height, box[3] * height, height)
    off = ((lefts - left) / w)[:, None] ** 2 + ((tops - top) / h)[None, :] ** 2
    shown = _shown(lefts, tops, (w, h), others, width, height)
    column, row = np.unravel_index(int(np.argmin(shown + 1e-6 * off)), off.shape)
    return int(lefts[column]), int(tops[row]), w, h


def _places(middle: int, side: int, start: float, length: float, total: int) -> NDArray[Any]:
    """Where a square of this side may begin along one side of the picture, `middle` among them."""
    first = max(0, math.ceil(min(total, start + (1 + LEAST_RIM) * length) - side))
    last = min(total - side, math.floor(max(0.0, start - LEAST_RIM * length)))
    if last <= first:
        return np.array([middle])
    return np.append(np.linspace(first, last, PLACES).round(), middle).astype(int)


def _shown(
    lefts: NDArray[Any],
    tops: NDArray[Any],
    size: tuple[int, int],
    others: Sequence[Box],
    width: int,
    height: int,
) -> NDArray[Any]:
    """float (lefts, tops): in how many squares' area others are seen from each place, over all moments."""
    boxes = np.array(others) * (width, height, width, height)
    shared = []
    for places, side, start, length in (
        (lefts[:, None], size[0], boxes[:, 0], boxes[:, 2]),
        (tops[:, None], size[1], boxes[:, 1], boxes[:, 3]),
    ):
        both = np.minimum(places + side, start + length) - np.maximum(places, start)
        shared.append(np.maximum(both, 0.0) / side)
    found: NDArray[Any] = shared[0] @ shared[1].T
    return found


class SquareChoice:
    """Which square each window of one person takes.

    Args:
        margin: of a new square, times what it has to hold.
        lasting: for streaming models, which lose what they remember with each new square: a square has room
            for going on as before for one more span, and stays until they leave it. It is not moved for
            others: where they will be while it stays is not known.
    """

    def __init__(self, margin: float, lasting: bool) -> None:
        self._margin = margin
        self._lasting = lasting
        self._square: Square | None = None
        self._size = (0, 0)
        self.changes = 0

    def choose(self, boxes: list[Box], width: int, height: int, others: Sequence[Box] = ()) -> Square:
        """The square for a window in which they were at `boxes`, oldest first, of a picture of that size.

        `others`: boxes of everybody else at these moments.
        """
        whole, newest = union(boxes), boxes[-1]
        stays = self._square is not None and self._size == (width, height)
        if self._lasting:
            ahead = (2 * newest[0] - boxes[0][0], 2 * newest[1] - boxes[0][1], newest[2], newest[3])
            wanted = square_around(union([whole, ahead]), self._margin, width, height)
            stays = stays and self._fits(wanted, newest, 2 * TOO_LARGE)
        else:
            wanted = square_apart(whole, others, self._margin, width, height)
            stays = stays and self._fits(wanted, whole, TOO_LARGE)
            stays = stays and self._avoided(wanted, others) <= AVOIDABLE * len(boxes)
        if self._square is None or not stays:
            self._square, self._size = wanted, (width, height)
            self.changes += 1
        return self._square

    def _fits(self, wanted: Square, box: Box, room: float) -> bool:
        assert self._square is not None
        return holds(self._square, box, *self._size) and max(self._square[2:]) <= room * max(wanted[2:])

    def _avoided(self, wanted: Square, others: Sequence[Box]) -> float:
        """How much less of others it would show than the square there is, in squares' area over all
        moments.
        """
        assert self._square is not None
        if not others:
            return 0.0
        before, after = (
            float(_shown(np.array([left]), np.array([top]), (w, h), others, *self._size)[0, 0])
            for left, top, w, h in (self._square, wanted)
        )
        return before - after
