"""The part of the picture in which somebody is seen: one square for all frames of a window.

A square that moved with them would hide the movement, and one that jitters looks like movement. So it holds
everywhere they were in the window's span, with a margin; it stays the same from window to window for as long
as it fits, which lets prepared frames, a streaming model's cache and the motion gate be used again.
"""

from __future__ import annotations

from collections.abc import Iterable

from streamer.types import Box, Square

TOO_LARGE = 1.3  # times the side that would be enough: then a smaller square is taken
LEAST_SIDE = 8  # pixels


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


class SquareChoice:
    """Which square each window of one person takes.

    Args:
        margin: of a new square, times what it has to hold.
        lasting: for streaming models, which lose what they remember with each new square: a square has room
            for going on as before for one more span, and stays until they leave it.
    """

    def __init__(self, margin: float, lasting: bool) -> None:
        self._margin = margin
        self._lasting = lasting
        self._square: Square | None = None
        self._size = (0, 0)
        self.changes = 0

    def choose(self, boxes: list[Box], width: int, height: int) -> Square:
        """The square for a window in which they were at `boxes`, oldest first, of a picture of that size."""
        whole, newest = union(boxes), boxes[-1]
        if self._lasting:
            ahead = (2 * newest[0] - boxes[0][0], 2 * newest[1] - boxes[0][1], newest[2], newest[3])
            wanted = square_around(union([whole, ahead]), self._margin, width, height)
        else:
            wanted = square_around(whole, self._margin, width, height)
        if self._square is None or self._size != (width, height) or not self._fits(wanted, whole, newest):
            self._square, self._size = wanted, (width, height)
            self.changes += 1
        return self._square

    def _fits(self, wanted: Square, whole: Box, newest: Box) -> bool:
        assert self._square is not None
        side, enough = max(self._square[2:]), max(wanted[2:])
        if self._lasting:
            return holds(self._square, newest, *self._size) and side <= 2 * TOO_LARGE * enough
        room = (self._margin - 1.0) / 4
        return holds(self._square, whole, *self._size, room) and side <= TOO_LARGE * enough
